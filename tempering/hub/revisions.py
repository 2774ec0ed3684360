"""The commit that a branch or tag on the Hugging Face Hub stands for, and where the cache keeps it.

Every plan asks for commits, so the libraries are imported only when the Hub is really asked. Without a
network the answer comes from the cache that all Hugging Face libraries share.
"""

import logging
import re
from functools import cache
from pathlib import Path

from tempering.errors import DataError
from tempering.hub.errors import DATASET, Repo, Unreachable, asking

_log = logging.getLogger("tempering")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT = 10.0


@cache
def hub_commit(name: str, revision: str, repo: Repo = DATASET) -> str:
    """The commit that a branch or tag of a data set (or model) stands for; asked once per process.

    Without a network, the commit that the cache has for it.

    Raises:
        DataError: the repository or revision does not exist or is not open to you, or the Hub cannot be
            reached and the cache does not have it.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    try:
        return _commit_online(name, revision, repo)
    except Unreachable as reason:
        reference = cache_folder(name, repo) / "refs" / revision
        if not reference.is_file():
            raise not_cached(name, revision, reason, repo) from None
        _log.warning("%s: using %s@%s from the cache", reason, name, revision)
        return reference.read_text("utf-8").strip()


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


def cache_folder(name: str, repo: Repo = DATASET) -> Path:
    """The folder in which all Hugging Face libraries cache a repository."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"{repo.type}s--{name.replace('/', '--')}"


def not_cached(name: str, revision: str, reason: Unreachable, repo: Repo = DATASET) -> DataError:
    """The error for a repository that neither the Hub nor the cache provides."""
    return DataError(
        f"the {repo.word} {name}@{revision} cannot be read: {reason}; "
        f"it is not in the cache {cache_folder(name, repo)}",
        expected=f"a network, or a cache with the {repo.word}",
        fix=f"run once with a network (and without HF_HUB_OFFLINE), or {repo.local}",
    )
