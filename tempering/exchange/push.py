"""Uploading a model folder to the Hugging Face Hub, in one commit.

The token comes from HF_TOKEN or the hub's own login and goes only into the request header. What is known
before (no token, offline, an impossible name) is refused before anything is computed. Requests have a time
limit, and the hub's library repeats them a few times, never without end.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tempering.errors import UserError

_TIMEOUT = 60.0  # seconds per request without an answer
_STALE = re.compile(r".*\.safetensors|.*\.safetensors\.index\.json|pytorch_model.*\.bin")


@dataclass(frozen=True)
class Pushed:
    """What was uploaded, and where it is."""

    repo: str
    commit: str
    url: str
    files: int


def check_push(repo: str) -> None:
    """Refuse a push that cannot work, before any work.

    Raises:
        UserError: not the name of a repository, offline, or no token.
    """
    from huggingface_hub import constants, errors, get_token
    from huggingface_hub.utils._validators import validate_repo_id

    # The name: OWNER/NAME by the Hub's own rules.
    try:
        validate_repo_id(repo)
        valid = repo.count("/") == 1
    except errors.HFValidationError:
        valid = False
    if not valid:
        raise UserError(
            f"{repo!r} cannot be the name of a model on the Hub", expected="OWNER/NAME", fix="correct it"
        )
    # The way there: a network and a token.
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
    """Upload the files of `folder` to a repository, which is created if need be.

    Other weights of an earlier push are removed: old and new shards would mix.

    Args:
        private: of a new repository; an existing one stays as it is.

    Raises:
        UserError: no token, no permission, no network, or the Hub refuses.
    """
    check_push(repo)
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_session

    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    with _readable_errors(repo):
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
def _readable_errors(repo: str) -> Iterator[None]:
    """Turn the exceptions of the Hub and its library into messages without secrets."""
    from huggingface_hub import errors

    try:
        yield
    except errors.OfflineModeIsEnabled:
        raise UserError(
            f"HF_HUB_OFFLINE is set, so nothing can be pushed to {repo}", fix="unset HF_HUB_OFFLINE"
        ) from None
    except errors.HfHubHTTPError as error:
        raise _refused(repo, error.response.status_code, error.server_message or "") from None
    except Exception as error:
        # The uploader wraps HTTP errors; what comes from neither is a fault of ours and propagates.
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
            fix="push again when it can be reached; the commit comes last, so nothing has changed there",
        ) from None


def _refused(repo: str, status: int, answer: str) -> UserError:
    owner = repo.split("/")[0]
    problem = f"the Hub answered {status} to the push to {repo}" + (f": {_clean(answer)}" if answer else "")
    # What to do depends on the status alone.
    match status:
        case 401:
            return UserError(
                problem, expected="a valid token", fix="set HF_TOKEN to a new one: it is wrong or expired"
            )
        case 403:
            return UserError(
                problem,
                expected=f"a token that may write for {owner}",
                fix=f"give the token write access, or push to an owner it belongs to instead of {owner}",
            )
        case 404:
            return UserError(
                problem, expected=f"an owner {owner} that you belong to", fix="correct OWNER/NAME"
            )
        case 429:
            return UserError(problem, expected="fewer requests", fix="wait, then push again")
        case _:
            fix = "push again later" if status >= 500 else "see the Hub's answer above"
            return UserError(problem, expected="an accepted commit", fix=fix)


def _is_outside(error: BaseException) -> bool:
    """Whether sockets, the HTTP library or the uploader raised it, whichever the hub's library uses."""
    modules = {type(cause).__module__.split(".")[0] for cause in _chain(error)}
    return isinstance(error, OSError | RuntimeError) or bool(
        modules & {"httpx", "httpx2", "httpcore", "httpcore2", "requests", "hf_xet"}
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _clean(text: str) -> str:
    """One short line without the token, in case a library puts it into a message."""
    from huggingface_hub import get_token

    for secret in filter(None, (get_token(), os.environ.get("HF_TOKEN"))):
        text = text.replace(secret, "***")
    return " ".join(text.split())[:300]
