"""Read files of any known form: the columns of the first records tell the builder, which is logged.

The files of a data set may have different forms if their rows are of one type (the sets of GLUE). Files
without records are skipped, with a notice. The recognised builder decides what a folder of the local layout
means, so the folder's name is part of the config. Recognition reads only the first records of a file and is
cached until the file changes, so that the row type is cheap to ask for.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from tempering.config import Readers
from tempering.data.builders.base import FileBuilderConfig, Item, Note, Record, renamed
from tempering.data.builders.recognise import builder_for
from tempering.data.builders.squad import nested
from tempering.data.files import Reading, file_format, read_lines, read_records
from tempering.data.rows import Notice, Rejected, RowType, Values
from tempering.errors import DataError

if TYPE_CHECKING:
    from tempering.data.builders.recognise import Recognised

_FIRST = 50
_TRIED = 500
_ROW_TYPES: Mapping[str, RowType] = {
    "prompt_completion": RowType.PROMPT_COMPLETION,
    "preference": RowType.PREFERENCE,
    "prompts": RowType.PROMPT,
}


class AutoConfig(FileBuilderConfig):
    """Files whose form is recognised."""

    folder_rows: ClassVar[Mapping[str, str]] = {}  # those of the recognised builder apply

    version: ClassVar[int] = 2  # raised with any builder that it reads through
    read_by: ClassVar[Mapping[str, Readers]] = {"folder": {"rows": ("auto",)}}

    kind: Literal["auto"] = "auto"
    rows: Literal["auto", "prompt_completion", "preference", "prompts"] = Field(
        default="auto", description="what the rows are for; auto: what the recognised builder makes of them"
    )
    folder: Literal["", "finetune", "reward", "rl", "evaluation"] = Field(
        default="", description="for rows: auto, the folder of data/ they lie in says what they are for"
    )

    @property
    def row_type(self) -> RowType:
        """The row type of the first file that holds records.

        Raises:
            DataError: its form is unknown, or no file holds any.
        """
        return self.builder(self.first_file()).row_type

    def first_file(self) -> Path:
        """The first file that holds records.

        Raises:
            DataError: there is none, or its form is unknown.
        """
        files = self.files(self.passes()[0][0])
        first = next((path for path in files if self._form_of(path)), None)
        if first is None:
            names = ", ".join(path.name for path in files[:3])
            raise DataError(
                f"the data set of kind auto holds no rows: {names or 'there is no file'}",
                fix="check `path` (or `hub` and its `subset`), `split` and its contents",
            )
        return first

    def read(self, split: str | None) -> Iterator[Item]:
        """The rows of all files of a split, each read by its builder."""
        expected, reported = self.row_type, set[str]()
        for path in self.files(split):
            if self._form_of(path) is None:
                yield Notice(f"{path.name}: holds no rows and is skipped")
                continue
            builder, form = self.builder(path), self.recognised(path)
            if builder.row_type is not expected:
                raise DataError(
                    f"{path.name} is {form.said}, which gives {builder.row_type} rows",
                    expected=f"{expected} rows, as in the first file",
                    fix="make one data set per form, or set `kind` and `rows`",
                )
            if form.said not in reported:
                yield Notice(f"{path.name}: {form.said}; {expected} rows")
                reported.add(form.said)
            yield from builder.read(None)

    def normalise(self, record: Record, note: Note) -> Values:
        """Not used: the recognised builder normalises the rows."""
        raise AssertionError("auto reads through another builder")

    def recognised(self, path: Path) -> "Recognised":
        """The form of a file.

        Raises:
            DataError: it is unknown (names the nearest row type), or there are no records.
        """
        form = self._form_of(path)
        if form is None:
            raise DataError(f"{path} holds no rows", fix="leave it out, or correct it")
        return form

    def _form_of(self, path: Path) -> "Recognised | None":
        """The form of a file; None if it holds no records."""
        status = path.stat()
        stamp = (status.st_size, status.st_mtime_ns)
        return _recognised(path.absolute(), stamp, self.reading, tuple(sorted(self.columns.items())))

    def builder(self, path: Path) -> FileBuilderConfig:
        """The builder of a file.

        Raises:
            DataError: its rows cannot be used as `rows` says.
        """
        form = self.recognised(path)
        names = ("format", "encoding", "header", "seed", "ignore_columns")
        shared = {name: getattr(self, name) for name in names}
        builder = builder_for(
            form, path=path, rows=self.rows, folder=self.folder, columns=self.columns, **shared
        )
        self._require_use(builder, path, form)
        return builder

    def _require_use(self, builder: FileBuilderConfig, path: Path, form: "Recognised") -> None:
        from tempering.data.row_conversion import uses_of

        required = _ROW_TYPES.get(self.rows)
        if required and required is not builder.row_type and required not in uses_of(builder.row_type):
            raise DataError(
                f"{path.name} is {form.said}: its {builder.row_type} rows cannot be used as {required} rows",
                expected=f"a set for {required} rows, as `rows` says",
                fix="drop `rows`, or name another set",
            )


@lru_cache(maxsize=1024)
def _recognised(
    path: Path, stamp: tuple[int, int], reading: Reading, columns: tuple[tuple[str, str], ...]
) -> "Recognised | None":
    from tempering.data.builders.recognise import Recognised, recognise, recognise_text

    if (file_format(path) if reading.format == "auto" else reading.format) == "text":
        lines = list(islice(read_lines(path, reading.encoding), _TRIED))
        if len(lines) < _TRIED and not any(isinstance(item, Rejected) or item[1].strip() for item in lines):
            return None
        return recognise_text((item[1] for item in lines if not isinstance(item, Rejected)), path.name)
    if nested(path) is not None:
        return Recognised("squad", columns=("data",))
    if reading.header and not columns and _is_cola(path, reading):
        return Recognised("classification", {"header": False, "columns": {"text": "3", "label": "1"}})
    records = _first_records(path, reading, dict(columns))
    return recognise(records, path.name) if records else None


def _is_cola(path: Path, reading: Reading) -> bool:
    """Whether it is a TSV of CoLA's own, without header: source, label, the author's mark, sentence."""
    if (file_format(path) if reading.format == "auto" else reading.format) != "tsv":
        return False
    items = [*islice(read_records(path, replace(reading, header=False)), _FIRST)]
    return bool(items) and all(
        not isinstance(item, Rejected)
        and list(item[1]) == ["0", "1", "2", "3"]
        and item[1]["1"] in ("0", "1")
        and not str(item[1]["2"] or "").strip("*?#%")
        for item in items
    )


def _first_records(path: Path, reading: Reading, columns: Mapping[str, str]) -> list[Record]:
    records, reasons = list[Record](), dict[str, None]()
    for item in islice(read_records(path, reading), _TRIED):
        if isinstance(item, Rejected):
            reasons[item.reason] = None
            continue
        records.append(renamed(item[1], columns))
        if len(records) == _FIRST:
            break
    if reasons and not records:
        raise DataError(
            ": ".join([f"{path} holds no record that can be read", *list(reasons)[:3]]),
            expected="records whose columns say what they are",
            fix="correct the file, or set `kind` and `format`",
        )
    return records
