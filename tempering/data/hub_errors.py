"""What the Hub and its library answer when something is wrong, in our words.

Which exceptions come through depends on the library's version and on the network below it, so all of
them end here: as a `DataError` where asking again would not help, else as `Unreachable`, after which
the cache is looked at.
"""

import difflib
import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tempering.errors import DataError

_CANNOT_STORE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


class Unreachable(Exception):
    """The Hub cannot be asked; the message says why."""


@contextmanager
def asking(name: str, revision: str, file: str = "") -> Iterator[None]:
    """Around each question to the Hub about a data set.

    Raises:
        DataError: when the data set, revision or file is not there, or not open to you.
        Unreachable: when the Hub does not answer, or not now.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        raise _closed(name, "is gated") from None
    except errors.RepositoryNotFoundError:
        raise _unknown(name) from None
    except errors.RevisionNotFoundError:
        raise _no_revision(name, revision) from None
    except errors.HFValidationError:
        raise DataError(
            f"{name!r} cannot be the name of a data set on the Hub",
            expected="owner/name",
            fix="correct `hub`; local files are named by `path`",
        ) from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise _closed(name, f"is not open to you (the Hub answered {status})") from None
        raise Unreachable(f"the Hub answered {status}{f' for {file}' if file else ''}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _CANNOT_STORE:
            raise DataError(
                f"{name} cannot be stored in the cache: {error}",
                expected="room and the right to write",
                fix="set HF_HOME to a folder with room, or make room",
            ) from None
        raise Unreachable(_said(error, file)) from error


def _said(error: Exception, file: str) -> str:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return f"HF_HUB_OFFLINE is set, and the cache does not hold {file or 'it'}"
    cause = error.__cause__ or error
    return f"the Hub cannot be reached ({type(cause).__name__}: {str(cause).strip()[:200]})"


def _closed(name: str, what: str) -> DataError:
    return DataError(
        f"the data set {name} {what}",
        expected="a token of somebody who may read it",
        fix=f"ask for access at https://huggingface.co/datasets/{name}, then set HF_TOKEN",
    )


def _unknown(name: str) -> DataError:
    from huggingface_hub import HfApi

    def names() -> list[str]:
        return [one.id for one in HfApi().list_datasets(search=name.split("/")[-1], limit=99)]

    near = _near(name, names)
    hint = f"did you mean {near}?" if near else "correct `hub`"
    return DataError(
        f"the Hub has no data set {name}, or it is private",
        expected="owner/name of a data set",
        fix=f"{hint}; a private one needs HF_TOKEN",
    )


def _no_revision(name: str, revision: str) -> DataError:
    from huggingface_hub import HfApi

    found = list[str]()

    def names() -> list[str]:
        refs = HfApi().list_repo_refs(name, repo_type="dataset")
        found.extend(one.name for one in [*refs.branches, *refs.tags])
        return found

    near = _near(revision, names)
    there = f": there is {', '.join(found)}" if found else ""
    return DataError(
        f"the data set {name} has no revision {revision!r}{there}",
        expected="a branch, a tag or a whole commit",
        fix=f"set `revision: {near or 'main'}`",
    )


def _near(name: str, known: Callable[[], list[str]]) -> str:
    """The nearest of the names that exist; "" when even this cannot be found out."""
    try:
        return next(iter(difflib.get_close_matches(name, known(), n=1)), "")
    except Exception:  # a hint is not worth another fault
        return ""
