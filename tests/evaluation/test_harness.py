"""Beside lm-evaluation-harness itself, where it is installed."""

import json
from pathlib import Path
from typing import Any

import pytest

from tempering.errors import ConfigError
from tempering.evaluation.benchmarks import HarnessBenchmark, PerplexityBenchmark, Tools
from tempering.evaluation.config import EvaluateConfig
from tempering.evaluation.findings import run_benchmark
from tempering.generation.language_model import LanguageModel
from tests.models.outside import bare_tokenizer, outside

TEXTS = ["Once upon a time there was a dog . " * 9, "the cat\n saw  a dog", "a dög"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = bare_tokenizer(eos_token="<|endoftext|>", pad_token="!")
    return outside(tmp_path / "gpt2", "gpt2", tokenizer=tokenizer, n_positions=40)


def test_perplexity_is_that_of_loglikelihood_rolling(folder: Path) -> None:
    """Mutations: EOS scored; windows that overlap; a window less than the positions; words by spaces."""
    from lm_eval.api.instance import Instance
    from lm_eval.api.metrics import bits_per_byte, weighted_perplexity
    from lm_eval.api.task import PerplexityTask
    from lm_eval.models.huggingface import HFLM

    theirs = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=2)
    requests = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in TEXTS]
    totals = theirs.loglikelihood_rolling(requests, disable_tqdm=True)
    words = [*zip(totals, map(PerplexityTask.count_words, TEXTS), strict=True)]
    sizes = [*zip(totals, map(PerplexityTask.count_bytes, TEXTS), strict=True)]

    benchmark = PerplexityBenchmark(kind="perplexity", dataset="x", scoring="lmeval")
    model = LanguageModel(folder, "plain", "cpu")
    findings = run_benchmark("x", benchmark, [{"text": text} for text in TEXTS], Tools(policy=model))
    ours = {metric.metric: metric.value for metric in findings.metrics}
    assert ours["word_perplexity"] == pytest.approx(weighted_perplexity(words), rel=1e-5)
    assert ours["byte_perplexity"] == pytest.approx(weighted_perplexity(sizes), rel=1e-5)
    assert ours["bits_per_byte"] == pytest.approx(bits_per_byte(sizes), rel=1e-5)
    assert {metric.convention for metric in findings.metrics} == {"lmeval"}


TASK = """task: own_pairs
dataset_path: json
dataset_kwargs: {{data_files: {{train: {rows}}}}}
output_type: multiple_choice
validation_split: train
doc_to_text: "{{{{question}}}}"
doc_to_target: 0
doc_to_choice: "{{{{[good, bad]}}}}"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder with one task file and its rows."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    words = ["dog", "cat", "park", "bird", "sun"]
    rows = [{"question": f"the {a} saw", "good": f"the {b}", "bad": f"{b} a"} for a in words for b in words]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "own.yaml").write_text(TASK.format(rows=folder / "rows.jsonl"))
    return folder


def test_the_numbers_are_those_by_hand_on_the_export(tasks: Path, tmp_path: Path) -> None:
    """Mutations: another tokenizer; standard error as the interval; rows not limited."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    from tasks.evaluate import evaluate
    from tempering.artifacts.resolve import build
    from tempering.exchange.export import export_model
    from tests.exchange.toy_models import ToyStore

    toys = ToyStore(tmp_path / "store")
    model = toys.model("sft")
    benchmark = HarnessBenchmark(kind="harness", tasks=["own_pairs"], task_folder=str(tasks), max_rows=20)
    config = EvaluateConfig(
        models=["sft"], benchmarks={"theirs": benchmark}, baseline=None, reward_model=None
    )
    evaluation = build(toys.store, evaluate, config, {"model": model, "datasets": {}}, node="evaluate[sft]")
    (ours,) = evaluation.read("metrics").to_dict("records")

    export_model(model, tmp_path / "export")
    report: Any = lm_eval.simple_evaluate(
        model=HFLM(pretrained=str(tmp_path / "export"), device="cpu", dtype="float32", batch_size=4),
        tasks=["own_pairs"],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        limit=20,
    )
    theirs = report["results"]["own_pairs"]
    assert (ours["metric"], ours["n"], ours["convention"]) == ("acc[own_pairs]", 20, "lmeval")
    assert ours["value"] == theirs["acc,none"]
    assert 0 < ours["value"] < 1, "else any would be equal"
    assert ours["high"] - ours["value"] == pytest.approx(1.959964 * theirs["acc_stderr,none"])


def test_what_cannot_run_is_refused(tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = HarnessBenchmark(kind="harness", tasks=["own_pears"], task_folder=str(tasks))
    with monkeypatch.context() as context:
        context.setattr("tempering.evaluation.benchmarks.harness.find_spec", lambda _: None)
        with pytest.raises(ConfigError, match="lm_eval is not installed"):
            benchmark.check_machine("theirs")
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr(  # without the thousands of its own, which take seconds to list
        HarnessBenchmark, "_manager", lambda _: TaskManager(include_path=str(tasks), include_defaults=False)
    )
    with pytest.raises(ConfigError, match="no task 'own_pears'") as refusal:
        benchmark.check_machine("theirs")
    assert "own_pairs" in str(refusal.value)


def test_it_names_no_data_set_and_its_task_files_are_hashed(tasks: Path) -> None:
    benchmark = HarnessBenchmark(kind="harness", tasks=["own_pairs"], task_folder=str(tasks))
    assert benchmark.dataset_names == ()
    assert [name for name, _ in benchmark.named_files()] == ["own.yaml", "rows.jsonl"]
    with pytest.raises(ValueError, match="bring their own data"):
        HarnessBenchmark(kind="harness", tasks=["own_pairs"], dataset="x")
