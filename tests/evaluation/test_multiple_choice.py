"""Multiple choice against plain transformers, one choice at a time, and against hand-worked numbers."""

import math
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tempering.artifacts.draft import Draft
from tempering.data.builders import MultipleChoiceConfig, build
from tempering.data.rows import Row
from tempering.errors import DataError
from tempering.evaluation.benchmarks import MultipleChoiceBenchmark, Tools
from tempering.evaluation.conventions import points, winners
from tempering.evaluation.findings import Findings, run_benchmark
from tempering.generation.language_model import LanguageModel
from tests.models.outside import bare_tokenizer, outside

BENCHMARK = MultipleChoiceBenchmark(kind="multiple_choice", dataset="x")
ARC = BENCHMARK.model_copy(update={"template": "Question: {question}\nAnswer:"})


def language_model(folder: Path, **settings: Any) -> LanguageModel:
    tokenizer = bare_tokenizer(eos_token="<|endoftext|>", pad_token="!")
    path = outside(folder / "gpt2", "gpt2", tokenizer=tokenizer, **settings)
    return LanguageModel(path, "plain", "cpu", batch_size=4)


@pytest.fixture
def model(tmp_path: Path) -> LanguageModel:
    return language_model(tmp_path, n_positions=512)


@pytest.fixture
def uniform(tmp_path: Path) -> LanguageModel:
    """A model to which every token is equally likely: a choice's log-probability counts its tokens."""
    made = language_model(tmp_path, n_positions=64)
    for parameter in made.model.parameters():
        parameter.data.zero_()
    return made


def question(text: str, choices: list[str], answer: int = 0) -> dict[str, Any]:
    return {"question": text, "choices": choices, "answer": answer}


def values(findings: Findings) -> dict[str, float]:
    return {metric.metric: metric.value for metric in findings.metrics}


def by_hand(model: LanguageModel, context: str, choice: str) -> float:
    """The log-probability of a choice: one forward pass without padding, all logits, fp32."""
    import torch

    before = model.tokenizer(context)["input_ids"]
    after = model.tokenizer(" " + choice)["input_ids"]
    ids = torch.tensor([[model.tokenizer.eos_token_id, *before, *after]])
    with torch.no_grad():
        logs = model.model(input_ids=ids).logits[0].float().log_softmax(-1)
    return sum(logs[place - 1, ids[0, place]].item() for place in range(1 + len(before), ids.shape[1]))


@pytest.mark.parametrize("benchmark", [BENCHMARK, ARC], ids=["plain", "arc"])
def test_it_equals_plain_transformers(model: LanguageModel, benchmark: MultipleChoiceBenchmark) -> None:
    fixtures = Path(__file__).parents[1] / "fixtures"
    sources = [
        MultipleChoiceConfig(path=fixtures / "multiple_choice.jsonl"),
        MultipleChoiceConfig(path=fixtures / "entity_tracking.jsonl", answer_index=0),
    ]
    rows = [item.values for source in sources for item in build(source) if isinstance(item, Row)]
    rows.append(question("Où est-ce?", ["à Nîmes", "in Leeds, or so"], 1))
    findings = run_benchmark("questions", benchmark, rows, Tools(policy=model))

    contexts = [benchmark.template.replace("{question}", row["question"]).rstrip() for row in rows]
    expected = [
        [by_hand(model, context, choice) for choice in row["choices"]]
        for context, row in zip(contexts, rows, strict=True)
    ]
    table = findings.tables["choices"]
    assert [row["logprob"] for row in table] == pytest.approx([*chain(*expected)], abs=1e-4)
    assert [row["text"] for row in table if row["right"]] == [row["choices"][row["answer"]] for row in rows]
    answers = [row["answer"] for row in rows]
    per_byte = [
        [total / len(choice.encode("utf-8")) for total, choice in zip(line, row["choices"], strict=True)]
        for line, row in zip(expected, rows, strict=True)
    ]
    for metric, lines in (("accuracy", expected), ("accuracy_per_byte", per_byte)):
        right = [line.index(max(line)) == answer for line, answer in zip(lines, answers, strict=True)]
        assert values(findings)[metric] == sum(right) / len(rows)
        scores = [row["value"] for row in findings.tables["scores"] if row["metric"] == metric]
        assert scores == right
    chance = sum(1 / len(row["choices"]) for row in rows) / len(rows)
    assert [metric.baseline for metric in findings.metrics] == [pytest.approx(chance)] * 2 + [None]
    assert values(findings)["tied_share"] == 0


def test_both_conventions_by_hand(uniform: LanguageModel) -> None:
    """Tokens with the space before: `q` 2, `zzz` 4, `dog was` 2; bytes without it: 1, 3 and 7."""
    rows = [question("Where?", ["q", "zzz", "dog was"], 2), question("Where?", ["zzz", "zzz", "q"], 2)]
    findings = run_benchmark("questions", BENCHMARK, rows, Tools(policy=uniform))
    token = -math.log(len(uniform.tokenizer))
    assert [row["logprob"] for row in findings.tables["choices"]] == pytest.approx(
        [token * count for count in (2, 4, 2, 4, 4, 2)], rel=1e-5
    )
    # In total `dog was` ties with `q` (½) and `q` wins the second question alone (1).
    # Per byte `dog was` wins with 2/7 (1), and both `zzz` with 4/3 before the 2/1 of `q` (0).
    assert values(findings) == {"accuracy": 0.75, "accuracy_per_byte": 0.5, "tied_share": 0.5}


def test_bytes_are_counted_not_characters(uniform: LanguageModel) -> None:
    """With the space before, `é` and `zz` have 3 tokens, and both have 2 bytes: they tie per byte."""
    assert [len(uniform.tokenizer(" " + choice)["input_ids"]) for choice in ("é", "zz")] == [3, 3]
    findings = run_benchmark("q", BENCHMARK, [question("Where?", ["é", "zz"])], Tools(policy=uniform))
    assert values(findings)["accuracy_per_byte"] == 0.5


def test_ties_and_what_is_no_number() -> None:
    assert winners([-2.0, -1.0, -1.0]) == [1, 2]
    assert winners([-1.0, math.nan]) == []
    tie = [-2.0, -1.0, -1.0]
    assert [points(tie, answer, "honest") for answer in (2, 0)] == [0.5, 0.0]
    assert [points(tie, answer, "official") for answer in (1, 2)] == [1.0, 0.0]
    assert points([-1.0, -2.0], 0, "honest") == 1.0
    assert points([-1.0, math.nan], 0, "official") is None


def test_white_space_belongs_to_the_choice_and_is_never_doubled(model: LanguageModel) -> None:
    forms = [("It is", "red"), ("It is ", "red"), ("It is", " red")]
    rows = [question(text, [choice, "so blue"]) for text, choice in forms]
    table = run_benchmark("questions", BENCHMARK, rows, Tools(policy=model)).tables["choices"]
    assert len({round(row["logprob"], 5) for row in table[::2]}) == 1
    rows = [question("It is\n", ["red", "so blue"])]
    table = run_benchmark("questions", BENCHMARK, rows, Tools(policy=model)).tables["choices"]
    before, after = (model.tokenizer(text)["input_ids"] for text in ("It is", "\nred"))
    (line,) = model.logprobs([([model.tokenizer.eos_token_id, *before], after)])
    assert table[0]["logprob"] == pytest.approx(sum(line), abs=1e-4)


def test_a_long_question_is_cut_alike_for_all_its_choices(tmp_path: Path) -> None:
    model = language_model(tmp_path, n_positions=24)
    rows = [question("b c d " * 20, ["x", "x y z"])]
    table = run_benchmark("questions", BENCHMARK, rows, Tools(policy=model)).tables["choices"]
    assert model.cut == 1
    longest = len(model.tokenizer(" x y z")["input_ids"])
    kept = model.tokenizer(("b c d " * 20).rstrip())["input_ids"][-(24 - longest) :]
    ((line,),) = [model.logprobs([(kept, model.tokenizer(" x")["input_ids"])])]
    assert table[0]["logprob"] == pytest.approx(sum(line), abs=1e-4)


def test_a_choice_without_room_is_left_out_and_counted(tmp_path: Path) -> None:
    model = language_model(tmp_path, n_positions=24)
    long, short = question("a", ["x " * 25, "y"]), question("a", ["x", "y"])
    warnings: list[str] = []
    draft = Draft(tmp_path / "draft", on_log=lambda level, text: warnings.append(text))
    findings = run_benchmark("q", BENCHMARK, [long, short], Tools(policy=model, out=draft))
    assert [metric.n for metric in findings.metrics] == [1, 1, 1]
    assert [row["value"] is None for row in findings.tables["scores"]][:2] == [True, False]
    assert ["1 of 2 rows are left out" in text for text in warnings] == [True]
    with pytest.raises(DataError, match="none of the 1 rows can be scored"):
        run_benchmark("q", BENCHMARK, [long], Tools(policy=model))


def test_a_template_must_hold_the_question() -> None:
    with pytest.raises(ValueError, match=r"without \{question\} asks the same of every row"):
        MultipleChoiceBenchmark(kind="multiple_choice", dataset="x", template="Answer:")


@pytest.mark.slow
def test_the_stage_keeps_every_question_and_choice(tmp_path: Path) -> None:
    from tasks.dataset import dataset
    from tasks.evaluate import evaluate
    from tempering.artifacts.resolve import build as make
    from tempering.evaluation.config import EvaluateConfig
    from tests.exchange.toy_models import ToyStore

    toys = ToyStore(tmp_path)
    path = Path(__file__).parents[1] / "fixtures" / "multiple_choice.jsonl"
    config = MultipleChoiceConfig(path=path, eval_fraction=1, max_rejected_fraction=1)
    rows = make(toys.store, dataset, config, node="dataset[choices]")
    settings = EvaluateConfig(models=["toy"], benchmarks={"choices": BENCHMARK}, reward_model=None)
    inputs = {"model": toys.model("sft"), "datasets": {"x": rows}}
    made = make(toys.store, evaluate, settings, inputs, node="evaluate[toy]")
    assert made.read("metrics")["metric"].tolist() == ["accuracy", "accuracy_per_byte", "tied_share"]
    assert len(made.read("choices")) == 2 + 2 + 3 + 2 + 2 + 3 - 3  # five good rows
    assert set(made.read("scores")["row"]) == set(range(5))

    # A reward model has no log-probabilities of text: the stage says what it leaves out.
    warnings: list[str] = []
    draft = Draft(tmp_path / "scorer", on_log=lambda level, text: warnings.append(text))
    evaluate(draft, settings, **{**inputs, "model": toys.model("judge", head="score")})
    assert any("benchmark choices is skipped" in text for text in warnings)
