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
    found = _BEGINS.fullmatch(name)
    return _KIND_OF[found["word"].lower()] if found else ""


def split_of(parts: Sequence[str], declared: Iterable[str] = ()) -> Split | None:
    """The split of a file, from the parts of its path below the data set, suffixes off; None: of none.

    `declared` are folders that are splits whatever their names are.
    """
    *folders, name = parts
    known = set(declared)
    for folder in reversed(folders):
        if folder in known:
            return Split(folder, kind_of(folder))
    shard = _SHARD.fullmatch(name)
    name = shard["split"] if shard else name
    if shard and kind_of(name):
        return _named(name)
    within = next((found for folder in reversed(folders) if (found := _begun(folder))), None)
    if within or (found := _begun(name)):
        return within or found
    if ended := _ENDS.fullmatch(name):
        return Split(ended["word"].lower(), _KIND_OF[ended["word"].lower()])
    return Split(name, "") if shard and name != "data" else None


def choose(splits: Iterable[Split], asked: str | None, where: str) -> str | None:
    """The name of the split to take among those that were found; None: take everything.

    Where none is asked for, that is the train split if there is one.

    Raises:
        DataError: when there is no such split, or several could be meant.
    """
    found = list(dict.fromkeys(splits))
    names = list(dict.fromkeys(split.name for split in found))
    wanted = asked or TRAIN
    if wanted in names:
        return wanted
    kind = _KIND_OF.get(wanted.lower())
    like = list(dict.fromkeys(split.name for split in found if kind and split.kind == kind))
    plain = [name for name in like if name.lower() in _KIND_OF]
    if len(like) == 1 or len(plain) == 1:
        return (plain or like)[0]
    if not like and asked is None:
        return None
    near = difflib.get_close_matches(wanted, names, n=1)
    what = f"no split {wanted!r}" if not like else f"more than one split for {wanted!r}"
    raise DataError(
        f"{where} has {what}: there is {', '.join(sorted(names)) or 'none at all'}",
        expected="the name of one split" if names else "files or folders that are named after splits",
        fix=f"set `split: {near[0] if near else (like or sorted(names))[0]}`" if names else "drop `split`",
    )


def _begun(name: str) -> Split | None:
    return _named(name) if kind_of(name) else None


def _named(name: str) -> Split:
    """`name` as a split; numbers behind the word (train_0, train-v1.1) are no part of it."""
    found = _BEGINS.fullmatch(name)
    assert found is not None
    return Split(found["word"] if _NUMBERS.fullmatch(found["rest"]) else name, kind_of(name))
