"""What is known of a data set or a sample before it is judged, in words, line by line."""

from collections.abc import Iterator

from tempering.data.row_conversion import uses_of
from tempering.doctor.counters import Spread
from tempering.doctor.dataset import Dataset, Schema
from tempering.doctor.sample import SampleFindings
from tempering.printable import size

_COLUMNS, _FILES, _NOTICES = 8, 3, 5


def facts(found: Dataset | SampleFindings) -> Iterator[tuple[str, str]]:
    """A name and what is to be said, of something that could be looked at."""
    yield from _of_dataset(found) if isinstance(found, Dataset) else _of_sample(found)
    spread = spread_of(found)
    if spread is not None:
        yield "tokens", _in_words(spread)


def spread_of(found: Dataset | SampleFindings) -> Spread | None:
    """Its tokens, row by row."""
    if isinstance(found, Dataset):
        return found.tokens.lengths.spread() if found.tokens else None
    return found.lengths.spread()


def _of_dataset(found: Dataset) -> Iterator[tuple[str, str]]:
    schema, totals = found.schema, found.totals
    assert schema is not None, "a data set that could be read has a schema"
    yield "schema", f"{schema.row_type} rows, {_how(schema)}"
    if schema.files:
        whole = size(sum(amount for _, amount in schema.files), rough=True)
        yield "files", f"{_listed([name for name, _ in schema.files], _FILES)}, {whole}"
    # That a form was recognised is said above.
    for notice in [text for text in found.notices if "recognised as kind" not in text][:_NOTICES]:
        yield "", notice
    if found.uses:
        yield "used for", ", ".join(sorted(found.uses))
    elif not uses_of(found.row_type):
        yield "used for", f"measuring: {found.row_type} rows are not trained on"
    held_out = f" ({totals.rows['eval']:,} of them held out)" if totals.rows["eval"] else ""
    seen = f"the first {found.seen:,}, there are more" if found.more else f"{found.seen:,}, all of them"
    yield "rows", f"{seen}; {found.kept:,} good{held_out}"


def _how(schema: Schema) -> str:
    columns = _listed(list(schema.columns), _COLUMNS)
    if schema.recognised:
        return f"recognised as kind {schema.kind}{f' by {columns}' if columns else ''}"
    return f"kind {schema.kind}{f', columns {columns}' if columns else ''}"


def _listed(names: list[str], most: int) -> str:
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")


def _of_sample(found: SampleFindings) -> Iterator[tuple[str, str]]:
    config = found.config
    kind = "" if found.natural else f"{found.row_type} rows, "
    yield "form", f"{kind}at most {config.max_length:,} tokens each, format {config.prompt_format}"
    if not found.natural:
        yield "made of", ", ".join(config.datasets)
    train, held_out = (found.mixes[part].rows if part in found.mixes else 0 for part in ("train", "eval"))
    limit = f", up to {config.token_limit:,} tokens" if config.token_limit else ""
    yield "rows", f"{train:,} to train on{limit}" + (f"; {held_out:,} held out" if held_out else "")


def _in_words(spread: Spread) -> str:
    quantiles = {"min": spread.min, "median": spread.median, "p95": spread.p95, "max": spread.max}
    each = ", ".join(f"{name} {int(value):,}" for name, value in quantiles.items())
    return f"{each} a row; {int(spread.total):,} in all"
