"""Questions to a server that speaks OpenAI's chat completions protocol.

Servers answer with 429s, 500s, dropped connections and nonsense. Temporary failures are retried, with growing
pauses or after the time in `Retry-After`; other failures become a status instead of an answer. Redirects are
not followed: the key goes to the configured address and nowhere else.
"""

import json
import math
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx

from tempering.errors import UserError

if TYPE_CHECKING:
    from tempering.rewards.endpoint.config import EndpointConfig

_LONGEST_PAUSE = 60.0  # seconds
_LONGEST_REPLY = 4 << 20  # bytes; a rating is short
_REFUSED = {
    401: "the key is not accepted",
    403: "the key lacks the permission",
    404: "no such model or path",
}
_TEMPORARY = (408, 409, 425, 429)


@dataclass(frozen=True)
class Answer:
    """`text` is None without an answer; `status` says why, or ok."""

    text: str | None
    status: str


class Endpoint:
    """Callable: questions -> (index of the question, answer), in the order of the answers.

    Raises:
        ConfigError: the key's variable is not set, or what it holds is not a key.
    """

    def __init__(self, config: "EndpointConfig", max_tokens: int, pause: float = 0.5) -> None:
        self.config, self.max_tokens, self.pause = config, max_tokens, pause
        self._key = config.key()
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx.Client(timeout=config.timeout, headers=headers, follow_redirects=False)
        self._stop = threading.Event()
        self._jitter = random.Random()  # not the run's own: retries must not change what training draws

    def __call__(self, questions: Sequence[str]) -> Iterator[tuple[int, Answer]]:
        pool = ThreadPoolExecutor(self.config.max_concurrency)
        indices = {pool.submit(self._ask, question): index for index, question in enumerate(questions)}
        # Answers as they arrive, until one question fails for good.
        try:
            for future in as_completed(list(indices)):
                if future.exception() is not None:
                    break
                yield indices.pop(future), future.result()
        finally:  # after a wrong key or Ctrl-C nobody waits for the rest
            self._stop.set()
            pool.shutdown(cancel_futures=True)
            self._stop.clear()
        # Questions that were in flight are paid for, so their answers count; then the failure is raised.
        finished = [future for future in indices if not future.cancelled()]
        failures = [future for future in finished if future.exception() is not None]
        for future in finished:
            if future not in failures:
                yield indices[future], future.result()
        for future in failures:
            future.result()

    def _ask(self, question: str) -> Answer:
        """One question, retried after temporary failures."""
        for attempt in range(self.config.retries + 1):
            answer, wait = self._attempt(question, attempt)
            if wait is None or attempt == self.config.retries or self._stop.wait(wait):
                return answer
        raise AssertionError("there is at least one attempt")

    def _attempt(self, question: str, attempt: int) -> tuple[Answer, float | None]:
        """An answer, and the pause in seconds before another attempt; None: no other attempt."""
        pause = min(self.pause * 2**attempt, _LONGEST_PAUSE) * (1 + self._jitter.random() / 4)
        try:
            reply = self._post(question)
        except httpx.HTTPError as error:
            return Answer(None, type(error).__name__), pause
        if reply.is_redirect or reply.status_code in _REFUSED:
            raise self._refused(reply.status_code)
        if reply.status_code == 200:
            answer = self._read(reply)
            return answer, pause if answer.text is None else None
        temporary = reply.status_code in _TEMPORARY or reply.status_code >= 500
        return Answer(None, f"http {reply.status_code}"), (
            _retry_after(reply) or pause
        ) if temporary else None

    def _post(self, question: str) -> httpx.Response:
        """One exchange of at most `timeout` seconds; httpx's own limit is per piece of a reply."""
        body = {
            "model": self.config.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": self.config.temperature,
            "max_tokens": self.max_tokens,
        }
        deadline = time.monotonic() + self.config.timeout
        content = b""
        address = f"{self.config.base_url.rstrip('/')}/chat/completions"
        with self._client.stream("POST", address, json=body) as reply:
            for piece in reply.iter_bytes():
                content += piece
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout("the reply does not end")
                if len(content) > _LONGEST_REPLY:
                    raise httpx.ReadError("the reply is too long")
        headers = {name: value for name, value in reply.headers.items() if name == "retry-after"}
        return httpx.Response(reply.status_code, headers=headers, content=content)

    def _refused(self, status: int) -> UserError:
        redirect = "it redirects to another address, which must not get the key"
        return UserError(
            f"the teacher at {self.config.base_url} answers {status}: {_REFUSED.get(status, redirect)}",
            expected=f"a server with the model {self.config.model!r}",
            fix="check base_url, model and api_key_env",
        )

    def _read(self, reply: httpx.Response) -> Answer:
        """The answer in a 200, which may still be empty."""
        try:
            choice: Any = json.loads(reply.content)["choices"][0]
            text, ended = choice["message"]["content"], choice.get("finish_reason") != "length"
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            return Answer(None, "malformed")
        if not isinstance(text, str) or not text.strip():
            return Answer(None, "malformed")
        text = text.encode("utf-8", "replace").decode()  # a table cannot store lone surrogates
        return Answer(text.replace(self._key, "[key]") if self._key else text, "ok" if ended else "cut off")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _retry_after(reply: httpx.Response) -> float | None:
    """Seconds of `Retry-After`, which may also be a date; None without a valid one."""
    header = reply.headers.get("Retry-After", "")
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), _LONGEST_PAUSE) if math.isfinite(seconds) else None
