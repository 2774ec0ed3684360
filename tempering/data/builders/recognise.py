"""Recognise the builder that reads a file by the columns of its first records.

The forms are tried in order (`known_forms`), with exact names first, then ignoring case. If names are
ambiguous, values decide: `chosen` is a transcript (HH), a string or a list of turns. A column looks like
something if most of its values do, so that a few broken rows decide nothing. A set that fits no form is
refused with the nearest row type and what it lacks for that.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from tempering.data.builders.babylm import corpus_named
from tempering.data.builders.base import FileBuilderConfig
from tempering.data.builders.gutenberg import START
from tempering.data.builders.known_forms import FORMS, REFUSED, Form, Look, good_or_bad
from tempering.data.builders.tinystories import SEPARATOR
from tempering.data.builders.verdicts import reads_as_label
from tempering.data.rows import COLUMNS, RowType
from tempering.errors import DataError
from tempering.printable import shown_name

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Recognised:
    """The builder that reads a file, the settings it needs, and the columns it was recognised by."""

    kind: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """What was recognised, in words."""
        settings = "".join(f", {name}: {value}" for name, value in self.settings.items())
        evidence = f" by its columns {', '.join(self.columns)}" if self.columns else ""
        return f"recognised as kind: {self.kind}{settings}{evidence}"


def recognise(records: Sequence[Record], name: str) -> Recognised:
    """The builder for records like these.

    Args:
        records: the first ones of a file, after the column map.
        name: the file's name, for the corpora of BabyLM and for the message.

    Raises:
        DataError: no form fits; with the columns, the nearest row type, what it lacks, and the fix.
    """
    for form in FORMS:
        places = _places(form, records)
        if places is None:
            continue
        corpus = corpus_named(name)
        if form.kind == "text" and corpus:
            return Recognised("babylm", {"corpus": corpus, **form.settings}, tuple(places.values()))
        columns = {column: place for column, place in places.items() if column != place}
        columns = {**form.settings.get("columns", {}), **columns}
        settings = {**form.settings, **({"columns": columns} if columns else {})}
        return Recognised(form.kind, settings, tuple(places.values()))
    raise _refusal(records, name)


def recognise_text(lines: Iterable[str], name: str) -> Recognised:
    """The builder for a text file that begins with these lines.

    Raises:
        DataError: nothing says where its documents end.
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
        f"{shown_name(name)} is running text, but nothing in it says where a document ends",
        RowType.TEXT,
        f"{SEPARATOR} between documents, the name of a BabyLM corpus, or the marks of Project Gutenberg",
        "set what ends a document: kind: text, documents: separator, blank_line, line or file",
    )


def _places(form: Form, records: Sequence[Record]) -> dict[str, str] | None:
    """Column of the form -> column of the records; None if the form does not fit."""
    if any(record.get(name) is not None for record in records for name in form.without):
        return None
    names = dict.fromkeys(name for record in records for name in record)
    lowered = {name.lower(): name for name in reversed(names)}
    places: dict[str, str] = {}
    for column, look in form.columns.items():
        place = column if column in names else lowered.get(column, "")
        if look is good_or_bad:
            place = _verdicts(records, names)
        if not place or not _looks(records, place, look):
            return None
        places[column] = place
    if form.fits and not _most(sum(map(form.fits, records)), records):
        return None
    return places


def _verdicts(records: Sequence[Record], names: Iterable[str]) -> str:
    """The column of the verdicts: `label`, or else one whose name says so and which holds nothing else."""
    for name in sorted(filter(reads_as_label, names), key=lambda name: name.lower() != "label"):
        values = [value for record in records if (value := record.get(name)) not in (None, "")]
        # Three grades: which of them are good cannot be told.
        graded = {"0", "-1"} <= {str(value).strip().removesuffix(".0") for value in values}
        count = sum(map(good_or_bad, values))
        if (
            values
            and not graded
            and (count == len(values) or (name.lower() == "label" and _most(count, values)))
        ):
            return name
    return ""


def _looks(records: Sequence[Record], column: str, look: Look) -> bool:
    values = [record[column] for record in records if record.get(column) is not None]
    return _most(sum(map(look, values)), values)


def _most(count: int, values: Sequence[Any]) -> bool:
    return bool(values) and 2 * count > len(values)


def _refusal(records: Sequence[Record], name: str) -> DataError:
    columns = dict.fromkeys(column for record in records for column in record)
    listing = ", ".join(f"{shown_name(column)} ({_shape(records, column)})" for column in list(columns)[:12])
    listing += f" and {len(columns) - 12} more" if len(columns) > 12 else ""
    reversal, rows = _turned(records)
    problem = f"{shown_name(name)} fits no row type; its columns are {listing or 'none at all'}{reversal}"
    before = "write its records as JSONL; then " if reversal else ""
    for refused in REFUSED:
        if all(_looks(rows, column, look) for column, look in refused.columns.items()):
            return _error(problem, refused.nearest, refused.lacks, f"{before}{refused.fix}")
    form, missing = _nearest(rows)
    lacks = ", ".join(f"{column} ({_description(form.columns[column])})" for column in missing)
    if not missing:
        return _error(
            problem, _row_type(form), "nothing but one record per row", "write its records as JSONL"
        )
    fix = f"{before}name them: kind: {form.kind}, columns: {{{': ..., '.join(missing)}: ...}}"
    if ".csv" in name or ".tsv" in name:
        fix += "; if the first row is not a header, set header: false: the columns are then called 0, 1, 2"
    return _error(problem, _row_type(form), lacks, fix)


def _error(problem: str, nearest: RowType, lacks: str, fix: str) -> DataError:
    nearest_type = f"the nearest row type is {nearest} ({', '.join(COLUMNS[nearest])})"
    return DataError(problem, expected=f"{nearest_type}, for which it lacks {lacks}", fix=fix)


def _description(look: Look) -> str:
    """What a look recognises, by its docstring."""
    words = (look.__doc__ or "").rstrip(".")
    return words[:1].lower() + words[1:]


def _nearest(records: Sequence[Record]) -> tuple[Form, list[str]]:
    """The form with the largest share of its columns present, and its missing columns."""
    names = {name for record in records for name in record}

    def lacking(form: Form) -> list[str]:
        return [column for column, look in form.columns.items() if not _looks(records, column, look)]

    def distance(form: Form) -> tuple[float, int]:
        missing = lacking(form)
        return len(missing) / len(form.columns), sum(column not in names for column in missing)

    best = min(
        (form for form in FORMS if not form.fits and not names.intersection(form.without)), key=distance
    )
    if distance(best)[0] == 1:  # nothing fits at all: fall back to the plainest form
        best = next(form for form in FORMS if form.kind == "text")
    return best, lacking(best)


def _row_type(form: Form) -> RowType:
    return builder_for(Recognised(form.kind, form.settings), path="-").row_type


def _turned(records: Sequence[Record]) -> tuple[str, Sequence[Record]]:
    """If a single record holds a whole file: how, in words, and its records; else "" and `records`."""
    values = list(records[0].values()) if len(records) == 1 else []
    if len(values) < 2:
        return "", records
    if all(isinstance(value, list) for value in values) and len({len(value) for value in values}) == 1:
        rows = [dict(zip(records[0], row, strict=True)) for row in zip(*values, strict=True)]
        return f": it is one object of columns, each a list of {len(rows)} values", rows
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
    form: "Recognised",
    *,
    path: Path | str,
    rows: str = "auto",
    folder: str = "",
    columns: Mapping[str, str] | None = None,
    **shared: Any,
) -> FileBuilderConfig:
    """The builder of a recognised form, for the use `rows` if it has a setting for that.

    For `rows: auto`, `folder` means what it means to the builder if its `kind` is set.
    """
    config_class = _class_of(form.kind)
    column_map, own_columns = columns or {}, form.settings.get("columns", {})
    settings = {**shared, **form.settings, "path": path}
    # The form was recognised by the columns after the user's map: join the two maps.
    settings["columns"] = {
        **{name: place for name, place in column_map.items() if name not in own_columns.values()},
        **{name: column_map.get(place, place) for name, place in own_columns.items()},
    }
    if "rows" in config_class.model_fields and "rows" not in form.settings:
        choices = get_args(config_class.model_fields["rows"].annotation)
        # Always set: otherwise the builder would follow the path, which is not part of the identity.
        use = config_class.folder_rows.get(folder, "") if rows == "auto" else rows
        candidates = (name for name in (use, f"{use}s") if name in choices)
        settings["rows"] = next(candidates, config_class.model_fields["rows"].default)
    return config_class.model_validate(settings)


def _class_of(name: str) -> type[FileBuilderConfig]:
    from tempering.data.builders import Builder  # imports this module

    union, _ = get_args(Builder)
    kinds: tuple[type[FileBuilderConfig], ...] = get_args(union)
    return next(kind for kind in kinds if kind.model_fields["kind"].default == name)
