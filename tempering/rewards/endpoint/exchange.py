"""One question and its reply over HTTP: what was answered, whether to ask again, and what it cost.

Nothing a server sends is trusted: replies may be endless, malformed, redirect elsewhere, or repeat the key.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from tempering.errors import UserError
from tempering.rewards.endpoint.config import EndpointConfig

LONGEST_PAUSE = 60.0
"""Seconds, whatever `Retry-After` says."""
_LONGEST_REPLY = 4 << 20  # bytes; a rating is short
_REFUSED = {
    401: "the key is not accepted",
    403: "the key lacks the permission",
    404: "no such model or path",
}
_TEMPORARY = (408, 409, 425, 429)
_TOO_LONG = "the reply is too long"
_SHOWN = 100  # letters of a reply without an answer
_NOT_JSON, _NO_ANSWER, _EMPTY = "the reply is not JSON", "no answer in the reply", "the answer is empty"

Read = Callable[[Mapping[str, Any]], Any]
"""A reply's choice -> its answer; anything but a text with words in it is malformed."""


@dataclass(frozen=True)
class Answer:
    """`text` is None without an answer; `status` says why, or ok; `reply` is how one began that had none."""

    text: str | None
    status: str
    reply: str = ""


@dataclass(frozen=True)
class Reply:
    """What came of one attempt.

    Attributes:
        temporary: asking again may help.
        wait: seconds to wait before that, where the server says so.
        usage: tokens of question and answer; None: unknown, and perhaps paid for.
    """

    answer: Answer
    temporary: bool = False
    wait: float | None = None
    usage: tuple[int, int] | None = None


def content_of(choice: Mapping[str, Any]) -> Any:
    """What the assistant says."""
    return choice["message"]["content"]


class Exchange:
    """Callable: the body of a request -> its reply.

    Raises:
        UserError: the server refuses the key or the model, or redirects.
    """

    def __init__(self, config: EndpointConfig, read: Read = content_of, name: str = "teacher") -> None:
        self.config, self.read, self.name = config, read, name
        self._key = config.key()
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx.Client(timeout=config.timeout, headers=headers, follow_redirects=False)
        self.address = f"{config.base_url.rstrip('/')}/chat/completions"

    def __call__(self, body: Mapping[str, Any], seconds: float) -> Reply:
        try:
            status, header, content = self._post(body, seconds)
        except httpx.HTTPError as error:
            return Reply(Answer(None, _fault(error)), temporary=True)
        if status in _REFUSED or 300 <= status < 400:
            raise self._refused(status)
        if status == 200:
            return self._reply(content)
        temporary = status in _TEMPORARY or status >= 500
        return Reply(Answer(None, f"http {status}"), temporary, _seconds(header), (0, 0))

    def _post(self, body: Mapping[str, Any], seconds: float) -> tuple[int, str, bytes]:
        """Status, `Retry-After` and content within `seconds`; httpx's own limit is per piece of a reply."""
        deadline = time.monotonic() + seconds
        content = b""
        with self._client.stream("POST", self.address, json=body, timeout=seconds) as reply:
            for piece in reply.iter_bytes():
                content += piece
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("the reply does not end")
                if len(content) > _LONGEST_REPLY:
                    raise httpx.ReadError(_TOO_LONG)
            return reply.status_code, reply.headers.get("Retry-After", ""), content

    def _refused(self, status: int) -> UserError:
        redirect = "it redirects to another address, which must not get the key"
        return UserError(
            f"the {self.name} at {self.config.base_url} answers {status}: {_REFUSED.get(status, redirect)}",
            expected=f"a server with the model {self.config.model!r}",
            fix="check base_url, model and api_key_env",
        )

    def _reply(self, content: bytes) -> Reply:
        """The answer in a 200, which may still be empty: then another attempt may bring one."""
        try:
            tree: Any = json.loads(content)
        except (ValueError, RecursionError):
            return self._without(content, _NOT_JSON)
        try:
            choice = tree["choices"][0]
            text, cut = self.read(choice), choice.get("finish_reason") == "length"
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
            return self._without(content, _NO_ANSWER)
        usage = _usage(tree)
        if not isinstance(text, str) or not text.strip():
            is_empty = text is None or isinstance(text, str)
            return self._without(content, _EMPTY if is_empty else _NO_ANSWER, usage)
        text = text.encode("utf-8", "replace").decode()  # a table cannot store lone surrogates
        text = text.replace(self._key, "[key]") if self._key else text
        return Reply(Answer(text, "cut off" if cut else "ok"), usage=usage)

    def _without(self, content: bytes, status: str, usage: tuple[int, int] | None = None) -> Reply:
        """No answer, and how the reply begins, of which the key is no part."""
        text = content[: 10 * _SHOWN].decode("utf-8", "replace")
        text = text.replace(self._key, "[key]") if self._key else text
        return Reply(Answer(None, status, " ".join(text.split())[:_SHOWN]), temporary=True, usage=usage)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _fault(error: httpx.HTTPError) -> str:
    """What went wrong on the way, in words."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return "the server cannot be reached"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return _TOO_LONG if str(error) == _TOO_LONG else "the connection broke"


def _usage(tree: Any) -> tuple[int, int] | None:
    """The tokens that a server says it counted; None where it says nothing that can be."""
    usage = tree.get("usage")
    if not isinstance(usage, dict):
        return None
    question, answer = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if (
        type(question) is not int
        or type(answer) is not int
        or min(question, answer) < 0
        or max(question, answer) >= 1 << 40
    ):
        return None
    return question, answer


def _seconds(header: str) -> float | None:
    """Seconds of `Retry-After`, which may also be a date; None without a valid one."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), LONGEST_PAUSE) if math.isfinite(seconds) else None
