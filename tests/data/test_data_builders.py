"""Each foreign schema is normalised, and each of its faults is counted by reason."""

from collections import Counter

import pytest
from pydantic import TypeAdapter, ValidationError

from tempering.config import external_files, identity
from tempering.data.builders import (
    AlpacaConfig,
    Builder,
    ChatConfig,
    HHConfig,
    SquadConfig,
    TextConfig,
    WorldConfig,
    build,
)
from tempering.data.rows import Row, RowType
from tempering.errors import DataError


def split(config):
    items = list(build(config))
    rows = [item.values for item in items if isinstance(item, Row)]
    return rows, [item for item in items if not isinstance(item, Row)]


def said(messages):
    return [(message["role"][0], message["content"]) for message in messages]


def test_text_documents_by_separator(fixtures):
    items = list(build(TextConfig(path=fixtures / "stories.txt")))
    assert [(item.line, item.values["text"]) for item in items] == [
        (1, "Lily had a cat.\nThe cat\u2028was red."),
        (6, "Tom ran."),
        (6, "Mia sat.\n\nShe slept."),
    ]


@pytest.mark.parametrize(
    ("documents", "expected"),
    [("line", ["a", "b", "c"]), ("blank_line", ["a\nb", "c"]), ("file", ["a\nb\n\nc"])],
)
def test_text_documents_by_line_blank_line_and_file(tmp_path, documents, expected):
    path = tmp_path / "a.txt"
    path.write_text("a\nb\n\n \nc\n".replace(" \n", "") if documents == "file" else "a\nb\n\n \nc\n")
    rows, _ = split(TextConfig(path=path, documents=documents))
    assert [row["text"] for row in rows] == expected


def test_text_without_its_separator_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a\nb\n")
    with pytest.raises(DataError, match="in none of them"):
        list(build(TextConfig(path=path)))


def test_an_invalid_line_costs_its_document_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\n\nb\n\xff\nb\n\nc\n")
    rows, rejected = split(TextConfig(path=path, documents="blank_line"))
    assert [row["text"] for row in rows] == ["a", "c"]
    assert [item.line for item in rejected] == [4]
    rows, _ = split(TextConfig(path=path, documents="line"))
    assert [row["text"] for row in rows] == ["a", "b", "b", "c"]


def test_alpaca(fixtures):
    rows, rejected = split(AlpacaConfig(path=fixtures / "alpaca.json"))
    assert said(rows[0]["prompt"] + rows[0]["completion"]) == [("u", "Name a colour."), ("a", "Red.")]
    assert rows[1]["prompt"][0]["content"] == "Add the numbers.\n\n2 and 3"
    assert [row["prompt"][0]["content"] for row in rows[2:]] == ["Say hello.", "Say bye."]
    assert [(item.line, item.reason) for item in rejected] == [
        (4, "completion: the content of a message is empty"),
        (5, "instruction: is missing or null, not a string"),
        (6, "input: is int, not a string"),
        (7, "completion: the content of a message holds a lone surrogate or invalid UTF-8"),
        (8, "not a JSON object"),
    ]


def test_chat_cuts_a_trailing_user_turn_and_counts_it(fixtures):
    rows, rejected = split(ChatConfig(path=fixtures / "chat.jsonl"))
    assert [(said(row["prompt"]), said(row["completion"])) for row in rows] == [
        ([("u", "Hi")], [("a", "Hello")]),
        ([("u", "One?"), ("a", "Two."), ("u", "Three?")], [("a", "Four.")]),
        ([("s", "Be short."), ("u", "Why?")], [("a", "So.")]),
    ]
    assert all(set(row) == {"prompt", "completion"} for row in rows)
    cut = [item for item in rejected if item.kept]
    assert [item.line for item in cut] == [1]
    reasons = [item.reason for item in rejected if not item.kept]
    assert reasons[0] == "no assistant turn"
    assert "is a list, not a string" in reasons[1]
    assert reasons[2] == "no user turn before the last answer"
    assert "is empty" in reasons[3]
    assert "'tool'" in reasons[4]
    assert "missing or null" in reasons[5]


def test_hh(fixtures):
    rows, rejected = split(HHConfig(path=fixtures / "hh.jsonl"))
    assert [said(row["prompt"]) for row in rows] == [
        [("u", "Hi")],
        [("u", "A"), ("a", "B"), ("u", "C")],
        [("u", "A"), ("a", "B\n\nC"), ("u", "Q")],
    ]
    assert said(rows[1]["rejected"]) == [("a", "E\n\nwith two paragraphs")]
    assert Counter(item.reason for item in rejected) == {
        "the prompts of chosen and rejected differ": 2,
        "chosen: the last answer is empty": 1,
        "chosen: does not end with an answer": 1,
        "chosen and rejected are the same": 1,
        "chosen: does not begin with Human: or Assistant:": 1,
    }
    assert [item.line for item in rejected] == [3, 4, 5, 6, 7, 9]


def test_hh_prompts_need_no_equal_prompts(fixtures):
    rows, rejected = split(HHConfig(path=fixtures / "hh.jsonl", rows="prompts"))
    assert [set(row) for row in rows] == [{"prompt"}] * 6
    assert len(rejected) == 3


def test_squad_nested_and_flat_agree(fixtures):
    nested, rejected = split(SquadConfig(path=fixtures / "squad.json"))
    assert nested[0] == {
        "question": "What is red?", "context": "The cat is red.", "answers": ["The cat", "cat"],
        "baseline": None, "id": "What is red?", "title": "Cats",
    }  # fmt: skip
    assert nested[1]["baseline"] == 0.5
    assert [(item.line, item.reason) for item in rejected] == [
        (2, "answers: there is none"),
        (4, "context: is missing or null, not a string"),
    ]
    flat, rejected = split(SquadConfig(path=fixtures / "squad_flat.jsonl"))
    assert [row["answers"] for row in flat] == [row["answers"] for row in nested[:2]]
    assert [item.line for item in rejected] == [3]


def test_squad_as_prompts_asks_like_the_evaluation(fixtures):
    rows, _ = split(SquadConfig(path=fixtures / "squad.json", rows="prompt_completion"))
    assert said(rows[0]["prompt"]) == [("u", "The cat is red. Question: What is red? Answer:")]
    assert said(rows[0]["completion"]) == [("a", "The cat")]


WORLD_ROWS = {
    "corpus": RowType.TEXT,
    "demonstrations": RowType.PROMPT_COMPLETION,
    "preferences": RowType.PREFERENCE,
    "prompts": RowType.PROMPT,
    "questions": RowType.QUESTION,
    "minimal_pairs": RowType.MINIMAL_PAIR,
}


@pytest.mark.parametrize("rows", WORLD_ROWS)
def test_world_rows_pass_the_check(rows):
    config = WorldConfig(rows=rows, size=50)
    made, rejected = split(config)
    assert config.row_type is WORLD_ROWS[rows]
    assert (len(made), rejected) == (50, [])
    assert made == split(config)[0]
    assert made != split(WorldConfig(rows=rows, size=50, split="test"))[0]


def test_world_keeps_extra_columns_and_honours_noise():
    made, _ = split(WorldConfig(rows="preferences", size=60, noise=1.0))
    assert all(row["flipped"] is True for row in made)
    with pytest.raises(ValidationError, match="rows: preferences, not of rows: corpus"):
        WorldConfig(rows="corpus", size=1, noise=0.1)


def test_max_rows_counts_good_rows(fixtures):
    rows, rejected = split(HHConfig(path=fixtures / "hh.jsonl", max_rows=3))
    assert (len(rows), len(rejected)) == (3, 5)


def test_the_union_picks_by_kind_and_the_path_is_no_identity(fixtures):
    adapter = TypeAdapter(Builder)
    config = adapter.validate_python({"kind": "text", "path": str(fixtures / "stories.txt")})
    assert isinstance(config, TextConfig)
    assert "path" not in identity(config)
    assert external_files(config) == (fixtures / "stories.txt",)
    assert identity(TextConfig(path="a.jsonl.gz"))["format"] == "jsonl"
    assert adapter.validate_python(config.model_dump()) == config
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "text", "path": "a", "sepperator": "x"})
    with pytest.raises(ValidationError, match="mixed"):
        TextConfig(path=("a.txt", "b.jsonl"))


def test_several_files_are_read_in_order(fixtures):
    config = HHConfig(path=(fixtures / "hh.jsonl", fixtures / "hh.jsonl"))
    assert len(split(config)[0]) == 6
