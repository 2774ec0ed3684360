"""WUG and reading times against plain transformers and the formulas of the official tool; its file format."""

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from tempering.errors import ConfigError, DataError
from tempering.evaluation.benchmarks import ReadingTimesBenchmark, Tools, WordFormsBenchmark, reading_times
from tempering.evaluation.findings import run_benchmark
from tempering.evaluation.predictions import write_predictions
from tests.evaluation.test_conventions import first_id, language_model, logs, official

WORDS = ["the", "dog", "saw", "a", "cat", "in", "park", "Once", "upon", "time", "there", "was", "."]
TIMES = ("RTfirstfix", "RTfirstpass", "RTgopast", "RTrightbound")
NAMES = dict(zip(("first_fixation", "first_pass", "go_past", "right_bounded"), TIMES, strict=True))


def forms(count: int) -> list[dict[str, Any]]:
    rng = random.Random(0)
    return [
        {
            "forms": [" ".join(rng.choices(WORDS, k=4)) for _ in range(2)],
            "ratio": rng.random(),
            "paradigm": "wug_adj",
        }
        for _ in range(count)
    ]


def words(count: int) -> list[dict[str, Any]]:
    """Rows of reading times with something missing here and there."""
    rng = random.Random(1)
    rows = []
    for number in range(count):
        before = rng.choices(WORDS, k=rng.randint(1, 6))
        row: dict[str, Any] = {
            "context": " ".join(before),
            "word": rng.choice(WORDS),
            "previous_context": " ".join(before[:-1]),
            "previous_word": before[-1] if len(before) > 1 else "",
            "frequency": None if number % 17 == 3 else rng.uniform(5, 15),
            "length": float(rng.randint(1, 9)),
            "context_length": float(len(before)),
            "previous_length": float(len(before[-1])),
        }
        row |= {name: rng.gauss(100, 30) for name in (*NAMES, "self_paced")}
        row["go_past"] = None if number % 19 == 5 else row["go_past"]
        rows.append(row)
    rows[2] |= {"previous_context": "None", "previous_word": "of"}
    return rows


@pytest.mark.parametrize("scoring", ["honest", "official"])
def test_word_forms_correlate_with_people(tmp_path: Path, scoring: Any) -> None:
    from scipy.stats import spearmanr

    model, rows = language_model(tmp_path), forms(24)
    benchmark = WordFormsBenchmark(kind="word_forms", dataset="x", scoring=scoring)
    findings = run_benchmark("wug_adj", benchmark, rows, Tools(model))
    leads = []
    for row in rows:
        if scoring == "official":
            one, other = (official(model, "", form) for form in row["forms"])
        else:
            one, other = (
                sum(logs(model, [first_id(model), *model.tokenizer(form)["input_ids"]]))
                for form in row["forms"]
            )
        leads.append(one - other)
    (metric,) = findings.metrics
    assert metric.value == pytest.approx(spearmanr(leads, [row["ratio"] for row in rows])[0], abs=1e-6)
    assert metric.low <= metric.value <= metric.high
    assert metric.n == 24
    shares = [row["prob"] for row in findings.tables["predictions"]]
    assert shares == pytest.approx([1 / (1 + math.exp(-lead)) for lead in leads], abs=1e-4)
    assert findings.tables["predictions"][3]["id"] == "wug_adj_3"


def test_people_who_all_choose_alike_correlate_with_nothing(tmp_path: Path) -> None:
    rows = [{**row, "ratio": 1.0} for row in forms(4)]
    benchmark = WordFormsBenchmark(kind="word_forms", dataset="x")
    with pytest.raises(DataError, match="there is no correlation"):
        run_benchmark("x", benchmark, rows, Tools(language_model(tmp_path)))


@pytest.mark.parametrize("scoring", ["honest", "official"])
def test_surprisals_of_words_equal_plain_transformers(tmp_path: Path, scoring: Any) -> None:
    """Mutations: the space with the word in `official`; all its tokens after one context; BOS left out."""
    model = language_model(tmp_path)
    benchmark = ReadingTimesBenchmark(kind="reading_times", dataset="x", scoring=scoring)
    pairs = [("the dog", "saw"), ("in the park there", "was"), ("", "xyzzy"), ("None", "of"), ("a", "")]
    found = benchmark._surprisals(model, pairs, may_be_missing=True)
    tokenizer, expected = model.tokenizer, list[float | None]()
    for context, word in pairs:
        if not word or (scoring == "official" and context in ("", "None")):
            expected.append(None)
        elif scoring == "honest":
            before = tokenizer(context)["input_ids"]
            whole = tokenizer(f"{context} {word}".strip())["input_ids"]
            expected.append(-sum(logs(model, [first_id(model), *whole])[len(before) :]))
        else:
            text, total = context, 0.0
            for token in tokenizer(word, add_special_tokens=False)["input_ids"]:
                total -= logs(model, [*tokenizer(text)["input_ids"], token])[-1]
                text += tokenizer.decode(token)
            expected.append(total)
    assert [value is None for value in found] == [value is None for value in expected]
    assert [value for value in found if value is not None] == pytest.approx(
        [value for value in expected if value is not None], abs=1e-4
    )
    # A word of its own stands after "None" where the official tool reads no sentence.
    (alone,) = benchmark._surprisals(model, [("", "was")])
    (named,) = benchmark._surprisals(model, [("None", "was")])
    assert (alone == pytest.approx(named, abs=1e-4)) == (scoring == "official")


def test_reading_times_equal_the_formulas_of_the_official_tool(tmp_path: Path) -> None:
    import pandas as pd
    from statsmodels.formula import api as formula

    model, rows = language_model(tmp_path), words(80)
    benchmark = ReadingTimesBenchmark(kind="reading_times", dataset="x", scoring="official")
    findings = run_benchmark("reading", benchmark, rows, Tools(model))

    # The two regressions of each time, with R formulas.
    table = pd.DataFrame(rows)
    predictions = pd.DataFrame(findings.tables["predictions"])
    table["pred"] = predictions["surprisal"].astype(float)
    table["prev_pred"] = predictions["previous_surprisal"].astype(float)

    def gain(time: str, predictors: list[str]) -> float:
        used = table[[time, *predictors, "pred"]].dropna()
        products = f"({' + '.join(predictors)})**2"
        without = formula.ols(f"{time} ~ {products}", data=used).fit().rsquared
        within = formula.ols(f"{time} ~ {products} + pred", data=used).fit().rsquared
        return float((within - without) / (1 - without))

    alone = ["frequency", "length", "context_length"]
    metrics = {metric.metric: metric for metric in findings.metrics}
    eyes = {time: gain(time, alone) for time in NAMES}
    for time, value in eyes.items():
        assert metrics[f"eye_tracking[{time}]"].value == pytest.approx(value, abs=1e-9)
    assert metrics["eye_tracking"].value == pytest.approx(sum(eyes.values()) / 4, abs=1e-9)
    spilt = gain("self_paced", [*alone, "previous_length", "prev_pred"])
    assert metrics["self_paced"].value == pytest.approx(spilt, abs=1e-9)
    assert metrics["eye_tracking[go_past]"].n == 80 - 5 - 4  # without a frequency, without the time
    assert all(metric.low <= metric.value <= metric.high for metric in findings.metrics[2:])
    assert table["prev_pred"].isna().sum() == sum(not row["previous_word"] for row in rows) + 1


def test_a_missing_package_is_said_before_anything_is_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_times, "find_spec", lambda name: None)
    benchmark = ReadingTimesBenchmark(kind="reading_times", dataset="x")
    with pytest.raises(ConfigError, match="needs the package statsmodels") as error:
        benchmark.check_machine("reading")
    assert "tempering[babylm]" in error.value.fix


def test_predictions_are_written_as_the_official_pipeline_reads_them(tmp_path: Path) -> None:
    """Keys, ids and types of `evaluation_pipeline.calculate_results_from_pred`."""
    heard = {"benchmark": "reading", "subtask": "reading"}
    rows: list[dict[str, Any]] = [
        {"benchmark": "blimp", "subtask": "islands", "id": "islands_0", "pred": "a dog", "prob": None},
        {"benchmark": "blimp", "subtask": "islands", "id": "islands_1", "pred": "a cat", "prob": math.nan},
        {"benchmark": "wug_adj", "subtask": "wug_adj", "id": "wug_adj_0", "pred": "wugness", "prob": 0.25},
        {**heard, "id": "7", "surprisal": 2.5, "previous_surprisal": 1.5},
        {**heard, "id": "8", "surprisal": 3.5, "previous_surprisal": math.nan},
    ]
    path = tmp_path / "predictions.json"
    # A word that could not be scored has no surprisal, in a table without any other benchmark too.
    assert write_predictions([{**heard, "id": "9", "surprisal": math.nan}], path) == 1
    assert json.loads(path.read_text("utf-8"))["reading"]["reading"]["predictions"][0]["pred"] is None
    assert write_predictions(rows, path) == 5
    assert json.loads(path.read_text("utf-8")) == {
        "blimp": {
            "islands": {
                "predictions": [{"id": "islands_0", "pred": "a dog"}, {"id": "islands_1", "pred": "a cat"}]
            }
        },
        "wug_adj": {"wug_adj": {"predictions": [{"id": "wug_adj_0", "pred": "wugness", "prob": 0.25}]}},
        "reading": {
            "reading": {
                "predictions": [
                    {"id": 7, "pred": 2.5, "prev_pred": 1.5},
                    {"id": 8, "pred": 3.5, "prev_pred": None},
                ]
            }
        },
    }
