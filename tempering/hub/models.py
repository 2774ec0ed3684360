"""Models on the Hugging Face Hub: the commit of a revision, and its files, pinned to that commit.

Planning asks for commits, so this module is light. Files are fetched into the cache that all Hugging Face
libraries share, and read from there without a network. Pickled weights are never fetched.
"""

from pathlib import Path

from tempering.hub.errors import MODEL, Unreachable, asking
from tempering.hub.revisions import hub_commit, not_cached

_FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "tokenizer.model"]
_CODE = ["*.py"]


def model_commit(name: str, revision: str) -> str:
    """The commit that a branch or tag of a model stands for.

    Raises:
        DataError: the model or revision does not exist or is not open to you, or the Hub cannot be
            reached and the cache does not have it.
    """
    return hub_commit(name, revision, MODEL)


def model_files(name: str, revision: str, *, code: bool = False) -> Path:
    """The folder with the files of a model at a revision; `code` fetches its Python files too.

    Raises:
        DataError: as `model_commit`, or the cache has only a part of it.
    """
    from huggingface_hub import snapshot_download

    commit = model_commit(name, revision)
    patterns = [*_FILES, *(_CODE if code else [])]
    try:
        with asking(name, commit, repo=MODEL):
            return Path(snapshot_download(name, revision=commit, allow_patterns=patterns))
    except Unreachable as reason:
        raise not_cached(name, revision, reason, MODEL) from None


def owner_and_name(repo: str) -> str:
    """`repo`, if it can be the name of a repository.

    Raises:
        ValueError: it is not OWNER/NAME.
    """
    owner, _, name = repo.partition("/")
    if not (owner and name) or "/" in name or repo.split() != [repo]:
        raise ValueError("expected OWNER/NAME")
    return repo
