"""Answers by SQuAD's own rules, and by the type of a question."""

import re
import string
from collections import Counter
from typing import Any

import pytest

from tempering.data.answers import squad_exact_match, squad_f1
from tempering.data.builders import build
from tempering.data.builders.squad import SquadConfig
from tempering.data.rows import Row
from tempering.errors import DataError
from tempering.evaluation.benchmarks import QuestionsBenchmark, Tools
from tempering.evaluation.findings import Findings, run_benchmark
from tests.data.real_samples import real_sample


def test_squads_rules_worked_out_by_hand() -> None:
    gold = ["the Denver Broncos", "Broncos"]
    assert squad_exact_match("Denver  broncos.", gold) == squad_f1("Denver  broncos.", gold) == 1
    assert squad_exact_match("Broncos team", gold) == 0
    assert squad_f1("Broncos team", gold) == pytest.approx(2 / 3), "the best of both"
    assert squad_f1("a Denver Denver", gold) == pytest.approx(0.5), "each word counts once"
    # What other rules keep, these drop: marks and articles.
    assert squad_exact_match("-1.5", ["15"]) == squad_exact_match("", ["the"]) == 1
    assert squad_f1("the", ["a"]) == 0, "no word is shared, since there is none"
    assert squad_exact_match("x", []) == squad_f1("x", []) == 0


def official(prediction: str, golds: list[str]) -> tuple[float, float]:
    """The rules of evaluate-v1.1, written anew."""

    def words(text: str) -> list[str]:
        kept = "".join(mark for mark in text.lower() if mark not in set(string.punctuation))
        return re.sub(r"\b(a|an|the)\b", " ", kept).split()

    def score(gold: str) -> float:
        ours, theirs = words(prediction), words(gold)
        same = sum((Counter(ours) & Counter(theirs)).values())
        precision, recall = same / max(1, len(ours)), same / max(1, len(theirs))
        return 2 * precision * recall / (precision + recall) if same else 0

    return float(any(words(prediction) == words(gold) for gold in golds)), max(map(score, golds))


def test_real_answers_score_as_by_evaluate_v1_1() -> None:
    path = real_sample("sft/xquad.en.json")
    rows = [item.values for item in build(SquadConfig(path=path)) if isinstance(item, Row)]
    seen = set()
    for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
        gold = row["answers"]
        sentence = next(part for part in row["context"].split(". ") if part)
        for answer in (gold[0], f"The {gold[0].upper()}!", gold[0][:-2], sentence, other["answers"][0], "a"):
            exact, overlap = official(answer, gold)
            assert (squad_exact_match(answer, gold), squad_f1(answer, gold)) == (
                exact,
                pytest.approx(overlap),
            )
            seen.add((exact, 0 < overlap < 1))
    assert {(1.0, False), (0.0, True), (0.0, False)} <= seen
    assert len(rows) > 600


class Answering:
    """A model that answers from a list."""

    def __init__(self, answers: list[str]) -> None:
        self.answers, self.room, self.cut = answers, 1000, 0

    def document(self, text: str) -> tuple[list[int], list[int]]:
        return [], []

    def prompt(self, messages: Any, prompt_format: Any) -> list[int]:
        return [1]

    def complete(self, prompts: Any, sampling: Any, seed: int) -> list[tuple[str, bool]]:
        return [(answer, True) for answer in self.answers]


ROWS = [
    {"question": "?", "context": "", "answers": ["the dog"], "type": "who", "baseline": 0.25},
    {"question": "?", "context": "", "answers": ["1.5"], "type": "how many", "baseline": 0.75},
    {"question": "?", "context": "", "answers": ["a cat"], "type": "who", "baseline": None},
]


def measured(**settings: Any) -> Findings:
    benchmark = QuestionsBenchmark(kind="questions", dataset="questions", **settings)
    model: Any = Answering([" Dog\nand more", " 15", " a cat. Then it"])
    return run_benchmark("questions", benchmark, ROWS, Tools(policy=model))


def test_exact_match_by_type_of_question() -> None:
    found = {metric.metric: metric for metric in measured(by="type").metrics}
    assert {name: (metric.value, metric.n) for name, metric in found.items()} == {
        "exact_match": (pytest.approx(2 / 3), 3),
        "exact_match[who]": (1.0, 2),
        "exact_match[how many]": (0.0, 1),
        "f1": (pytest.approx(2 / 3), 3),
        # The first line: "a cat. Then it" is another answer, and 15 is 1.5 without its point.
        "squad_exact_match": (pytest.approx(2 / 3), 3),
        "squad_f1": (pytest.approx((1 + 1 + 0.5) / 3), 3),
    }
    assert found["squad_f1"].baseline == found["exact_match"].baseline == 0.5
    with pytest.raises(DataError, match="no such column"):
        measured(by="kind")


def test_the_type_of_a_question_is_kept_where_it_is_asked_for(tmp_path: Any) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"question": "?", "context": "c", "answers": ["x"], "type": "who", "title": "t"}\n')

    def columns(**settings: Any) -> set[str]:
        return set(
            next(item.values for item in build(SquadConfig(path=path, **settings)) if isinstance(item, Row))
        )

    assert columns(keep_columns=("type",)) - columns() == {"type"}
