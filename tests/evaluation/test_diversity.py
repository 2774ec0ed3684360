"""Diversity by hand, and self-BLEU beside sacrebleu itself."""

from types import SimpleNamespace
from typing import Any

import pytest

from tempering.errors import ConfigError
from tempering.evaluation.benchmarks import DiversityBenchmark, Tools
from tempering.evaluation.findings import Findings, run_benchmark
from tempering.evaluation.variety import copied, distinct, repeated, self_bleu
from tests.evaluation.test_against import policy, rows, values

TEXTS = [
    "The dog saw a cat in the park, and the cat saw the dog.",
    "The dog saw a cat in the park.",
    "Once upon a time there was a dog, the dog and the dog.",
    "",
    "The dog saw a cat in the park.",
    "A bird!",
    "Nothing like it whatsoever",
]


def test_distinct_n_grams_in_blocks_by_hand() -> None:
    """Mutations: n-grams across texts; a text in two blocks; a block that is not full; all counted."""
    lines = [text.split() for text in ("a b a b", "a b c d e f", "x x", "x y z w", "a b")]
    # Blocks of 6: [a b a b | a b], [x x | x y z w]; `c d e f` goes beyond, and `a b` fills no block.
    assert distinct(lines, 1, 6) == [2 / 6, 4 / 6]
    assert distinct(lines, 2, 6) == [2 / 4, 4 / 4]
    assert distinct(lines, 3, 6) == [2 / 2, 2 / 2]
    assert distinct(lines[:1], 1, 6) == []


def test_self_bleu_is_sacrebleus_with_all_others_as_references() -> None:
    """Mutations: a text among its own references; counts added over references; the longer of two lengths."""
    from sacrebleu import BLEU

    bleu = BLEU(effective_order=True)
    texts = [text for text in TEXTS if text]
    expected = [
        bleu.sentence_score(text, texts[:place] + texts[place + 1 :]).score
        for place, text in enumerate(texts)
    ]
    scores = self_bleu(TEXTS)
    assert scores[3] is None
    assert [score for score in scores if score is not None] == pytest.approx(expected)
    assert expected[1] == pytest.approx(100)
    assert len({round(score, 6) for score in expected}) >= 4
    assert self_bleu(["alone", " "]) == [None, None]
    between = ["a b c d e", "a b c d", "a b c d e f"]
    assert self_bleu(between)[0] == pytest.approx(bleu.sentence_score(between[0], between[1:]).score)


def test_repeated_and_copied_by_hand() -> None:
    assert repeated(["a b", "c", " a b\n", ""]) == [1.0, 0.0, 1.0, 0.0]
    rows = ["x one two three four y", "two one three"]
    texts = ["so one two three it was", "one two four three", "one two", "three\nfour y"]
    assert copied(texts, rows, 3) == [1.0, 0.0, None, 1.0]


def diversity(texts: list[str], **settings: Any) -> tuple[Findings, list[str]]:
    warnings: list[str] = []
    benchmark = DiversityBenchmark(kind="diversity", dataset="x", **settings)
    tools = Tools(
        policy([(text, True) for text in texts]),
        datasets={"corpus": SimpleNamespace(row_type="text", rows_path=lambda part: part)},  # type: ignore[dict-item]
        out=SimpleNamespace(warn=warnings.append),  # type: ignore[arg-type]
    )
    return run_benchmark("x", benchmark, rows(len(texts)), tools), warnings


def test_the_benchmark_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutations: the eval rows searched; short completions counted as not memorised."""
    parts = {
        "train": [{"text": "It was so: Once upon a time there was a hen."}],
        "eval": [{"text": TEXTS[0]}],
    }
    monkeypatch.setattr("tempering.data.shards.iter_rows", parts.get)
    findings, warnings = diversity(TEXTS, train_dataset="corpus", copied_words=5, word_budget=16)
    found = {metric.metric: (metric.value, metric.n) for metric in findings.metrics}
    assert found["repeated_share"] == (2 / 7, 7)
    assert found["memorised_share"] == (1 / 4, 4)
    assert found["self_bleu"][1] == 6
    # Words and marks. The first text is a block, with `the` three times beside `The`; the second and 7 words
    # of the third are one, with `a` three times; the last three are one.
    assert found["distinct_1"] == (pytest.approx((11 + 14 + 16) / 48), 3)
    assert not warnings


def test_too_few_words_for_a_block_are_no_number_and_said() -> None:
    findings, warnings = diversity(["one two", ""])
    assert set(values(findings)) == {"repeated_share"}
    assert [warning.split(":")[1] for warning in warnings] == [
        " distinct n-grams are left out",
        " self_bleu is left out",
    ]


def test_without_sacrebleu_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempering.evaluation.benchmarks.diversity.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="sacrebleu is not installed") as error:
        DiversityBenchmark(kind="diversity", dataset="x").check_machine("kinds")
    assert "tempering[diversity]" in error.value.fix


def test_both_data_sets_are_inputs(nodes: Any) -> None:
    settings = {"kind": "diversity", "dataset": "prompts", "train_dataset": "corpus"}
    made = {
        node.name: node
        for node in nodes({"evaluate.benchmarks": {"varied": settings}, "evaluate.baseline": None})
    }
    assert set(made["evaluate[ppo]"].inputs["datasets"]) == {"prompts", "corpus"}
