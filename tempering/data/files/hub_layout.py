"""Which files of a data set on the Hub belong to which subset and split.

The rules are those of the `datasets` library, applied by it: the `configs` of the README, else the
names of files and folders. It works on files, so it is given a tree of empty ones under the names of
the repository; nothing is downloaded to find out what to download, and no remote code is run. Names
and patterns that lead out of the data set are left out or refused.
"""

import difflib
import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tempering.data.files.names import known_suffix
from tempering.errors import DataError

_FRONT_MATTER = re.compile(r"\A\s*---\r?\n(.*?)\r?\n---", re.DOTALL)
_SHARD = re.compile(r"-\d{5}-of-(\d{5})")
# The branch refs/convert/parquet: subset/split/0000.parquet
_CONVERTED = re.compile(r"[^/]+/[^/]+/\d{4}\.parquet")


class Subset(NamedTuple):
    """A part of a data set with columns of its own."""

    patterns: Any = None
    """The patterns of its files by split, as the README has them; None: files are named as usual."""
    folder: str = ""
    default: bool = False


def splits_of(where: str, names: Collection[str], readme: str, subset: str | None) -> dict[str, list[str]]:
    """The files of each split of a subset, in order.

    Raises:
        DataError: when there is no such subset, or it has no files that can be read.
    """
    readable = {name for name in names if known_suffix(name) and not _leaves(name)}
    choice = _subset(where, readable, readme, subset)
    with TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for name in readable:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        matches = {split: list(files) for split, files in _matches(where, root, choice)}
    matches = {split: [file for file in files if file in readable] for split, files in matches.items()}
    if not any(matches.values()):
        raise _nothing(where, names)
    return {split: files for split, files in matches.items() if files}


def missing_shards(files: Sequence[str]) -> list[str]:
    """The sets of files that say how many they are (train-00000-of-00003) and are incomplete."""
    counts: dict[tuple[str, int], int] = {}
    for file in files:
        if shard := _SHARD.search(file):
            key = (file[: shard.start()], int(shard[1]))
            counts[key] = counts.get(key, 0) + 1
    return [f"{stem} ({have} of {count} files)" for (stem, count), have in counts.items() if have < count]


def _subset(where: str, names: Collection[str], readme: str, wish: str | None) -> Subset:
    subsets = _readme_subsets(where, readme)
    if wish in subsets:
        return subsets[wish]
    folders = sorted({name.split("/")[0] for name in names if "/" in name})
    if wish is None:
        converted = not subsets and bool(names) and all(_CONVERTED.fullmatch(name) for name in names)
        if converted and len(folders) > 1:
            raise _choice_error(where, "several subsets", folders)
        defaults = [subset for subset in subsets.values() if subset.default or len(subsets) == 1]
        if subsets and not defaults:
            raise _choice_error(where, "several subsets", sorted(subsets))
        return defaults[0] if defaults else Subset()
    if not subsets and wish in folders:
        return Subset(folder=wish)
    raise _choice_error(where, f"no subset {wish!r}", sorted(subsets) or folders, wish)


def _readme_subsets(where: str, readme: str) -> dict[str, Subset]:
    """The subsets that a README declares."""
    import yaml

    front = _FRONT_MATTER.match(readme)
    try:
        content = yaml.safe_load(front[1]) if front else {}
        return {
            str(entry["config_name"]): Subset(
                entry.get("data_files"),
                str(entry.get("data_dir") or ""),
                bool(entry.get("default")) or entry["config_name"] == "default",
            )
            for entry in (content or {}).get("configs") or []
        }
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        raise _unreadable(where, error) from None


def _matches(where: str, root: Path, subset: Subset) -> Iterator[tuple[str, Iterator[str]]]:
    from datasets.data_files import EmptyDatasetError, get_data_patterns, sanitize_patterns

    if _leaves(subset.folder):
        raise _unreadable(where, f"its files lie elsewhere ({subset.folder})")
    base = root / subset.folder
    try:
        usual = subset.patterns is None
        patterns = get_data_patterns(str(base)) if usual else sanitize_patterns(subset.patterns)
    except EmptyDatasetError:
        return
    except (ValueError, TypeError) as error:
        raise _unreadable(where, error) from None
    for split, globs in patterns.items():
        yield str(split), _files(where, root, base, globs)


def _files(where: str, root: Path, base: Path, patterns: Sequence[str]) -> Iterator[str]:
    from datasets.data_files import resolve_pattern

    names = set[str]()
    for pattern in patterns:
        if "://" in pattern or _leaves(pattern):
            raise _unreadable(where, f"its files lie elsewhere ({pattern})")
        try:
            paths = resolve_pattern(pattern, str(base))
        except FileNotFoundError:
            continue
        for path in paths:
            name = Path(path).relative_to(root).as_posix() if root in Path(path).parents else path
            if name not in names:
                names.add(name)
                yield name


def _leaves(path: str) -> bool:
    """Whether a path could lead out of the data set: its author must not reach this disk."""
    return PurePosixPath(path).is_absolute() or ".." in re.split(r"[/\\]", path)


def _choice_error(where: str, fault: str, names: Sequence[str], wish: str = "") -> DataError:
    near = difflib.get_close_matches(wish, names, n=1)
    return DataError(
        f"{where} has {fault}: there is {', '.join(names) or 'none'}",
        expected="the name of one subset" if names else "no `subset`",
        fix=f"set `subset: {(near or names)[0]}`" if names else "drop `subset`",
    )


def _unreadable(where: str, fault: object) -> DataError:
    return DataError(
        f"the README of {where} does not say which files it has: {fault}",
        fix="download the files you need and name them by `path`",
    )


def _nothing(where: str, names: Collection[str]) -> DataError:
    if any(name.endswith(".py") for name in names):
        return DataError(
            f"{where} is built by a script, and remote code is never run",
            expected="data files",
            fix="set `revision: refs/convert/parquet`, where the Hub keeps such sets as Parquet",
        )
    kinds = sorted({Path(name).suffix for name in names} - {""})
    return DataError(
        f"{where} has no files that can be read; it holds {', '.join(kinds) or 'nothing'}",
        expected="JSONL, JSON, CSV, TSV, Parquet, Arrow or text files",
        fix="download and unpack it, and name the files by `path`",
    )
