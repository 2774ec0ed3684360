"""Prompts from files and answers into files, a few rows at a time.

A text file holds one prompt per line; JSON, JSONL, CSV, Parquet and Arrow a column `prompt` of strings or
messages. Answers go to a temporary file that takes its name when it is complete.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tempering.artifacts.atomic import whole_file
from tempering.data.builders.base import BadRow
from tempering.data.builders.pairs import prompt_of
from tempering.data.files import file_format, read_records
from tempering.data.rows import Rejected
from tempering.errors import DataError, UserError

Messages = list[dict[str, str]]
Write = Callable[[list[dict[str, Any]]], None]
SUFFIXES = (".parquet", ".jsonl")


@dataclass(frozen=True)
class Prompt:
    """A prompt and `where` it is, for messages; `is_text`: it was a string."""

    messages: Messages
    where: str
    is_text: bool = True

    def shown(self, as_messages: bool) -> str | Messages:
        """Its value in the column `prompt` of the answers."""
        return self.messages if as_messages else self.messages[-1]["content"]


def given_prompts(texts: Iterable[str]) -> list[Prompt]:
    """The prompts of the command line.

    Raises:
        UserError: a prompt is empty.
    """
    prompts = [Prompt([{"role": "user", "content": _clean(text)}], f"--prompt {text!r}") for text in texts]
    if any(not prompt.messages[0]["content"].strip() for prompt in prompts):
        raise UserError("--prompt is empty", expected="the text of a prompt")
    return prompts


def read_prompts(path: Path) -> Iterator[Prompt]:
    """The prompts of a file, one by one.

    Raises:
        DataError: the file is missing, damaged or empty, or a row has no prompt, with its place.
    """
    kind = file_format(path)
    column = "text" if kind == "text" else "prompt"
    unit = "line" if kind in ("text", "jsonl") else "row"
    empty = True
    for record in read_records(path):
        if isinstance(record, Rejected):
            if record.kept:
                continue
            raise DataError(
                f"{path}, {unit} {record.line}: {record.reason}",
                expected="a prompt in every row",
                fix="correct or remove the row",
            )
        place, row = record
        yield _prompt(row, column, f"{path}, {unit} {place}")
        empty = False
    if empty:
        raise DataError(f"{path} holds no prompt", expected="one prompt per line, or a column `prompt`")


def _prompt(row: dict[str, Any], column: str, where: str) -> Prompt:
    value = row.get(column)
    if value is None:
        raise DataError(
            f"{where} has no column `{column}`, only {', '.join(row) or 'nothing'}",
            expected=f"a column `{column}` of strings or of messages",
            fix="rename the column",
        )
    try:
        messages = prompt_of(value, lambda note: None, column)
    except BadRow as error:
        raise DataError(f"{where}: {error}", expected="a string, or turns that end with the user") from None
    return Prompt([dict(turn) for turn in messages], where, isinstance(value, str))


def _clean(text: str) -> str:
    """Replace bytes of the command line that are not UTF-8, which no tokenizer takes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def check_out(path: Path) -> None:
    """Refuse a bad path for the answers before anything is computed.

    Raises:
        UserError: another kind of file, or a missing folder.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(f"--out {path} has an unknown suffix", expected=" or ".join(SUFFIXES))
    if not path.absolute().parent.is_dir() or path.is_dir():
        problem = "is a folder" if path.is_dir() else f"is in {path.parent}, which is not a folder"
        raise UserError(f"--out {path} {problem}", expected="a file in an existing folder")


@contextmanager
def answers_file(path: Path, as_messages: bool) -> Iterator[Write]:
    """A function that writes rows; `path` is replaced once all are written.

    Raises:
        UserError: `path` cannot be written.
    """
    rows_file = _parquet if path.suffix == ".parquet" else _lines
    try:
        with whole_file(path) as temporary, rows_file(temporary, as_messages) as write:
            yield write
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}", fix="choose a path you may write to"
        ) from None


@contextmanager
def _lines(path: Path, as_messages: bool) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="\n") as file:

        def write(rows: list[dict[str, Any]]) -> None:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

        yield write


@contextmanager
def _parquet(path: Path, as_messages: bool) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    schema = pa.schema(
        [
            ("index", pa.int64()),
            ("sample", pa.int64()),
            ("prompt", pa.list_(message) if as_messages else pa.string()),
            ("completion", pa.string()),
            ("ended", pa.bool_()),
            ("tokens", pa.int64()),
        ]
    )
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        yield lambda rows: writer.write_table(pa.Table.from_pylist(rows, schema=schema))
