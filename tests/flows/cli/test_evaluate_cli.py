"""`temper evaluate`: every kind of model by one code, cached as a pipeline's evaluations are."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli.main import main
from flows.cli.metric_table import COLUMNS, as_json, print_metrics
from tempering.artifacts.resolve import build
from tests.exchange.toy_models import ToyStore
from tests.flows.conftest import Answer
from tests.flows.test_alone import Inside

FIXTURES = Path(__file__).parents[2] / "fixtures"
PAIRS = f"minimal_pairs={FIXTURES / 'minimal_pairs.jsonl'}"
TEXT = FIXTURES / "stories.txt"
CONFIG = """\
name: measured
datasets:
  pairs: {kind: world, rows: minimal_pairs, size: 20, eval_fraction: 1}
  preferences: {kind: world, rows: preferences, size: 20, eval_fraction: 1}
tokenizer: {kind: train, datasets: [pairs]}
evaluate:
  reward_model: null
  baseline: null
  benchmarks:
    pairs: {kind: minimal_pairs, dataset: pairs}
    preferences: {kind: preferences, dataset: preferences}
"""


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory) -> ToyStore:
    toys = ToyStore(tmp_path_factory.mktemp("toys"))
    sft = toys.model("sft", seed=5)
    toys.adapter("dpo", sft)
    toys.model("reward_model", head="score")
    return toys


@pytest.fixture
def say(toys: ToyStore, capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Call `temper evaluate` on the toys' store."""

    def call(*arguments: object) -> Answer:
        capfd.readouterr()
        try:
            code = main(["evaluate", *map(str, arguments), "--store", str(toys.store.root)])
        except SystemExit as error:
            code = int(error.code or 0)
        return Answer(code, *capfd.readouterr())

    return call


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "measured.yaml"
    path.write_text(CONFIG)
    return path


@pytest.mark.slow
def test_every_model_side_by_side(
    say: Any, toys: ToyStore, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.alone.Workers", Inside)
    from tempering.exchange.export import export_model

    # An adapter, a checkpoint, a folder that is the SFT model, and a reward model.
    folder = export_model(toys.store.get("sft@latest"), tmp_path / "mine")
    refs = ["sft@latest", "dpo@latest", "sft@latest/checkpoint_1K_tokens", folder, "reward_model@latest"]
    done = say(*refs, "--config", config, "--json")
    assert done.code == 0, done.err
    rows = json.loads(done.out)
    assert all(tuple(row) == COLUMNS for row in rows)
    wholes = [row for row in rows if row["part"] is None and row["metric"] == "accuracy"]
    assert [row["model"] for row in wholes] == [str(ref) for ref in refs]
    assert [row["benchmark"] for row in wholes] == ["pairs"] * 4 + ["preferences"]
    assert all(row["low"] <= row["value"] <= row["high"] for row in wholes)
    assert {row["metric"] for row in rows if row["part"]} == {"accuracy"}  # of paradigms
    values = {row["model"]: row["value"] for row in wholes}
    assert values["sft@latest"] == values[str(folder)]
    # The adapter merged by hand gives the same, and so does a pipeline's own stage.
    from tempering.evaluation.benchmarks import MinimalPairsBenchmark, Tools
    from tempering.evaluation.findings import run_benchmark
    from tempering.generation.language_model import LanguageModel
    from tempering.models.find import find_model, open_language_model

    source = find_model("dpo@latest", toys.store)
    model = LanguageModel(source.folder, "chat", "cpu", 8, model=open_language_model(source))
    texts = toys.store.get("dataset[pairs]@latest").rows("eval").to_dict("records")  # type: ignore[attr-defined]
    benchmark = MinimalPairsBenchmark.model_validate({"kind": "minimal_pairs", "dataset": "pairs"})
    metric = run_benchmark("pairs", benchmark, texts, Tools(policy=model)).metrics[0]
    assert values["dpo@latest"] == metric.value
    assert not list((toys.store.root / ".partial").iterdir())
    # Nothing is measured twice, also under another name; the pipeline's own evaluation is the same artifact.
    again = say("sft@latest", "reward_model@latest", "--config", config)
    assert "all 2 stages are Cached" in again.err
    assert "* " not in again.out  # neither has a rival
    from flows.build import build_graph
    from flows.config import load_pipeline

    nodes = build_graph(
        load_pipeline(
            config, ["sft={model: sft@latest}", "evaluate.models=[sft]", "samples.sft.datasets={pairs: 1}"]
        )
    )
    (node,) = [node for node in nodes if node.name == "evaluate[sft]"]
    inputs = {
        "model": toys.store.get("sft@latest"),
        "datasets": {"pairs": toys.store.get("dataset[pairs]@latest")},
    }
    made = build(toys.store, node.stage, node.config, inputs)
    assert made.id == toys.store.get("evaluate[sft]@latest").id
    assert toys.store.get("sft@latest").manifest.stage == "sft"
    # What it answered, in the official form.
    file = tmp_path / "predictions.json"
    assert say("sft@latest", "--config", config, "--predictions", file).code == 0
    subtasks = json.loads(file.read_text())["pairs"].values()
    right = {text["sentence_good"] for text in texts}
    share = sum(item["pred"] in right for part in subtasks for item in part["predictions"]) / len(texts)
    assert share == pytest.approx(values["sft@latest"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsense", "--benchmark", PAIRS], "there is no artifact 'nonsense'"),
        (["/no/such/folder", "--benchmark", PAIRS], "is not a folder"),
        (["tokenizer@latest", "--benchmark", PAIRS], "is a tokenizer"),
        (["sft@latest/checkpoint_2K_tokens", "--benchmark", PAIRS], "has no checkpoint_2K_tokens"),
        (["sft@latest", "sft@latest", "--benchmark", PAIRS], "are the same model"),
        (["sft@latest", "--benchmark", "minimal_pair=x"], "did you mean 'minimal_pairs'"),
        (["sft@latest", "--benchmark", "minimal_pairs"], "no kind and path"),
        (["sft@latest", "--benchmark", "harness=my_tasks"], "harness brings its rows itself"),
        (["sft@latest", "--benchmark", "minimal_pairs=/no/such.jsonl"], "does not exist"),
        (
            ["sft@latest", "--benchmark", f"minimal_pairs={FIXTURES}/multiple_choice.jsonl"],
            "multiple_choice rows",
        ),
        (["sft@latest", "--benchmark", "minimal_pairs={tmp}/empty.jsonl"], "holds no rows"),
        (["sft@latest", "--benchmark", PAIRS, "--benchmark", PAIRS], "two benchmarks would be called"),
        (["reward_model@latest", "--benchmark", PAIRS], "none of the benchmarks measures"),
        (["sft@latest", "--benchmark", f"preferences={FIXTURES}/preference.json"], "none of the benchmarks"),
        (
            ["sft@latest", "--benchmark", f"finetuning={FIXTURES}/glue.jsonl"],
            "set datasets.glue.eval_fraction=0.5",
        ),
        (
            ["dpo@latest", "--benchmark", f"kl_divergence={FIXTURES}/prompts.jsonl"],
            "evaluate.benchmarks.prompts.reference=sft@latest",
        ),
        (["sft@latest"], "one of the arguments --config --benchmark is required"),
        (["sft@latest", "--config", "/no/such.yaml"], "cannot read the config"),
        (["sft@latest", "--benchmark", PAIRS, "evaluate.no=1"], "unknown key"),
        (["evaluate.seed=1", "--benchmark", PAIRS], "there is no model to measure"),
        (["sft@latest", "--config", "configs/quickstart.yaml"], "is not in the store as configured"),
        (["sft@latest", "dpo@latest", "--benchmark", PAIRS, "--predictions", "{tmp}/p"], "is for one model"),
        (["sft@latest", "--benchmark", PAIRS, "--predictions", "{tmp}/no/p"], "cannot be written"),
        (
            ["sft@latest", "--benchmark", f"perplexity={TEXT}", "--predictions", "{tmp}/p"],
            "keeps predictions",
        ),
    ],
)
def test_mistakes_end_before_anything_is_computed(
    words: list[str],
    message: str,
    say: Any,
    toys: ToyStore,
    tmp_path: Path,
    repository: Path,
    monkeypatch: Any,
) -> None:
    monkeypatch.chdir(repository)
    (tmp_path / "empty.jsonl").touch()
    records = len(list(toys.store.runs.newest()))
    done = say(*[word.replace("{tmp}", str(tmp_path)) for word in words])
    assert done.code == 2
    assert message in done.err
    assert done.out == ""
    assert len(list(toys.store.runs.newest())) == records


def row(model: str, metric: str, value: float | None, **more: Any) -> dict[str, Any]:
    about = {"benchmark": "b", "part": None, "low": None, "high": None, "n": 3, "convention": "honest"}
    return {"model": model, "metric": metric, "value": value, "better": "higher", **about, **more}


def test_the_table_marks_the_best(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        row("one", "accuracy", 0.5, low=0.25, high=0.75),
        row("one", "loss", 2.0, better="lower"),
        row("two", "accuracy", 0.75, n=4),
        row("two", "accuracy", 0.1, part="islands"),
        row("two", "loss", 1.0, better="lower"),
        row("one", "ended_share", 1.0),
        row("two", "ended_share", 1.0),
        row("judge", "margin", 0.9, convention="official"),
    ]
    print_metrics(rows, parts=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["benchmark", "metric", "one", "two", "n"]
    assert lines[1].split() == ["b", "accuracy", "↑", "0.500", "*", "0.750", "3", "to", "4"]
    assert lines[2].split() == ["0.250–0.750"]
    assert lines[3].split() == ["loss", "↓", "2.000", "*", "1.000", "3"]
    assert lines[4].split() == ["ended_share", "↑", "1.000", "1.000", "3"]  # none is better
    assert lines[5].split() == ["benchmark", "metric", "judge", "n"]
    assert lines[6].split() == ["b", "margin", "(official)", "↑", "0.900", "3"]
    assert lines[7].startswith("1 number of parts")
    print_metrics(rows, parts=True)
    assert "accuracy[islands]" in capsys.readouterr().out
    assert tuple(as_json(rows)[0]) == COLUMNS


def test_what_is_part_of_no_number_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A harness task's metric has no whole. Mutations: the whole of another benchmark counts; hidden."""
    rows = [
        row("one", "acc", 0.5, part="task", benchmark="theirs"),
        row("one", "acc", 0.75),
        row("one", "acc", 0.25, part="hidden"),
        row("one", "acc", 0.2, part="hidden_too"),
    ]
    print_metrics(rows, parts=False)
    out = capsys.readouterr().out
    assert "acc[task]" in out
    assert "hidden]" not in out
    assert "2 numbers of parts" in out


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/entity_tracking_regular.jsonl.gz", "entity_tracking_regular"),
        ("rte.valid.jsonl", "rte_valid"),
        ("childes.dev", "childes_dev"),
        ("a=b [c].csv.zst", "a_b_c"),
        ("blimp/", "blimp"),
    ],
)
def test_a_benchmark_has_a_name_for_overrides(path: str, name: str) -> None:
    """Overrides end a key at a dot, and the key itself at an equals sign."""
    from flows.cli.evaluate import _config

    settings = argparse.Namespace(config=None, benchmark=[f"minimal_pairs={path}"])
    overrides = [f"evaluate.benchmarks.{name}.max_rows=7", f"datasets.{name}.kind=minimal_pairs"]
    config = _config(settings, overrides)
    assert [(key, item.max_rows) for key, item in config.evaluate.benchmarks.items()] == [(name, 7)]
