"""Data sets on the Hugging Face Hub: the commit of a revision, and the files of a split.

Files are pinned to a commit and kept in the cache that all Hugging Face libraries share, with the
list of all files of that commit; without a network the same answer is given from there. A plan
asks for commits on every run, so the libraries are imported only when the Hub is really asked.
"""

import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

from tempering.data.hub_errors import DATASET, Repo, Unreachable, asking
from tempering.data.hub_layout import missing_shards, splits_of
from tempering.data.splits import Split, choose, kind_of
from tempering.errors import DataError

_log = logging.getLogger("tempering")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT = 10.0
_AT_ONCE = 4
_README = "README.md"


@cache
def hub_commit(name: str, revision: str, repo: Repo = DATASET) -> str:
    """The commit that a branch or tag of a data set (or model) stands for; asked once a process.

    Without a network, the commit that the cache knows for it.

    Raises:
        DataError: when there is no such repository or revision, it is not open to you, or the Hub cannot
            be reached and the cache does not know it.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    try:
        return _commit_online(name, revision, repo)
    except Unreachable as reason:
        reference = cache_folder(name, repo) / "refs" / revision
        if not reference.is_file():
            raise not_cached(name, revision, reason, repo) from None
        _log.warning("%s: taking %s@%s as the cache knows it", reason, name, revision)
        return reference.read_text("utf-8").strip()


def hub_files(name: str, subset: str | None, revision: str, split: str | None) -> list[Path]:
    """The files of a split of a data set on the Hub, fetched where they are not there yet.

    Without `split`: those of the train split if there is one, else all.

    Raises:
        DataError: when the data set, revision, subset or split is not there (naming those that are), it
            is not open to you, or the Hub cannot be reached and the cache does not hold all of it.
    """
    commit = hub_commit(name, revision)
    where = f"the data set {name}"
    try:
        names, readme, complete = _contents(name, commit)
        splits = splits_of(where, names, readme, subset)
        where += f" (subset {subset})" if subset else ""
        chosen = choose([Split(found, kind_of(found)) for found in splits], split, where)
        wanted = [file for found, files in splits.items() if chosen in (None, found) for file in files]
        if not complete and (gaps := missing_shards(wanted)):
            raise Unreachable(f"the cache holds only a part of {', '.join(gaps)}")
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            paths = list(pool.map(partial(_fetched, name, commit), wanted))
    except Unreachable as reason:
        raise not_cached(name, revision, reason) from None
    _remember(name, revision, commit)
    return paths


def _commit_online(name: str, revision: str, repo: Repo) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise Unreachable("HF_HUB_OFFLINE is set")
    from huggingface_hub import HfApi

    with asking(name, revision, repo=repo):
        ask = HfApi().dataset_info if repo is DATASET else HfApi().model_info
        commit = ask(name, revision=revision, timeout=_TIMEOUT, expand=["sha"]).sha
    assert commit is not None
    return commit


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
    draft = reference.with_name(f"{reference.name}.{os.getpid()}.tmp")
    try:
        reference.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(commit, "utf-8")
        draft.replace(reference)
    except OSError as error:  # a cache that may only be read: works with a network alone
        _log.warning("cannot note in the cache which commit %s@%s is: %s", name, revision, error)


def cache_folder(name: str, repo: Repo = DATASET) -> Path:
    """Where all Hugging Face libraries keep a repository."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"{repo.type}s--{name.replace('/', '--')}"


def not_cached(name: str, revision: str, reason: Unreachable, repo: Repo = DATASET) -> DataError:
    """Neither the Hub nor the cache can give it."""
    looked = f"looked in the cache {cache_folder(name, repo)}"
    return DataError(
        f"the {repo.word} {name}@{revision} cannot be read: {reason}; {looked}",
        expected=f"a network, or a cache that holds the {repo.word}",
        fix=f"run once with a network (and without HF_HUB_OFFLINE), or {repo.local}",
    )
