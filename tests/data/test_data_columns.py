"""Every column of a record that a row is made of is read, kept beside it, or told as not used."""

import pytest

from tempering.data.builders.columns import Columns
from tempering.data.rows import Row, RowType
from tests.data.test_data_builders import ADAPTER, FIXTURES, records_in

RECORDS = [kind for kind in FIXTURES if FIXTURES[kind][0].endswith(("json", "jsonl")) and kind != "auto"]

UNUSED = {
    "ultrafeedback": {"messages"},
    "prompt_response": {"rejected"},
    "reward_bench": {"num_incorrect", "total_completions", "models", "additional_metadata"},
}


@pytest.mark.parametrize("kind", RECORDS)
def test_no_builder_loses_a_column_without_telling(fixtures, kind):
    file, given, *_ = FIXTURES[kind]
    config = ADAPTER.validate_python({"kind": kind, "path": str(fixtures / file), **given})
    own = config.read_file(fixtures / file)
    told = {name for item in own if isinstance(item, Row) for name in item.unused}
    records = [{**record, "an object": {"a": 1}, "a word": "x"} for record in records_in(fixtures / file)]
    if kind == "squad":  # its fixture is a document of articles
        records = [
            {"question": "q", "context": "c a", "answers": ["a"], "an object": {"a": 1}, "a word": "x"}
        ]
    rows = [item for item in config.rows_in(fixtures / file, enumerate(records)) if isinstance(item, Row)]
    assert rows
    for row in rows:
        assert "an object" in row.unused
        assert ("a word" in row.values) != ("a word" in row.unused)
    # Of the fixtures' own columns only these are in no part of a row.
    assert told == UNUSED.get(kind, set())


def test_columns_are_told_anew_for_each_set_that_holds_something():
    columns = Columns("a.jsonl", "chat", RowType.MESSAGES)

    def unused(record, *read):
        asked = columns.to_read(record)
        for name in read:
            asked.get(name)
        return columns.unused(asked, {"kept": 1, "messages": []})

    assert unused({"messages": 1, "kept": 1, "other": 1}, "messages") == ("other",)
    # Records alike are treated alike, so that reading costs nothing more.
    assert unused({"messages": 1, "kept": 1, "other": 1}, "messages", "other") == ("other",)
    assert unused({"messages": 1, "kept": 1, "other": None}, "messages") == ()
    assert unused({"messages": 1, "text": 1, "other": 1}, "messages", "other") == ("text",)
