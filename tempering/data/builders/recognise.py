"""Which builder reads a file, told by the columns of its first records.

The forms are tried in order (`known_forms`), names exactly first, then whatever their case; where
names are ambiguous, values decide: `chosen` is a transcript (HH), a string or a list of turns. A
column looks like something when most of its values do, so that a few broken rows decide nothing. A
set that fits no form is refused with the nearest row type and what it lacks for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from tempering.data.builders.babylm import corpus_named
from tempering.data.builders.base import FileBuilderConfig
from tempering.data.builders.gutenberg import START
from tempering.data.builders.known_forms import FORMS, REFUSED, Form, Look
from tempering.data.builders.tinystories import SEPARATOR
from tempering.data.rows import COLUMNS, RowType
from tempering.errors import DataError
from tempering.printable import shown_name

Record = Mapping[str, Any]
TEXT_KINDS = ("text", "tinystories", "babylm")


@dataclass(frozen=True)
class Recognised:
    """The builder that reads a file, the settings it needs, and the columns that told so."""

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """What was recognised, in words."""
        settings = "".join(f", {name}: {value}" for name, value in self.settings.items())
        from_what = f" by its columns {', '.join(self.columns)}" if self.columns else ""
        return f"recognised as kind: {self.kind}{settings}{from_what}"


def recognise(records: Sequence[Record], name: str) -> Recognised:
    """The builder for records like these.

    Args:
        records: the first ones of a file, after the column map.
        name: the file's name, for the corpora of BabyLM and for the message.

    Raises:
        DataError: when no form fits; with the columns, the nearest row type, what it lacks, and the fix.
    """
    for form in FORMS:
        found = _places(form, records)
        if found is None:
            continue
        corpus = corpus_named(name)
        if form.kind == "text" and corpus:
            return Recognised("babylm", {"corpus": corpus, **form.settings}, tuple(found.values()))
        moved = {column: place for column, place in found.items() if column != place}
        settings = {**form.settings, **({"columns": moved} if moved else {})}
        return Recognised(form.kind, settings, tuple(found.values()))
    raise _refusal(records, name)


def recognise_text(lines: Iterable[str], name: str) -> Recognised:
    """The builder for a text file that begins with these lines.

    Raises:
        DataError: when nothing says where its documents end.
    """
    head = list(lines)
    if any(SEPARATOR in line for line in head):
        return Recognised("tinystories")
    if any(START.search(line) for line in head):
        return Recognised("babylm", {"corpus": "gutenberg"})
    corpus = corpus_named(name)
    if corpus:
        return Recognised("babylm", {"corpus": corpus})
    raise _error(
        f"{shown_name(name)} is running text, and nothing in it says where a document ends",
        RowType.TEXT,
        f"{SEPARATOR} between documents, the name of a BabyLM corpus, or the marks of Project Gutenberg",
        "say how documents are told apart: kind: text, documents: separator, blank_line, line or file",
    )


def _places(form: Form, records: Sequence[Record]) -> dict[str, str] | None:
    """Column of the form -> column of the records; None where the form does not fit."""
    if any(name in record for record in records for name in form.without):
        return None
    names = dict.fromkeys(name for record in records for name in record)
    lowered = {name.lower(): name for name in reversed(names)}
    found: dict[str, str] = {}
    for column, look in form.columns.items():
        place = column if column in names else lowered.get(column, "")
        if not place or not _looks(records, place, look):
            return None
        found[column] = place
    return found


def _looks(records: Sequence[Record], column: str, look: Look) -> bool:
    values = [record[column] for record in records if record.get(column) is not None]
    return bool(values) and 2 * sum(map(look, values)) > len(values)


def _refusal(records: Sequence[Record], name: str) -> DataError:
    columns = dict.fromkeys(column for record in records for column in record)
    shown = ", ".join(f"{shown_name(column)} ({_shape(records, column)})" for column in list(columns)[:12])
    shown += f" and {len(columns) - 12} more" if len(columns) > 12 else ""
    turned, inside = _turned(records)
    found = f"{shown_name(name)} fits no row type; its columns are {shown or 'none at all'}{turned}"
    before = "write its records as JSONL; then " if turned else ""
    for refused in REFUSED:
        if all(_looks(inside, column, look) for column, look in refused.columns.items()):
            return _error(found, refused.nearest, refused.lacks, f"{before}{refused.fix}")
    form, lacking = _nearest(inside)
    lacks = ", ".join(f"{column} ({_said(form.columns[column])})" for column in lacking)
    if not lacking:
        return _error(found, _row_type(form), "nothing but one record a row", "write its records as JSONL")
    fix = f"{before}name them: kind: {form.kind}, columns: {{{': ..., '.join(lacking)}: ...}}"
    if ".csv" in name or ".tsv" in name:
        fix += "; where the first row is no header, set header: false: the columns are then called 0, 1, 2"
    return _error(found, _row_type(form), lacks, fix)


def _error(found: str, nearest: RowType, lacks: str, fix: str) -> DataError:
    wanted = f"the nearest row type is {nearest} ({', '.join(COLUMNS[nearest])})"
    return DataError(found, expected=f"{wanted}, for which it lacks {lacks}", fix=fix)


def _said(look: Look) -> str:
    """What a look is for, in its own words."""
    words = (look.__doc__ or "").rstrip(".")
    return words[:1].lower() + words[1:]


def _nearest(records: Sequence[Record]) -> tuple[Form, list[str]]:
    """The form of whose columns the largest share is there, and those of them that are not."""
    there = {name for record in records for name in record}

    def lacking(form: Form) -> list[str]:
        return [column for column, look in form.columns.items() if not _looks(records, column, look)]

    def distance(form: Form) -> tuple[float, int]:
        missed = lacking(form)
        return len(missed) / len(form.columns), sum(column not in there for column in missed)

    best = min((form for form in FORMS if not there.intersection(form.without)), key=distance)
    if distance(best)[0] == 1:  # nothing fits at all: the plainest form is the nearest
        best = next(form for form in FORMS if form.kind == "text")
    return best, lacking(best)


def _row_type(form: Form) -> RowType:
    return builder_for(Recognised(form.kind, form.settings), path="-").row_type


def _turned(records: Sequence[Record]) -> tuple[str, Sequence[Record]]:
    """Why one single record is a whole file turned inside out ("" where it is not), and the records in it."""
    values = list(records[0].values()) if len(records) == 1 else []
    if len(values) < 2:
        return "", records
    if all(isinstance(value, list) for value in values) and len({len(value) for value in values}) == 1:
        inside = [dict(zip(records[0], row, strict=True)) for row in zip(*values, strict=True)]
        return f": it is one object of columns, each a list of {len(inside)} values", inside
    if all(isinstance(value, Mapping) for value in values):
        return f": it is one object that holds {len(values)} records by their names", values
    return "", records


def _shape(records: Sequence[Record], column: str) -> str:
    value = next((record[column] for record in records if record.get(column) is not None), None)
    names = {str: "a string", bool: "a boolean", int: "a number", float: "a number", dict: "an object"}
    if isinstance(value, list):
        inner = names.get(type(value[0]), "a list") if value else ""
        return f"a list of {inner.removeprefix('a ').removeprefix('an ')}s" if inner else "an empty list"
    return names.get(type(value), "always null" if value is None else type(value).__name__)


def builder_for(
    found: "Recognised",
    *,
    path: Path | str,
    rows: str = "auto",
    folder: str = "",
    columns: Mapping[str, str] | None = None,
    **shared: Any,
) -> FileBuilderConfig:
    """The builder of a recognised form, for rows of a use where it has a setting for that.

    Where no use is asked for, `folder` means to it what it means where its `kind` is named.
    """
    kind = _class_of(found.kind)
    given, moved = columns or {}, found.settings.get("columns", {})
    settings = {**shared, **found.settings, "path": path}
    # What was recognised are the columns after the map that was given.
    settings["columns"] = {
        **{name: place for name, place in given.items() if name not in moved.values()},
        **{name: given.get(place, place) for name, place in moved.items()},
    }
    if "rows" in kind.model_fields and "rows" not in found.settings:
        offered = get_args(kind.model_fields["rows"].annotation)
        # Named in any case: the builder would else follow the path, which is no part of the identity.
        asked = kind.folder_rows.get(folder, "") if rows == "auto" else rows
        wished = (name for name in (asked, f"{asked}s") if name in offered)
        settings["rows"] = next(wished, kind.model_fields["rows"].default)
    return kind.model_validate(settings)


def _class_of(name: str) -> type[FileBuilderConfig]:
    from tempering.data.builders import Builder  # the union that this builder belongs to

    union, _ = get_args(Builder)
    kinds: tuple[type[FileBuilderConfig], ...] = get_args(union)
    return next(kind for kind in kinds if kind.model_fields["kind"].default == name)
