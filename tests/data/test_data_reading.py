"""Lines and JSON: reading survives what real files hold, and every fault has its file and line."""

import gzip
import io
import json
from pathlib import Path

import pytest

from tempering.data.files import (
    Reading,
    excerpt,
    json_rows,
    json_text,
    read_document,
    read_lines,
    read_records,
    require_file,
)
from tempering.data.files.json_rows import array_items
from tempering.data.rows import Rejected
from tempering.errors import DataError


def told(items):
    """Good records as they are; of rejections the line (or row index) and the reason."""
    return [(item.line, item.reason) if isinstance(item, Rejected) else item for item in items]


@pytest.fixture
def records(tmp_path):
    def write(content, name="a.json", **reading):
        path = tmp_path / name
        path.write_bytes(content)
        return told(read_records(path, Reading(**reading)))

    return write


def test_lines_end_at_newline_alone(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\u2028still one\x85\x0b\x1cyes\r\n\r\ntwo".encode())
    assert list(read_lines(path)) == [(1, "one\u2028still one\x85\x0b\x1cyes"), (2, ""), (3, "two")]


def test_bytes_of_another_encoding_cost_their_line_unless_it_is_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"caf\xe9\nfine\n\x81")
    assert told(read_lines(path)) == [
        (1, "invalid UTF-8 (unexpected end of data)"),
        (2, "fine"),
        (3, "invalid UTF-8 (invalid start byte)"),
    ]
    # 0x81 is one of the five bytes that cp1252 does not have.
    assert told(read_lines(path, "cp1252"))[:2] == [(1, "café"), (2, "fine")]
    assert told(read_lines(path, "cp1252"))[2][1].startswith("invalid cp1252")
    assert told(read_lines(path, "latin-1"))[2] == (3, "\x81")


def test_a_line_without_end_is_not_held_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("tempering.data.files.lines.LONGEST", 10)
    path = tmp_path / "a.txt"
    path.write_bytes(b"short\n" + b"x" * 35 + b"\nexactly 9\nend")
    assert [item[0] for item in told(read_lines(path))] == [1, 2, 3, 4]
    rejected = list(read_lines(path))[1]
    assert (rejected.line, rejected.file) == (2, "a.txt")
    assert rejected.reason.startswith("a line longer than")


def test_faults_in_jsonl_are_rejected_with_their_line(tmp_path):
    lines = {
        b'\xef\xbb\xbf{"text": "first\\u2028line"}\r': {"text": "first\u2028line"},
        b"": None,
        b'{"text": "cut': "malformed JSON (Unterminated string starting at)",
        b'{"text": "\xff\xfe"}': "invalid UTF-8 (invalid start byte)",
        '{"text": "raw\u2028separator"}'.encode(): {"text": "raw\u2028separator"},
        # What JSON can say and rows cannot hold is left to the row check.
        b'{"text": "\\ud83d"}': {"text": "\ud83d"},
        b'{"text": "a\\u0000b"}': {"text": "a\x00b"},
        b'{"text": "a\x00b"}': "malformed JSON (Invalid control character at)",
        b'["a"]': "not a JSON object",
        b"null": "not a JSON object",
        b"[" * 100_000: "malformed JSON (too large or too deep)",
        b'{"text": ' + b"9" * 5000 + b"}": "malformed JSON (too large or too deep)",
        b'{"text": "' + b"x" * 400_000 + b'"}': {"text": "x" * 400_000},
        b'{"text": "last, cut o': "malformed JSON (Unterminated string starting at)",
    }
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    items = list(read_records(path))
    assert told(items) == [(n, found) for n, found in enumerate(lines.values(), start=1) if found is not None]
    for item in items:
        if isinstance(item, Rejected):
            assert item.file == "a.jsonl"
            assert len(item.excerpt.encode("utf-8")) < 200
            assert "\x00" not in item.excerpt


def test_an_excerpt_cannot_steer_a_terminal():
    assert excerpt("a\x1b]0;title\x07\x1b[31m\x9b\u202e\ud800\n") == "a␛]0;title␇␛[31m\\u009b\\u202e\\ud800⏎"
    assert excerpt({"a": "\x1b"}) == "{'a': '\\x1b'}"
    assert excerpt("é" * 121) == "é" * 120 + "…"


def test_arrays_lines_and_documents_are_told_apart_by_content(records):
    rows = [(0, {"text": "a"}), (1, "not a JSON object"), (2, {"text": "b"})]
    assert (
        records(gzip.compress(b'\xef\xbb\xbf \n[{"text": "a"}, 3, {"text": "b"}]'), "misnamed.jsonl") == rows
    )
    lines = [(1, {"a": 1}), (2, {"a": 2})]
    assert records(b'{"a": 1}\n{"a": 2}\n') == lines
    assert records(b'{"a": 1}\n') == lines[:1]
    assert records(b'{\n "a": 1\n}\n') == [(0, {"a": 1})]
    assert records(b'{\n "a": 1\n}\n{\n "a": 2\n}') == [(0, {"a": 1}), (1, {"a": 2})]
    assert records(b'["a"]\n{"a": 2}\n') == [(1, "not a JSON object"), (2, {"a": 2})]
    assert records(b'{"a": 1\n{"a": 2}\n')[1] == (2, {"a": 2})
    assert records(b'[{"a": 1}]', "a.jsonl", format="jsonl") == [(1, "not a JSON object")]
    assert records(b"[]") == records(b"") == records(b" \n\n") == []


@pytest.mark.parametrize(
    "document", [{"version": "1.1", "data": [{"paragraphs": []}]}, {"anything": [{"text": "a"}]}]
)
@pytest.mark.parametrize("indent", [None, 1])
def test_a_document_is_not_taken_for_one_row(records, document, indent):
    with pytest.raises(DataError, match=r"a\.json is one document") as error:
        records(json.dumps(document, indent=indent).encode())
    assert "SQuAD" in error.value.fix
    # One conversation is a row, and so is every line of JSONL.
    row = {"messages": [{"role": "user", "content": "a"}]}
    assert records(json.dumps(row).encode()) == [(1, row)]
    assert records(json.dumps(document).encode(), "a.jsonl") == [(1, document)]


ARRAY = [{"a": -1.5e-10, "b": [True, None]}, {"t": 'x😀\\"[{\n', "": {}}, [], "s", 1234, {"long": "é" * 50}]


@pytest.mark.parametrize("chunk", [1, 7, 2**16])
@pytest.mark.parametrize("indent", [None, 1])
def test_an_array_cut_anywhere_keeps_its_complete_rows(monkeypatch, chunk, indent):
    """Each cut gives the rows before it and one rejection with the index of the row that is broken."""
    monkeypatch.setattr(json_text, "_CHUNK", chunk)
    for ascii_only in (True, False):
        text = "\ufeff" + json.dumps(ARRAY, indent=indent, ensure_ascii=ascii_only)
        data = text.encode()
        assert _array(data) == list(enumerate(ARRAY))
        for cut in range(4, len(data)):
            *rows, rejected = _array(data[:cut])
            assert rejected.reason == "the JSON is cut off", data[:cut]
            assert rejected.line == len(rows)
            assert [row for _, row in rows] == ARRAY[: len(rows)]


def _array(data):
    return list(array_items(json_text.JsonText(Path("a.json"), io.BytesIO(data))))


def test_what_python_cannot_hold_costs_one_row_of_an_array(records):
    deep, digits = "[" * 20_000 + "]" * 20_000, "9" * 5000
    content = f'[{{"a": {deep}}}, {{"b": "]"}}, {{"n": {digits}, "s": "\\"}}"}}, {digits}, {{"c": 3}}]'
    too_much = "malformed JSON (too large or too deep)"
    assert records(content.encode()) == [
        (0, too_much),
        (1, {"b": "]"}),
        (2, too_much),
        (3, too_much),
        (4, {"c": 3}),
    ]
    assert records(f'[{{"a": {deep[:-5]}'.encode()) == [(0, "the JSON is cut off")]


def test_invalid_bytes_in_an_array_cost_no_other_row(records):
    content = b'[{"text": "a"}, {"text": "caf\xe9"}]'
    assert records(content) == [(0, {"text": "a"}), (1, {"text": "caf\udce9"})]
    assert records(content, encoding="cp1252")[1] == (1, {"text": "café"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[{"a": 1},\n{"a": x},\n{"a": 3}]', r"at row 1: Expecting value in line 2"),
        (b'[{"a": 1},\n{"a": "x"y"}, {"a": 3}' + b" " * 99 + b"]", r"at row 1: .* in line 2"),
        (b'[{"a": 1}\n{"a": 2}]', r"at row 1: a comma is missing in line 2"),
        (b'[\n{"a": 1}]\n[{"a": 2}]', r"continues after its JSON array"),
    ],
)
def test_a_fault_within_an_array_is_an_error_with_its_row(records, content, said):
    """What follows cannot be told apart any more, so it must not be left out as if it were one row."""
    with pytest.raises(DataError, match=said) as error:
        records(content, "a.json", format="json")
    assert "a.json" in str(error.value)


def test_a_value_that_never_ends_is_not_held_in_memory(records, monkeypatch):
    monkeypatch.setattr(json_text, "LONGEST", 1000)
    monkeypatch.setattr(json_text, "_CHUNK", 100)
    with pytest.raises(DataError, match="longer than"):
        records(json.dumps([{"a": "x" * 5000}]).encode())


def test_a_fault_is_told_from_a_value_that_never_ends(records, monkeypatch):
    """Mutation: what is longer than any row is never decoded, and so never called malformed."""
    monkeypatch.setattr(json_text, "LONGEST", 1000)
    monkeypatch.setattr(json_text, "_CHUNK", 100)
    with pytest.raises(DataError, match=r"at row 1: Expecting ',' delimiter in line 2"):
        records(b'[{"a": 1},\n{"a": "x"y"}, ' + b'{"a": 3}, ' * 999 + b"]")


def test_the_values_of_an_array_are_those_of_json(records):
    """What other parsers change without a word: a lone surrogate becomes `?`, a large number is refused."""
    values = [
        r'"a\ud83d"',
        r'"\ud83d\ude00"',
        r'"\u0000"',
        "NaN",
        "-Infinity",
        "1e400",
        "-0.0",
        "0.1",
        "9" * 400,
    ]
    objects = ", ".join(f'{{"a": {value}}}' for value in values)
    rows = records(f"[{objects}]".encode())
    assert repr([row["a"] for _, row in rows]) == repr([json.loads(value) for value in values])
    assert records(b'[{"a": 1, "b": 2, "a": 3}]') == [(0, {"a": 3, "b": 2})]


def test_a_document_is_read_whole(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{"data": ["\xff"]}')
    assert read_document(path) == {"data": ["\udcff"]}
    path.write_bytes(b'{"a": 1}\n{"a": 2}')
    assert read_document(path) is None


def test_a_missing_path_says_so(tmp_path):
    with pytest.raises(DataError, match="does not exist") as error:
        require_file(tmp_path / "no.jsonl")
    assert "local file" in error.value.expected
    with pytest.raises(DataError, match="is a folder"):
        list(read_records(tmp_path))


def test_long_jsonl_is_told_from_a_long_document_by_its_first_line(tmp_path, monkeypatch):
    monkeypatch.setattr(json_rows, "LONGEST", 1000)
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}\n' * 500)
    assert read_document(path) is None
    path.write_text("{\n" + '"a": 1,\n' * 500 + '"b": 2}')
    with pytest.raises(DataError, match="one JSON document of more than"):
        read_document(path)
