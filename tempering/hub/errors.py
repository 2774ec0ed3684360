"""Errors of the Hub and its library, in our words.

Which exceptions come through depends on the library's version and on the network, so all of them end here:
as a `DataError` where a retry would not help, else as `Unreachable`, after which the cache is tried.
"""

import difflib
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tempering.errors import DataError

_CANNOT_STORE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


@dataclass(frozen=True)
class Repo:
    """A kind of repository on the Hub, in our words and in the Hub's."""

    word: str
    type: str  # the Hub's `repo_type`
    setting: str  # what names it in a config
    local: str  # what to use instead of the Hub
    path: str = ""  # before its name in the Hub's URLs


DATASET = Repo("data set", "dataset", "hub", "name local files by `path`", "datasets/")
MODEL = Repo("model", "model", "name_or_path", "name a folder on this machine")


class Unreachable(Exception):
    """The Hub does not answer; the message says why."""


@contextmanager
def asking(name: str, revision: str, file: str = "", repo: Repo = DATASET) -> Iterator[None]:
    """Context of each request to the Hub about a data set or model.

    Raises:
        DataError: the repository, revision or file does not exist, or is not open to you.
        Unreachable: the Hub does not answer, or not now.
    """
    from huggingface_hub import errors

    try:
        yield
    # What the user can fix: access, the name, the revision.
    except errors.GatedRepoError:
        raise _closed(repo, name, "is gated") from None
    except errors.RepositoryNotFoundError:
        raise _unknown(repo, name) from None
    except errors.RevisionNotFoundError:
        raise _no_revision(repo, name, revision) from None
    except errors.HFValidationError:
        raise DataError(
            f"{name!r} cannot be the name of a {repo.word} on the Hub",
            expected="owner/name",
            fix=f"correct `{repo.setting}`, or {repo.local}",
        ) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise _closed(repo, name, f"is not open to you (the Hub answered {status})") from None
        raise Unreachable(f"the Hub answered {status}{f' for {file}' if file else ''}") from error
    # Anything else is the network's, unless the disk cannot store the file.
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _CANNOT_STORE:
            raise DataError(
                f"{name} cannot be stored in the cache: {error}",
                expected="disk space and permission to write",
                fix="set HF_HOME to a writable folder with enough space, or free some",
            ) from None
        raise Unreachable(_reason(error, file)) from error


def _reason(error: Exception, file: str) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return f"HF_HUB_OFFLINE is set, and the cache does not have {file or 'it'}"
    cause = error.__cause__ or error
    return f"the Hub cannot be reached ({type(cause).__name__}: {str(cause).strip()[:200]})"


def _closed(repo: Repo, name: str, reason: str) -> DataError:
    return DataError(
        f"the {repo.word} {name} {reason}",
        expected="the token of an account that may read it",
        fix=f"ask for access at https://huggingface.co/{repo.path}{name}, then set HF_TOKEN",
    )


def _unknown(repo: Repo, name: str) -> DataError:
    from huggingface_hub import HfApi

    def names() -> list[str]:
        search = HfApi().list_datasets if repo is DATASET else HfApi().list_models
        return [match.id for match in search(search=name.split("/")[-1], limit=99)]

    near = _near(name, names)
    hint = f"did you mean {near}?" if near else f"correct `{repo.setting}`"
    return DataError(
        f"the Hub has no {repo.word} {name}, or it is private",
        expected=f"owner/name of a {repo.word}",
        fix=f"{hint}; a private one needs HF_TOKEN",
    )


def _no_revision(repo: Repo, name: str, revision: str) -> DataError:
    from huggingface_hub import HfApi

    revisions = list[str]()

    def names() -> list[str]:
        refs = HfApi().list_repo_refs(name, repo_type=repo.type)
        revisions.extend(ref.name for ref in [*refs.branches, *refs.tags])
        return revisions

    near = _near(revision, names)
    choices = f", only {', '.join(revisions)}" if revisions else ""
    return DataError(
        f"the {repo.word} {name} has no revision {revision!r}{choices}",
        expected="a branch, a tag or a full commit hash",
        fix=f"set `revision: {near or 'main'}`",
    )


def _near(name: str, names: Callable[[], list[str]]) -> str:
    """The nearest of the existing names; "" when they cannot be listed."""
    try:
        return next(iter(difflib.get_close_matches(name, names(), n=1)), "")
    except Exception:  # a hint is not worth another error
        return ""
