"""Uploading a model folder to the Hugging Face Hub, in one commit.

The token comes from HF_TOKEN or the hub's own login, goes into the request header and nowhere else. What can
be known before (no token, offline, an impossible name) is said before anything is computed. Requests have a
time limit and are repeated a few times by the hub's library, never without end.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tempering.errors import UserError

_TIMEOUT = 60.0  # seconds without an answer, of one request
_STALE = re.compile(r".*\.safetensors|.*\.safetensors\.index\.json|pytorch_model.*\.bin")


@dataclass(frozen=True)
class Pushed:
    """What arrived where."""

    repo: str
    commit: str
    url: str
    files: int


def check_push(repo: str) -> None:
    """Refuse what cannot work, before any work.

    Raises:
        UserError: no name of a repository, offline, or no token.
    """
    from huggingface_hub import constants, errors, get_token
    from huggingface_hub.utils._validators import validate_repo_id

    try:
        validate_repo_id(repo)
        named = repo.count("/") == 1
    except errors.HFValidationError:
        named = False
    if not named:
        raise UserError(
            f"{repo!r} cannot be the name of a model on the Hub", expected="OWNER/NAME", fix="correct it"
        )
    if constants.is_offline_mode():
        raise UserError(
            f"HF_HUB_OFFLINE is set, so nothing can be pushed to {repo}",
            expected="a network",
            fix="unset HF_HUB_OFFLINE",
        )
    if not get_token():
        raise UserError(
            f"there is no token to push to {repo}",
            expected="HF_TOKEN, or a Hub login",
            fix="set HF_TOKEN to a token with write access, or run `hf auth login`",
        )


def push_folder(folder: Path, repo: str, *, private: bool = True, message: str = "Model") -> Pushed:
    """Make the repository if it is not there, and put the files of `folder` into it.

    Weights of an earlier push that are not among them are removed: old shards beside new ones would mix.

    Args:
        private: of a repository that is made now; one that is there keeps what it is.

    Raises:
        UserError: no token, no right, no network, or the Hub refuses.
    """
    check_push(repo)
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_session

    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with _said(repo):
        get_session().timeout = _TIMEOUT
        api = HfApi()
        api.create_repo(repo, private=private, exist_ok=True)
        stale = [name for name in api.list_repo_files(repo) if _STALE.fullmatch(name) and name not in names]
        commit = api.create_commit(
            repo,
            [
                *(CommitOperationAdd(name, folder / name) for name in names),
                *(CommitOperationDelete(name) for name in stale),
            ],
            commit_message=message,
        )
    return Pushed(repo, commit.oid, f"{api.endpoint}/{repo}", len(names))


@contextmanager
def _said(repo: str) -> Iterator[None]:
    """Turn what the Hub and its library raise into a message without a secret in it."""
    from huggingface_hub import errors

    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise UserError(f"HF_HUB_OFFLINE is set, so nothing can be pushed to {repo}",
                        fix="unset HF_HUB_OFFLINE") from None  # fmt: skip
    except errors.HfHubHTTPError as error:
        raise _refused(repo, error.response.status_code, error.server_message or "") from None
    except Exception as error:
        cause: Any = error
        while cause is not None and not isinstance(cause, errors.HfHubHTTPError):
            cause = cause.__cause__
        if cause is not None:
            raise _refused(repo, cause.response.status_code, cause.server_message or "") from None
        if not _is_outside(error):
            raise
        raise UserError(
            f"the Hub cannot be reached to push to {repo}: {type(error).__name__}: {_clean(str(error))}",
            expected="a network, and HF_ENDPOINT unset or correct",
            fix="push again when it is reachable; the commit comes last, so nothing was changed there",
        ) from None


def _refused(repo: str, status: int, said: str) -> UserError:
    owner = repo.split("/")[0]
    why = f"the Hub answered {status} to the push to {repo}" + (f": {_clean(said)}" if said else "")
    match status:
        case 401:
            return UserError(
                why, expected="a valid token", fix="set HF_TOKEN to a new one: it is wrong or expired"
            )
        case 403:
            return UserError(
                why,
                expected=f"a token with write access to {owner}",
                fix="give the token write access, or push to an owner that it can write to",
            )
        case 404:
            return UserError(why, expected=f"an owner {owner} that you belong to", fix="correct OWNER/NAME")
        case 429:
            return UserError(why, expected="fewer requests", fix="wait, then push again")
        case _:
            return UserError(why, expected="an accepted commit", fix="push again later" if status >= 500
                             else "see the Hub's answer above")  # fmt: skip


def _is_outside(error: BaseException) -> bool:
    """Errors of sockets, of the HTTP library and of the uploader, whichever the hub's library is built on."""
    modules = {type(one).__module__.split(".")[0] for one in _chain(error)}
    return isinstance(error, OSError | RuntimeError) or bool(
        modules & {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "hf_xet"}
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _clean(text: str) -> str:
    """One short line without the token, should a library ever put it into a message."""
    from huggingface_hub import get_token

    for secret in filter(None, (get_token(), os.environ.get("HF_TOKEN"))):
        text = text.replace(secret, "***")
    return " ".join(text.split())[:300]
