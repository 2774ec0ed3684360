"""Data sets on the Hugging Face Hub: the commit of a revision, and the files of a split.

Files are pinned to a commit and kept in the cache that all Hugging Face libraries share, with the
list of all files of that commit; without a network the same answer is given from there. A plan
asks for commits on every run, so the libraries are imported only when the Hub is really asked.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tempering.artifacts.atomic import write_atomic
from tempering.data.files.hub_layout import missing_shards, splits_of
from tempering.data.files.splits import Split, choose, kind_of
from tempering.hub.errors import Unreachable, asking
from tempering.hub.revisions import cache_folder, hub_commit, not_cached

_log = logging.getLogger("tempering")
_AT_ONCE = 4
_README = "README.md"


def hub_files(name: str, subset: str | None, revision: str, split: str | None) -> list[Path]:
    """The files of a split of a data set on the Hub, fetched if they are not in the cache.

    Without `split`: those of the train split if there is one, else all.

    Raises:
        DataError: when the data set, revision, subset or split is not there (naming those that are), it
            is not open to you, or the Hub cannot be reached and the cache does not hold all of it.
    """
    commit = hub_commit(name, revision)
    place = f"the data set {name}"
    try:
        names, readme, complete = _contents(name, commit)
        splits = splits_of(place, names, readme, subset)
        place += f" (subset {subset})" if subset else ""
        choice = choose([Split(name, kind_of(name)) for name in splits], split, place)
        files = [file for name, members in splits.items() if choice in (None, name) for file in members]
        if not complete and (gaps := missing_shards(files)):
            raise Unreachable(f"the cache holds only a part of {', '.join(gaps)}")
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            paths = list(pool.map(partial(_fetched, name, commit), files))
    except Unreachable as reason:
        raise not_cached(name, revision, reason) from None
    _remember(name, revision, commit)
    return paths


def _contents(name: str, commit: str) -> tuple[list[str], str, bool]:
    """The names of the files of a commit, its README, and whether these are all files for sure."""
    from huggingface_hub import get_cached_repo_tree, snapshot_download
    from huggingface_hub.errors import CachedRepoTreeNotFoundError
    from huggingface_hub.utils.tqdm import tqdm

    class Silent(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]

    with asking(name, commit):
        # This also puts the list of all files into the cache.
        snapshot = snapshot_download(
            name, repo_type="dataset", revision=commit, allow_patterns=[_README], tqdm_class=Silent
        )
    folder, complete = Path(snapshot), True
    try:
        names = [file.path for file in get_cached_repo_tree(name, repo_type="dataset", revision=commit)]
    except CachedRepoTreeNotFoundError:  # without a network, in a cache that something else has filled
        names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        complete = False
    readme = folder / _README
    return names, readme.read_text("utf-8", errors="replace") if readme.is_file() else "", complete


def _fetched(name: str, commit: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    with asking(name, commit, file):
        return Path(hf_hub_download(name, file, repo_type="dataset", revision=commit))


def _remember(name: str, revision: str, commit: str) -> None:
    """Note in the cache what a revision stands for, once all is there that it stands for."""
    if revision == commit:
        return
    reference = cache_folder(name) / "refs" / revision
    try:
        reference.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(reference, commit.encode(), durable=False)
    except OSError as error:  # a cache that may only be read: works with a network alone
        _log.warning("cannot note in the cache which commit %s@%s is: %s", name, revision, error)
