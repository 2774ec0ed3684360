"""Columns that judge an answer: read as unpaired feedback where they can be, else refused by name."""

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from tempering.data.builders import AutoConfig, Builder, KTOConfig, build
from tempering.data.builders.verdicts import verdict
from tempering.data.rows import Row
from tempering.errors import DataError
from tests.data.built import notes_of, reasons_of, rows_of, said

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
ANSWERS = {
    "response": {"prompt": "Hi", "response": "Hello"},
    "answer": {"question": "Hi", "answer": "Hello"},
    "output": {"instruction": "Hi", "output": "Hello"},
    "messages": {"messages": TURNS},
    "conversations": {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
}


def written(folder, record, column, values, name="a.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps({**record, column: value}) + "\n" for value in values), "utf-8")
    return path


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (True, False),
        (1, 0),
        (1.0, -1.0),
        ("True", "FALSE"),
        (" 1 ", "-1"),
        ("1.0", "0.0"),
        ("yes", "no"),
        ("Desirable", "undesirable"),
        ("thumbs_up", "Thumbs-down"),
        ("👍", "👎"),
    ],
)
def test_verdicts_in_numbers_and_words(good, bad):
    assert (verdict(good), verdict(bad)) == (True, False)


@pytest.mark.parametrize("value", [None, 2, 0.5, "maybe", "", "5", float("nan"), 10**400, [1], {"a": 1}])
def test_other_values_are_no_verdict(value):
    assert verdict(value) is None


@pytest.mark.parametrize("record", ANSWERS.values(), ids=ANSWERS)
@pytest.mark.parametrize(
    "column", ["label", "Label", "labels", "kto_tag", "is_correct", "isGood", "answer_label"]
)
def test_a_verdict_beside_an_answer_is_unpaired_feedback(tmp_path, record, column):
    config = AutoConfig(path=written(tmp_path, record, column, ["good", "False", 1]))
    rows = rows_of(config)
    assert str(config.row_type) == "unpaired_preference"
    assert [row["label"] for row in rows] == [True, False, True]
    assert [(said(row["prompt"]), said(row["completion"])) for row in rows] == [
        ([("u", "Hi")], [("a", "Hello")])
    ] * 3


def test_an_instruction_keeps_its_input(tmp_path):
    record = {"instruction": "Say", "input": "it.", "output": "It."}
    (row,) = rows_of(AutoConfig(path=written(tmp_path, record, "label", [True])))
    assert said(row["prompt"]) == [("u", "Say\n\nit.")]
    record = {"instruction": "Say", "context": "it.", "response": "It."}
    (row,) = rows_of(AutoConfig(path=written(tmp_path, record, "kto_tag", [True])))
    assert said(row["prompt"]) == [("u", "Say\n\nit.")]


@pytest.mark.parametrize("kind", ["auto", "kto"])
def test_verdicts_of_a_csv_file_are_texts(tmp_path, kind):
    path = tmp_path / "a.csv"
    path.write_text("prompt,completion,label\nHi,Hello,1\nHi,Hm,0\nHi,No,\n")
    config = AutoConfig(path=path) if kind == "auto" else KTOConfig(path=path)
    assert [row["label"] for row in rows_of(config)] == [True, False]
    assert reasons_of(config) == [(2, "label: is empty, not true or false")]


def test_of_three_grades_none_is_taken_for_bad(tmp_path):
    path = written(tmp_path, ANSWERS["answer"], "label", [1, 0, -1])
    assert notes_of(KTOConfig(path=path)) == [(3, "label: -1 read as bad, as 0 is")]
    assert AutoConfig(path=path).builder(path).kind != "kto"


def test_a_column_that_is_true_for_bad_answers_is_no_label():
    for column in ("toxic", "is_bad", "isRejected", "not_helpful"):
        with pytest.raises(ValidationError, match="true for bad answers"):
            KTOConfig(path="a.jsonl", columns={"label": column})


def test_tools_belong_to_the_conversation_that_is_judged(tmp_path):
    record = {"messages": TURNS, "tools": [{"name": "add"}]}
    (row,) = rows_of(KTOConfig(path=written(tmp_path, record, "label", [True])))
    assert said(row["prompt"])[0] == ("s", 'Tools: [{"name": "add"}]')


JUDGING = [
    ("label", "poetry"), ("label", 2), ("labels", [1, 0]), ("is_good", "no"), ("is_unheard_of", False),
    ("isToxic", 1), ("toxic", 0.2), ("kto_tag", False), ("correct", "no"), ("score", 3), ("score", "high"),
    ("human_rating", 4), ("reward", 0.1), ("quality", "good"), ("feedback", "thumbs down"), ("train", False),
    ("trainable", 0), ("weight", 0.0), ("loss_mask", [0, 1]), ("answer_label", True), ("verdict", "fine"),
    ("upvoted", False), ("stars", 1), ("helpfulness", 4), ("downvotes", 7), ("rank", 0), ("deleted", True),
    ("status", "Rejected"), ("bewertung", "thumbs_down"), ("label_text", "bad"), ("rejected", True),
]  # fmt: skip
HARMLESS = [
    ("is_classification", True), ("language_score", 0.4), ("lang_tag", "en"), ("deleted", False),
    ("is_good", "yes"), ("isToxic", 0), ("toxic", False), ("kto_tag", True), ("rejected", False),
    ("train", True), ("weight", 1.0), ("loss_mask", [1, 1]),
    ("label", None), ("label", " "), ("label", {"topic": "sea"}),
    ("feedback", "Well written, but long."), ("scorer", "x"), ("category", "good"),
    ("final_answer", "wrong"), ("rejected", "Bad"), ("note", "a bad one"), ("scores", {"length": 3}),
]  # fmt: skip
KINDS = {"response": "prompt_response", "output": "alpaca", "messages": "chat", "conversations": "sharegpt"}


def named(kind, path, **settings):
    return TypeAdapter(Builder).validate_python({"kind": kind, "path": path, **settings})


@pytest.mark.parametrize(("column", "value"), JUDGING)
def test_a_column_that_judges_and_is_not_read_is_refused_by_name(tmp_path, column, value):
    for name, kind in KINDS.items():
        path = written(tmp_path, ANSWERS[name], column, [value])
        with pytest.raises(DataError, match=f"the column '{column}' judges the answers") as error:
            list(build(named(kind, path)))
        assert f"ignore_columns: [{column}]" in error.value.fix
        assert len(rows_of(named(kind, path, ignore_columns=[column]))) == 1


@pytest.mark.parametrize(("column", "value"), HARMLESS)
def test_columns_that_describe_refuse_nothing(tmp_path, column, value):
    for name, kind in KINDS.items():
        assert len(rows_of(named(kind, written(tmp_path, ANSWERS[name], column, [value])))) == 1


@pytest.mark.parametrize("column", ["score", "label", "is_toxic"])
def test_auto_refuses_what_it_cannot_read_and_passes_on_what_may_be_ignored(tmp_path, column):
    path = written(tmp_path, ANSWERS["answer"], column, [5])
    with pytest.raises(DataError, match=f"the column '{column}' judges"):
        list(build(AutoConfig(path=path)))
    (row,) = rows_of(AutoConfig(path=path, ignore_columns=(column,)))
    assert row[column] == 5


NESTED = [
    ({"label": False}, "label"), ({"id": 1, "eval": {"is_correct": "no"}}, "eval.is_correct"),
    ({"score": 2}, "score"), ({"outcome": "rejected"}, "outcome"), ({"train": False}, "train"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "place"), NESTED)
def test_a_verdict_inside_of_an_object_is_refused_by_its_place(tmp_path, value, place):
    path = written(tmp_path, ANSWERS["messages"], "meta", [None, {"id": 2}, value])
    with pytest.raises(DataError, match=f"the column 'meta.{place}' judges"):
        list(build(AutoConfig(path=path)))
    for passed_over in ("meta", f"meta.{place}"):
        assert len(rows_of(AutoConfig(path=path, ignore_columns=[passed_over]))) == 3


def test_the_verdict_of_an_object_can_be_read_as_the_refusal_says(tmp_path):
    path = written(tmp_path, ANSWERS["messages"], "meta", [{"label": "good"}, {"label": "bad"}])
    with pytest.raises(DataError, match="judges") as error:
        list(build(AutoConfig(path=path)))
    assert "kind: kto, columns: {label: meta.label}" in error.value.fix
    rows = rows_of(KTOConfig(path=path, columns={"label": "meta.label"}))
    assert [row["label"] for row in rows] == [True, False]


@pytest.mark.parametrize(
    ("record", "column", "value", "fix"),
    [
        (ANSWERS["answer"], "toxicity_score", 0.9, "write a column `label`"),  # no score: more is worse
        ({"prompt": "p", "chosen": "c", "rejected": "r"}, "is_valid", False, "exchange the sides"),
        (ANSWERS["messages"], "loss_mask", [0, 1], "mark the turns themselves"),
    ],
)
def test_the_remedy_is_one(tmp_path, record, column, value, fix):
    with pytest.raises(DataError, match=f"the column '{column}' judges") as error:
        list(build(AutoConfig(path=written(tmp_path, record, column, [value]))))
    assert fix in error.value.fix


def test_it_is_refused_in_a_later_row_too(tmp_path):
    path = written(tmp_path, ANSWERS["answer"], "train", [True, True, False])
    with pytest.raises(DataError, match=r"the column 'train' judges the answers \(here 'False'\)"):
        list(build(AutoConfig(path=path)))


def test_a_grade_beside_a_text_or_a_pair_is_a_column_like_any_other(tmp_path):
    text, pair = {"text": "A text."}, {"prompt": "p", "chosen": "c", "rejected": "r"}
    for record, column, value in ((text, "score", "3.2"), (text, "quality", 2), (pair, "rating", 5)):
        (row,) = rows_of(AutoConfig(path=written(tmp_path, record, column, [value])))
        assert row[column] == value
    for record, column, value in (
        (text, "quality", "bad"),
        (text, "toxic", 1),
        (pair, "label", 0),
        (pair, "train", 0),
    ):
        with pytest.raises(DataError, match=f"the column '{column}' judges"):
            list(build(AutoConfig(path=written(tmp_path, record, column, [value]))))


def test_prompts_and_texts_to_classify_may_have_any_column(tmp_path):
    path = written(tmp_path, {"prompt": "p", "text": "A text."}, "label", [1])
    assert rows_of(named("prompts", path)) == [{"prompt": [{"role": "user", "content": "p"}], "label": 1}]
    assert rows_of(named("sentiment", path, rows="text")) == [{"text": "A text.", "label": 1}]
    assert rows_of(named("classification", path))[0]["label"] == 1


def test_columns_that_are_in_no_part_of_a_row_are_told(tmp_path):
    record = {"question": "Hi", "answer": "Hello", "output": "Hm", "id": 1, "meta": {"a": 1}, "null": None}
    path = written(tmp_path, record, "text", ["other"])
    (row,) = (item for item in build(named("prompt_response", path)) if isinstance(item, Row))
    assert row.unused == ("meta", "text")
    assert (row.values["id"], row.values["answer"]) == (1, "Hello")
