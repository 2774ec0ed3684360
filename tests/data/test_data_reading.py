"""Reading survives what real files hold, and every fault has its file and line."""

import gzip
import json

import pytest

from tempering.data.builders import TextConfig, build
from tempering.data.files import read_json_objects, read_lines
from tempering.data.rows import Rejected, Row
from tempering.errors import DataError


def rows_of(config):
    items = list(build(config))
    return [i.values for i in items if isinstance(i, Row)], [i for i in items if isinstance(i, Rejected)]


def test_lines_end_at_newline_alone(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\u2028still one\x85\x0b\x1cyes\r\n\r\ntwo".encode())
    assert list(read_lines(path)) == [(1, "one\u2028still one\x85\x0b\x1cyes"), (2, ""), (3, "two")]


def test_faults_in_jsonl_are_rejected_with_their_line(tmp_path):
    good = json.dumps({"text": "good"}).encode()
    lines = {
        b'\xef\xbb\xbf{"text": "first\\u2028line"}\r': None,
        b"": None,
        b'{"text": "cut': "malformed JSON",
        b'{"text": "\xff\xfe"}': "invalid UTF-8",
        b'{"text": NaN}': "text: is float",
        b'{"text": "\\ud83d"}': "lone surrogate",
        b'{"text": "a\\u0000b"}': "NUL",
        b'{"text": null}': "missing or null",
        b'{"text": ["a"]}': "text: is list",
        b'{"other": "a"}': "missing or null",
        b'{"text": "  "}': "is empty",
        b'["a"]': "not a JSON object",
        b"[" * 100_000: "too large or too deep",
        b'{"text": ' + b"9" * 5000 + b"}": "too large or too deep",
        good: None,
    }
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    rows, rejected = rows_of(TextConfig(path=path))
    assert [row["text"] for row in rows] == ["first\u2028line", "good"]
    expected = [(n, reason) for n, reason in enumerate(lines.values(), start=1) if reason]
    assert [item.line for item in rejected] == [n for n, _ in expected]
    for item, (_, reason) in zip(rejected, expected, strict=True):
        assert reason in item.reason
        assert item.file == "a.jsonl"
        item.excerpt.encode("utf-8")
        assert "\x00" not in item.excerpt


def test_gzip_and_arrays_are_recognised_by_content(tmp_path):
    path = tmp_path / "misnamed.jsonl"
    path.write_bytes(gzip.compress(b'\xef\xbb\xbf \n[{"text": "a"}, 3, {"text": "b"}]'))
    items = list(read_json_objects(path))
    assert items[0] == (0, {"text": "a"})
    assert items[1].reason == "not a JSON object"
    assert items[2] == (2, {"text": "b"})


def test_invalid_bytes_in_an_array_cost_one_row(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'[{"text": "a"}, {"text": "\xff"}]')
    rows, rejected = rows_of(TextConfig(path=path))
    assert rows == [{"text": "a"}]
    assert [(item.line, item.reason) for item in rejected] == [
        (1, "text: holds a lone surrogate or invalid UTF-8")
    ]


@pytest.mark.parametrize(
    "content", [b"[1, 2", gzip.compress(b'{"text": "a"}\n' * 100)[:-20]], ids=["array", "gzip"]
)
def test_damaged_files_are_named(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json"):
        list(read_json_objects(path))


def test_a_missing_path_says_so_before_anything_is_read(tmp_path):
    config = TextConfig(path="HuggingFaceH4/ultrafeedback_binarized")
    with pytest.raises(DataError, match="does not exist") as error:
        config.external_files()
    assert "local file" in error.value.expected
    with pytest.raises(DataError, match="is a folder"):
        list(build(TextConfig(path=tmp_path)))
