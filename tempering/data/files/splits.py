"""Which split a file belongs to, told by its name or its folder the way the Hugging Face Hub does.

A split has a name (`train`, `test_prefs`) and, where the name begins or ends with a usual word, a
kind (train, validation, test). One asks by name, or by kind where only one split is of that kind.
"""

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tempering.errors import DataError

TRAIN = "train"
_KINDS = {
    TRAIN: ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in words}
_WORD = "|".join(sorted(_KIND_OF, key=len, reverse=True))
# train-00000-of-00002, and what names an older shard: -00000-of-00002-<hash>
_SHARD = re.compile(r"(?P<split>.+)-\d{5}-of-\d{5}.*")
_BEGINS = re.compile(rf"(?P<word>{_WORD})(?P<rest>$|[-._ ].*)", re.IGNORECASE)
_ENDS = re.compile(rf".*[-._ ](?P<word>{_WORD})(?:[-._ ]?\d+)?", re.IGNORECASE)
_NUMBERS = re.compile(r"(?:[-._ ]?v?\d+)*")


class Split(NamedTuple):
    """The split that a file belongs to."""

    name: str
    kind: str


def kind_of(name: str) -> str:
    """The kind of a split, told by the word it begins with; "" where it has none."""
    match = _BEGINS.fullmatch(name)
    return _KIND_OF[match["word"].lower()] if match else ""


def split_of(parts: Sequence[str], declared: Iterable[str] = ()) -> Split | None:
    """The split of a file, from the parts of its path below the data set, suffixes off; None: of none.

    `declared` are folders that are splits whatever their names are.
    """
    *folders, name = parts
    listed = set(declared)
    for folder in reversed(folders):
        if folder in listed:
            return Split(folder, kind_of(folder))
    shard = _SHARD.fullmatch(name)
    name = shard["split"] if shard else name
    if shard and kind_of(name):
        return _as_split(name)
    within = next((split for folder in reversed(folders) if (split := _split_at_start(folder))), None)
    if within or (split := _split_at_start(name)):
        return within or split
    if match := _ENDS.fullmatch(name):
        return Split(match["word"].lower(), _KIND_OF[match["word"].lower()])
    return Split(name, "") if shard and name != "data" else None


def choose(splits: Iterable[Split], request: str | None, place: str) -> str | None:
    """The name of the split to take among `splits`; None: take everything.

    Without a request that is the train split, if there is one.

    Raises:
        DataError: when there is no such split, or several could be meant.
    """
    candidates = list(dict.fromkeys(splits))
    names = list(dict.fromkeys(split.name for split in candidates))
    wish = request or TRAIN
    if wish in names:
        return wish
    kind = _KIND_OF.get(wish.lower())
    like = list(dict.fromkeys(split.name for split in candidates if kind and split.kind == kind))
    plain = [name for name in like if name.lower() in _KIND_OF]
    if len(like) == 1 or len(plain) == 1:
        return (plain or like)[0]
    if not like and request is None:
        return None
    near = difflib.get_close_matches(wish, names, n=1)
    fault = f"no split {wish!r}" if not like else f"more than one split for {wish!r}"
    raise DataError(
        f"{place} has {fault}: there is {', '.join(sorted(names)) or 'none at all'}",
        expected="the name of one split" if names else "files or folders that are named after splits",
        fix=f"set `split: {near[0] if near else (like or sorted(names))[0]}`" if names else "drop `split`",
    )


def _split_at_start(name: str) -> Split | None:
    return _as_split(name) if kind_of(name) else None


def _as_split(name: str) -> Split:
    """`name` as a split; numbers behind the word (train_0, train-v1.1) are not part of it."""
    match = _BEGINS.fullmatch(name)
    assert match is not None
    return Split(match["word"] if _NUMBERS.fullmatch(match["rest"]) else name, kind_of(name))
