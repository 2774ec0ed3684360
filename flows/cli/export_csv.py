"""`temper artifacts export-csv REF`: the tables of a stage as CSV files, for spreadsheets and plotting tools.

Of an artifact, or of a `.partial` folder whose stage failed or still runs: there the tables are JSON lines.
A text that begins like a formula gets an apostrophe in front (OWASP, "CSV Injection"): a language model wrote
it, and a spreadsheet would run it. `--raw` leaves texts as they are.
"""

import argparse
import csv
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from flows.cli.command import open_store
from tempering.artifacts.atomic import whole_file
from tempering.errors import ArtifactError, UserError

USUAL = ("generated_outputs", "training_stats")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_SUFFIXES = (".parquet", ".jsonl")
Row = dict[str, Any]


def add_export_csv(parser: argparse.ArgumentParser) -> None:
    """The arguments of `temper artifacts export-csv`."""
    parser.add_argument("ref", metavar="REF", help="artifact, STAGE@latest, or a folder under .partial")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path(), help="where to (default: here)")
    parser.add_argument("--all", action="store_true", help=f"every table, not only {' and '.join(USUAL)}")
    parser.add_argument("--force", action="store_true", help="replace existing files")
    parser.add_argument(
        "--raw", action="store_true", help="no apostrophe before texts that begin like a formula"
    )


def export_csv_command(args: argparse.Namespace) -> int:
    """Write the files and print where they are."""
    from flows.cli.output import print_json

    store = open_store(args)
    folder = find_folder(store, args.ref)
    tables = chosen_tables(folder, args.ref, every=args.all)
    counts = write_tables(folder, tables, args.out, force=args.force, raw=args.raw)
    if args.json:
        print_json([{"file": str(path), "rows": rows} for path, rows in counts.items()])
    else:
        for path, rows in counts.items():
            print(f"{path}: {rows} rows")
    return 0


def find_folder(store: Any, ref: str) -> Path:
    """The folder of an artifact or of work in progress that `ref` names.

    Raises:
        ArtifactError: there is neither.
    """
    partial = store.root / ".partial"
    for place in (Path(ref).expanduser().absolute(), store.root / ref, partial / ref):
        if place.parent.name == partial.name and place.is_dir() and not place.name.startswith("."):
            return Path(place)
    try:
        return Path(store.get(ref, check=False).path)
    except ArtifactError as error:
        stage = ref.partition("@")[0].partition("/")[0]
        partials = sorted(path for path in partial.glob(f"{stage}-*") if (path / "metadata").is_dir())
        if not partials:
            raise
        fix = f"name the folder of a run that has not ended: {', '.join(map(str, partials))}"
        raise ArtifactError(error.found, expected=error.expected, fix=fix) from None


def chosen_tables(folder: Path, ref: str, *, every: bool) -> dict[str, Path]:
    """Table name -> file.

    Raises:
        ArtifactError: there is none of those asked for.
    """
    tables: dict[str, Path] = {}
    for path in sorted((folder / "metadata").glob("*")):
        if path.suffix in _SUFFIXES and path.is_file() and not path.name.startswith("."):
            # JSON lines come first: they are newer than a Parquet beside them.
            tables.setdefault(path.stem, path)
    if not tables:
        raise ArtifactError(
            f"{ref} has no tables to export",
            expected="an artifact of a training stage",
            fix="see `temper artifacts list`",
        )
    choice = {name: path for name, path in tables.items() if every or name in USUAL}
    if not choice:
        raise ArtifactError(
            f"{ref} has nothing to export: neither {' nor '.join(USUAL)}",
            expected="an artifact of a training stage",
            fix=f"--all exports {', '.join(tables)}",
        )
    return choice


def write_tables(
    folder: Path, tables: dict[str, Path], out: Path, *, force: bool, raw: bool
) -> dict[Path, int]:
    """One CSV file per table, all of them or none; file -> number of rows.

    Raises:
        UserError: a file exists already, the place is not a folder to write in, or a table is damaged.
    """
    # Nothing is written into an artifact, or over a file.
    if out.resolve().is_relative_to(folder.resolve()):
        raise UserError(
            f"{out} lies inside {folder}",
            expected="another folder",
            fix="name another --out: artifacts never change",
        )
    targets = {name: out / f"{name}.csv" for name in tables}
    existing = [str(path) for path in targets.values() if path.exists()]
    if existing and not force:
        raise UserError(f"{', '.join(existing)} exists already", fix="name another --out, or add --force")
    # All files, or none: they are renamed together once the last is complete.
    try:
        out.mkdir(parents=True, exist_ok=True)
        with ExitStack() as files:
            return {
                targets[name]: _write(source, files.enter_context(whole_file(targets[name])), raw)
                for name, source in tables.items()
            }
    except ValueError as error:  # pyarrow's, too
        raise ArtifactError(
            f"a table of {folder} is damaged: {error}", fix="`temper artifacts verify`"
        ) from None
    except OSError as error:
        raise UserError(f"the export to {out} failed: {error}", expected="a folder to write in") from None


def _write(source: Path, target: Path, raw: bool) -> int:
    columns, count = list(dict.fromkeys(key for row in _rows(source) for key in row)), 0
    with target.open("w", encoding="utf-8", errors="replace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([cell(name, raw=raw) for name in columns])
        for row in _rows(source):
            writer.writerow([cell(row.get(name), raw=raw) for name in columns])
            count += 1
    return count


def _rows(source: Path) -> Iterator[Row]:
    """All rows, a part at a time; a table of JSON lines may grow meanwhile, and its last line be torn."""
    if source.suffix == ".parquet":
        import pyarrow.parquet as pq

        with pq.ParquetFile(source) as file:
            for batch in file.iter_batches(4096):
                yield from batch.to_pylist()
        return
    with source.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue


def cell(value: Any, *, raw: bool) -> Any:
    """A cell's content: numbers as they are, null as nothing, lists and mappings as JSON."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        value = json.dumps(value, ensure_ascii=False, default=str)
    text = str(value)
    return text if raw or not text.startswith(_FORMULA) else f"'{text}"
