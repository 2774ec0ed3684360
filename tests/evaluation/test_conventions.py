"""Each convention against its definition, worked out with plain transformers, one text at a time.

`official` was also run beside the pipeline itself, on an exported model: of 16,980 rows of all its zero-shot
tasks no prediction differed, and its reader made the same scores of `write_predictions`.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from tempering.artifacts.draft import Draft
from tempering.errors import DataError
from tempering.evaluation.benchmarks import MinimalPairsBenchmark, MultipleChoiceBenchmark, Tools
from tempering.evaluation.conventions import joined, points, totals
from tempering.evaluation.findings import Findings, run_benchmark
from tempering.evaluation.paradigms import macro_weights
from tempering.generation.language_model import LanguageModel
from tests.data.some_tokenizers import TOKENIZERS
from tests.models.outside import outside

TOKENIZER_NAMES = ["byte-level", "BOS", "EOS", "BOS and EOS", "Unigram"]
SENTENCES = [
    ("the dog saw a cat", "the cat saw a dog"),
    ("in the park .", "the in park ."),
    ("a dog", "a a dog in the park"),
    ("Once upon a time", "Once upon a a time"),
]
CHOICES = [
    {"question": "the dog saw ", "choices": ["a cat .", "the park ."], "answer": 0},
    {"question": "Once upon", "choices": ["a time", "the dog in the park"], "answer": 1},
    {"contexts": ["the dog", "the park"], "completions": ["saw a cat", "saw a cat"], "answer": 0},
    {"contexts": ["in the park", "in the park"], "completions": [" was a dog", " was a cat"], "answer": 0},
]


@pytest.fixture(params=TOKENIZER_NAMES)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> LanguageModel:
    return language_model(tmp_path, request.param)


def language_model(folder: Path, tokenizer: str = "byte-level", **settings: Any) -> LanguageModel:
    path = outside(folder / "m", "gpt2", tokenizer=TOKENIZERS[tokenizer](), **{"n_positions": 64} | settings)
    return LanguageModel(path, "plain", "cpu", batch_size=3)


def logs(model: LanguageModel, ids: list[int]) -> list[float]:
    """Log-probability of each token after the first: one forward pass, all logits."""
    with torch.no_grad():
        values = model.model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return [values[place - 1, ids[place]].item() for place in range(1, len(ids))]


def official(model: LanguageModel, context: str, completion: str) -> float:
    """With the tokenizer's own specials, over the tokens that end beyond the start of the completion."""
    text = joined(context, completion)
    encoding = model.tokenizer(text, return_offsets_mapping=True)
    offsets = encoding["offset_mapping"]
    begin = len(text) - len(completion) + offsets[0][0]
    values = logs(model, encoding["input_ids"])
    return sum(value for value, (_, end) in zip(values, offsets[1:], strict=True) if end > begin)


def first_id(model: LanguageModel) -> int:
    bos = model.tokenizer.bos_token_id
    return int(model.tokenizer.eos_token_id if bos is None else bos)


def with_bos(model: LanguageModel, context: str, completion: str) -> float:
    """All tokens after a BOS, or an EOS."""
    text = joined(context, completion)
    encoding = model.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets = encoding["offset_mapping"]
    begin = len(text) - len(completion) + offsets[0][0]
    values = logs(model, [first_id(model), *encoding["input_ids"]])
    return sum(value for value, (_, end) in zip(values, offsets, strict=True) if end > begin)


def harness(model: LanguageModel, context: str, completion: str) -> float:
    """`_encode_pair` of lm-evaluation-harness, and a delimiter of one space."""
    if not context:
        ids = model.tokenizer(f" {completion}", add_special_tokens=False)["input_ids"]
        return sum(logs(model, ids if ids[0] == first_id(model) else [first_id(model), *ids]))
    before = model.tokenizer(context.rstrip())["input_ids"]
    whole = model.tokenizer(joined(context, completion))["input_ids"]
    return sum(logs(model, [*before, *whole[len(before) :]])[len(before) - 1 :])


BY_HAND = {"official": official, "bos": with_bos, "lmeval": harness}


@pytest.mark.parametrize("scoring", BY_HAND)
def test_a_convention_equals_its_definition(model: LanguageModel, scoring: Any) -> None:
    """Mutations: a first token scored, EOS scored, no space before a sentence, `>=` for `>`."""
    rows = [[("", good), ("", bad)] for good, bad in SENTENCES]
    rows += [[(row["question"], choice) for choice in row["choices"]] for row in CHOICES[:2]]
    rows += [[*zip(row["contexts"], row["completions"], strict=True)] for row in CHOICES[2:]]
    scored = totals(model, rows, scoring, Tools(model))
    expected = [[BY_HAND[scoring](model, *candidate) for candidate in row] for row in rows]
    assert [value for row in scored for value in row] == pytest.approx(
        [value for row in expected for value in row], abs=1e-4
    )


@pytest.mark.parametrize("scoring", ["honest", "official", "bos", "lmeval"])
def test_a_batch_of_one_equals_a_batch_of_many(model: LanguageModel, scoring: Any) -> None:
    pairs = MinimalPairsBenchmark(kind="minimal_pairs", dataset="x", scoring=scoring)
    choices = MultipleChoiceBenchmark(kind="multiple_choice", dataset="x", scoring=scoring)
    rows = [{"sentence_good": good, "sentence_bad": bad} for good, bad in SENTENCES]
    found: list[list[Findings]] = []
    for size in (1, 64):
        model.batch_size = size
        found.append(
            [
                run_benchmark("pairs", pairs, rows, Tools(model)),
                run_benchmark("choices", choices, CHOICES, Tools(model)),
            ]
        )
    for one, many in zip(*found, strict=True):
        assert one.metrics == many.metrics
        assert one.tables["predictions"] == many.tables["predictions"]
    one, many = ([row["logprob"] for row in findings[1].tables["choices"]] for findings in found)
    assert one == pytest.approx(many, abs=1e-4)


def test_only_honest_scoring_shares_ties(tmp_path: Path) -> None:
    """The official tools count a tie for whichever comes first: for the good sentence of every pair."""
    model = language_model(tmp_path)
    row = {"sentence_good": "a dog", "sentence_bad": "a dog", "same": True}
    values = {}
    for scoring in ("honest", "official", "bos", "lmeval"):
        benchmark = MinimalPairsBenchmark(kind="minimal_pairs", dataset="x", scoring=scoring)
        (metric,) = run_benchmark("x", benchmark, [row], Tools(model)).metrics
        values[metric.convention] = metric.value
    assert values == {"honest": 0.5, "official": 1.0, "bos": 1.0, "lmeval": 1.0}
    assert points([-1.0, -1.0], 1, "official") == 0.0


def test_special_tokens_that_a_text_spells(tmp_path: Path) -> None:
    """Text for us, control tokens for the official tool, which asks the tokenizer alone."""
    model = language_model(tmp_path)
    text = "a </s> b"
    row = [[("", text)]]
    ((honest,),) = totals(model, row, "honest", Tools(model))
    split = model.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert honest == pytest.approx(sum(logs(model, [first_id(model), *split])), abs=1e-4)
    ((theirs,),) = totals(model, row, "official", Tools(model))
    assert theirs == pytest.approx(official(model, "", text), abs=1e-4)
    assert model.tokenizer.eos_token_id in model.tokenizer(text)["input_ids"]


def test_paradigms_and_their_mean(tmp_path: Path) -> None:
    """Three paradigms of 1, 1 and 2 pairs: each counts a third."""
    model = language_model(tmp_path)
    names = ["agreement", "islands", "islands", "binding"]
    rows = [
        {"sentence_good": good, "sentence_bad": bad, "paradigm": name}
        for (good, bad), name in zip(SENTENCES, names, strict=True)
    ]
    benchmark = MinimalPairsBenchmark(kind="minimal_pairs", dataset="x")
    findings = run_benchmark("blimp", benchmark, rows, Tools(model))
    right = [row["value"] for row in findings.tables["scores"]]
    table = {metric.metric: metric for metric in findings.metrics}
    assert [*table] == [
        "accuracy",
        "accuracy[agreement]",
        "accuracy[islands]",
        "accuracy[binding]",
        "macro_accuracy",
    ]
    assert table["accuracy"].value == sum(right) / 4
    assert table["accuracy[islands]"].value == sum(right[1:3]) / 2
    assert table["macro_accuracy"].value == pytest.approx((right[0] + sum(right[1:3]) / 2 + right[3]) / 3)
    assert [row["part"] for row in findings.tables["scores"]] == names
    assert (table["accuracy[islands]"].n, table["macro_accuracy"].n) == (2, 4)


def test_entity_tracking_is_averaged_over_its_splits() -> None:
    """`regular` has two paradigms and `ambiref` one: their rows count ¼, ¼ and ½; what is None nothing."""
    names = ["regular_0_ops", "regular_1_ops", "ambiref_0_ops", "ambiref_0_ops", "ambiref_0_ops"]
    assert macro_weights([1.0, 0.0, 1.0, 0.0, None], names) == [0.25, 0.25, 0.25, 0.25, 0.0]


def test_a_model_without_positions_says_what_it_leaves_out(tmp_path: Path) -> None:
    model = language_model(tmp_path, n_positions=8)
    warnings: list[str] = []
    draft = Draft(tmp_path / "draft", on_log=lambda level, text: warnings.append(text))
    long = " ".join(["the dog saw a cat"] * 4)
    rows = [{"sentence_good": "a dog", "sentence_bad": "a cat"}, {"sentence_good": long, "sentence_bad": "a"}]
    benchmark = MinimalPairsBenchmark(kind="minimal_pairs", dataset="x")
    findings = run_benchmark("x", benchmark, rows, Tools(model, out=draft))
    assert findings.metrics[0].n == 1
    assert [row["pred"] == "" for row in findings.tables["predictions"]] == [False, True]
    assert len(warnings) == 1
    assert "1 of 2 rows are left out" in warnings[0]
    with pytest.raises(DataError, match="none of the 1 rows can be scored"):
        run_benchmark("x", benchmark, rows[1:], Tools(model))


def test_a_convention_of_texts_is_not_for_turns() -> None:
    with pytest.raises(ValueError, match="scoring: official is of running text"):
        MultipleChoiceBenchmark(kind="multiple_choice", dataset="x", scoring="official", prompt_format="chat")
