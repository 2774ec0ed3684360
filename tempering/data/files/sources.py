"""Where files are: local paths and folders here, data sets on the Hub in `hub`.

A folder is a data set: all data files below it, less what only describes it. Data in a packing that
is not read is refused, never passed over. Planning asks on every run, so no data file is opened and
nothing heavy is imported.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import NoReturn

from tempering.data.files.hub import hub_files
from tempering.data.files.names import KNOWN, PACKED_SUFFIXES, known_suffix, stem
from tempering.data.files.opening import require_file
from tempering.data.files.splits import Split, choose, split_of
from tempering.errors import DataError
from tempering.hub.revisions import hub_commit

__all__ = ["hub_commit", "hub_files", "local_files"]

_ABOUT = {"config.json", "dataset_dict.json", "dataset_info.json", "dataset_infos.json", "state.json"}
_ABOUT_STEMS = {"readme", "license", "licence", "notice", "changelog", "citation", "sources", "requirements"}
# Of text files alone: sources.jsonl is data.
_ABOUT_SUFFIXES = (".txt", ".text")
_NOT_READ = (".bz2", ".xz", ".lzma", ".lz4", ".7z", ".zip", ".br", ".snappy", ".z")
_OWNER_AND_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def local_files(paths: Sequence[Path], split: str | None) -> list[Path]:
    """The files of a split under `paths`, in the order of the paths, those of a folder sorted by path.

    A folder: the files named after the split (train.jsonl, train-00000-of-00002.parquet,
    train/part.csv, childes.dev, a folder of `save_to_disk`); without `split`, those of the train split
    if there is one, else all of them. Files named one by one are all taken; `split` tells
    several of them apart as in a folder, while a single file has no splits. A file that is named twice
    comes once.

    Raises:
        DataError: when a path is missing, a folder has no data files, holds some that cannot be read,
            or the split is not there.
    """
    singles = [path for path in paths if _existing(path).is_file()]
    if split is not None and len(paths) == 1 and singles:
        raise DataError(
            f"a single file has no splits, and {singles[0]} has no {split!r}",
            expected="a folder whose files or folders are named after splits",
            fix="drop `split`, and use `eval_fraction` to hold rows out",
        )
    choice = set(singles)
    if split is not None and singles:
        splits = {path: split_of([stem(path.name)]) for path in singles}
        choice = set(_of_split(splits, split, "the list of files"))
    files = list[Path]()
    for path in paths:
        files += _in_folder(path, split) if path.is_dir() else [path] if path in choice else []
    unique = dict[Path, Path]()
    for file in files:  # named twice, or by itself and with its folder: its rows count once
        unique.setdefault(file.resolve(), file)
    return list(unique.values())


def _existing(path: Path) -> Path:
    name = path.as_posix()
    if not path.exists() and _OWNER_AND_NAME.fullmatch(name) and not known_suffix(name):
        raise DataError(
            f"{name} does not exist here (looked in {Path.cwd()})",
            expected="a local file or folder",
            fix=f"if it is a data set on the Hub, write `hub: {name}` in place of `path`",
        )
    return path if path.is_dir() else require_file(path)


def _in_folder(folder: Path, split: str | None) -> list[Path]:
    listing = _declared_splits(folder)
    files = {}
    for file in sorted(_data_files(folder)):
        *parents, name = file.relative_to(folder).parts
        files[file] = split_of([*parents, stem(name)], listing)
    if not files:
        raise DataError(
            f"the folder {folder} has no data files",
            expected=f"files that end in {KNOWN}",
            fix="put the files there or correct `path`; a file with another ending can be named by itself",
        )
    return _of_split(files, split, f"the folder {folder}")


def _of_split(splits: Mapping[Path, Split | None], request: str | None, place: str) -> list[Path]:
    name = choose([split for split in splits.values() if split], request, place)
    if name is None:
        return list(splits)
    files = [file for file, split in splits.items() if split and split.name == name]
    form = known_suffix(files[0].name)
    strays = [file for file, split in splits.items() if split is None and known_suffix(file.name) == form]
    if strays and request is None:
        raise DataError(
            f"{place} has files of the split {name!r} and others of none, such as {strays[0].name}",
            expected="all files named after splits, or none",
            fix=f"set `split: {name}` to leave the others out, or name the files one by one",
        )
    return files


def _data_files(folder: Path) -> Iterator[Path]:
    visits = set[str]()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=_unreadable):
        real = os.path.realpath(place)
        if real in visits:  # a link that leads back
            folders.clear()
            continue
        visits.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        _refuse_other_packings(place, names)
        yield from (Path(place, name) for name in names if _is_data(name))


def _unreadable(error: OSError) -> NoReturn:
    raise DataError(
        f"the folder {error.filename} cannot be read: {error.strerror}",
        fix="give yourself the right to read it, or name the files one by one",
    ) from None


def _refuse_other_packings(place: str, names: Sequence[str]) -> None:
    """Data that is packed in a way nothing here reads must not be missed, unless it lies there unpacked."""
    readable = {name.removesuffix(packed) for name in names for packed in ("", *PACKED_SUFFIXES)}
    for name in sorted(names):
        suffix = PurePath(name).suffix
        plain = name.removesuffix(suffix)
        if suffix.lower() in _NOT_READ and _is_data(plain) and plain not in readable:
            raise DataError(
                f"{Path(place, name)} is packed in a way that is not read ({suffix})",
                expected="plain files, gzip (.gz) or Zstandard (.zst)",
                fix="unpack it, move it out of the folder, or name the files one by one",
            )


def _is_data(name: str) -> bool:
    suffix = known_suffix(name)
    if not suffix or name.startswith(".") or name in _ABOUT:
        return False
    # `datasets` leaves the results of `map` beside the data.
    cached = suffix == ".arrow" and name.startswith(("cache-", "tmp"))
    about = suffix in _ABOUT_SUFFIXES and name.split(".")[0].lower() in _ABOUT_STEMS
    return not cached and not about


def _declared_splits(folder: Path) -> list[str]:
    """The splits that `save_to_disk` lists."""
    listing = folder / "dataset_dict.json"
    try:
        splits = json.loads(listing.read_text("utf-8"))["splits"] if listing.is_file() else []
        return [str(split) for split in splits]
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{listing} is damaged", fix="save the data set again, or remove this file") from None
