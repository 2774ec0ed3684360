"""Columns that judge an answer: read as unpaired feedback where they can be, else refused by name."""

import json

import pytest
from pydantic import ValidationError

from tempering.data.builders import AutoConfig, KTOConfig
from tempering.data.builders.verdicts import verdict
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
