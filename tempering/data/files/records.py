"""Records of any data file: the format is told by its name, then by its content.

Names are trusted for what content cannot say (CSV or text); content decides between JSONL, arrays
and documents, since `.json` is used for all of them, and goes before the name where it has a magic
number of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tempering.data.files.columnar import read_arrow, read_parquet
from tempering.data.files.json_rows import read_json_lines, read_json_objects
from tempering.data.files.lines import excerpt, read_lines
from tempering.data.files.names import KNOWN, SUFFIXES, Format, known_suffix
from tempering.data.files.opening import head
from tempering.data.files.table_rows import read_csv, read_tsv
from tempering.data.files.values import DEEPEST, TooDeep, tidied
from tempering.data.rows import Rejected
from tempering.errors import DataError

Record = tuple[int, dict[str, Any]] | Rejected
_MOST_COLUMNS = 1_000
_NESTED = (dict, list)


@dataclass(frozen=True)
class Reading:
    """How files are read.

    `encoding` is that of text files (utf-8, cp1252 or latin-1), `header` says whether the first row
    of CSV and TSV names the columns (else they are called 0, 1, 2).
    """

    format: Format = "auto"
    encoding: str = "utf-8"
    header: bool = True


def read_records(path: Path, reading: Reading = Reading()) -> Iterator[Record]:
    """Every record of a file, with its line (JSONL, text) or row index from 0, or as `Rejected`.

    An empty file has no records. Text files give `{"text": line}` for each line that is not blank.
    Nested values are the same from every format (`values`).

    Raises:
        DataError: when the file is missing or damaged, its format cannot be told, or its records have more
            columns together than any data set has.
    """
    names = set[str]()
    for item in _records(path, reading):
        if isinstance(item, Rejected):
            yield item
            continue
        number, record = item
        if not record.keys() <= names:
            names |= record.keys()
            _require_few(path, number, len(names))
        try:
            nested = {name: tidied(value) for name, value in record.items() if isinstance(value, _NESTED)}
            yield number, ({**record, **nested} if nested else record)
        except TooDeep:
            reason = f"objects and lists of more than {DEEPEST} levels"
            yield Rejected(path.name, number, reason, excerpt(", ".join(record)))


def _require_few(path: Path, number: int, columns: int) -> None:
    """Refuse what would be written as so many columns; every row would cost time for all of them."""
    if columns > _MOST_COLUMNS:
        raise DataError(
            f"{path}: the records up to number {number} have {columns:,} different columns",
            expected=f"at most {_MOST_COLUMNS:,}",
            fix="put values under names of their own into one column, as an object or a list",
        )


def _records(path: Path, reading: Reading) -> Iterator[Record]:
    encoding, header = reading.encoding, reading.header
    match file_format(path) if reading.format == "auto" else reading.format:
        case "csv":
            yield from read_csv(path, encoding, header)
        case "tsv":
            yield from read_tsv(path, encoding, header)
        case "parquet":
            yield from read_parquet(path)
        case "arrow":
            yield from read_arrow(path)
        case "text":
            yield from _text(path, encoding)
        case "jsonl" if reading.format == "jsonl":
            yield from read_json_lines(path, encoding)
        case _:
            yield from read_json_objects(path, encoding)


def file_format(path: Path) -> Format:
    """The format of a file; json and jsonl mean JSON of any form.

    Raises:
        DataError: when neither its name nor its content says.
    """
    start = head(path)
    if start.startswith(b"PAR1"):
        return "parquet"
    if start.startswith(b"ARROW1"):
        return "arrow"
    form = SUFFIXES.get(known_suffix(path.name))
    if form or not start:
        return form or "text"
    if start.startswith(b"\xff\xff\xff\xff"):
        return "arrow"
    if start.lstrip()[:1] in (b"[", b"{"):
        return "json"
    raise DataError(
        f"{path}: neither its name nor its content says what format it has",
        expected=f"a name that ends in {KNOWN}",
        fix="set `format`: jsonl, json, csv, tsv, parquet, arrow or text",
    )


def _text(path: Path, encoding: str) -> Iterator[Record]:
    for item in read_lines(path, encoding):
        if isinstance(item, Rejected):
            yield item
        elif item[1].strip():
            yield item[0], {"text": item[1]}
