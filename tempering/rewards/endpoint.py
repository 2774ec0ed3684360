"""Asking a server that speaks OpenAI's chat completions protocol.

Servers answer with 429s, 500s, dropped connections and nonsense. What may pass is asked again, with growing
pauses or as long as `Retry-After` says; what does not becomes a status instead of an answer. Redirects are
not followed: the key goes to the address that was named, and nowhere else.
"""

import json
import math
import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from tempering.errors import ConfigError, UserError
from tempering.rewards.config import EndpointConfig

_LONGEST_PAUSE = 60.0  # seconds
_LONGEST_REPLY = 4 << 20  # bytes; a rating is short
_REFUSED = {
    401: "the key is not accepted",
    403: "the key may not do this",
    404: "there is no such model or path",
}
_MAY_PASS = (408, 409, 425, 429)


@dataclass(frozen=True)
class Answer:
    """`text` is None where there is no answer; `status` says why, or ok."""

    text: str | None
    status: str


class Endpoint:
    """Callable: questions -> (place, answer), as they come.

    Raises:
        ConfigError: the variable of the key is not set, or holds what is no key.
    """

    def __init__(self, config: EndpointConfig, max_tokens: int, pause: float = 0.5) -> None:
        self.config, self.max_tokens, self.pause = config, max_tokens, pause
        self._key = _key(config.api_key_env)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._client = httpx.Client(timeout=config.timeout, headers=headers, follow_redirects=False)
        self._stop = threading.Event()
        self._chance = random.Random()  # not the run's own: retries must not move what training draws

    def __call__(self, questions: Sequence[str]) -> Iterator[tuple[int, Answer]]:
        pool = ThreadPoolExecutor(self.config.max_concurrency)
        asked = {pool.submit(self._ask, question): place for place, question in enumerate(questions)}
        try:
            for done in as_completed(list(asked)):
                if done.exception() is not None:
                    break
                yield asked.pop(done), done.result()
        finally:  # after a wrong key or Ctrl-C nobody waits for the rest
            self._stop.set()
            pool.shutdown(cancel_futures=True)
            self._stop.clear()
        over = [done for done in asked if not done.cancelled()]
        failed = [done for done in over if done.exception() is not None]
        for done in over:  # what was on its way is paid for
            if done not in failed:
                yield asked[done], done.result()
        for done in failed:
            done.result()

    def _ask(self, question: str) -> Answer:
        """One question, asked again while there is hope."""
        for attempt in range(self.config.retries + 1):
            answer, wait = self._attempt(question, attempt)
            if wait is None or attempt == self.config.retries or self._stop.wait(wait):
                return answer
        raise AssertionError("there is at least one attempt")

    def _attempt(self, question: str, attempt: int) -> tuple[Answer, float | None]:
        """An answer, and the pause before another attempt; None: no other one."""
        pause = min(self.pause * 2**attempt, _LONGEST_PAUSE) * (1 + self._chance.random() / 4)
        try:
            reply = self._post(question)
        except httpx.HTTPError as error:
            return Answer(None, type(error).__name__), pause
        if reply.is_redirect or reply.status_code in _REFUSED:
            raise self._refused(reply.status_code)
        if reply.status_code == 200:
            answer = self._read(reply)
            return answer, pause if answer.text is None else None
        passing = reply.status_code in _MAY_PASS or reply.status_code >= 500
        return Answer(None, f"http {reply.status_code}"), (_asked_for(reply) or pause) if passing else None

    def _post(self, question: str) -> httpx.Response:
        """One exchange within `timeout` as a whole: httpx's own limit is for each piece of a reply."""
        body = {
            "model": self.config.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": self.config.temperature,
            "max_tokens": self.max_tokens,
        }
        latest = time.monotonic() + self.config.timeout
        content = b""
        address = f"{self.config.base_url.rstrip('/')}/chat/completions"
        with self._client.stream("POST", address, json=body) as reply:
            for piece in reply.iter_bytes():
                content += piece
                if time.monotonic() > latest:
                    raise httpx.ReadTimeout("the reply does not come to an end")
                if len(content) > _LONGEST_REPLY:
                    raise httpx.ReadError("the reply is too long")
        wait = {name: value for name, value in reply.headers.items() if name == "retry-after"}
        return httpx.Response(reply.status_code, headers=wait, content=content)

    def _refused(self, status: int) -> UserError:
        moved = "it sends the question on to another address, to which no key is sent"
        return UserError(
            f"the teacher at {self.config.base_url} answers {status}: {_REFUSED.get(status, moved)}",
            expected=f"a server with the model {self.config.model!r}",
            fix="check base_url, model and api_key_env",
        )

    def _read(self, reply: httpx.Response) -> Answer:
        """The text of a 200, which may still hold nothing."""
        try:
            choice: Any = json.loads(reply.content)["choices"][0]
            text, ended = choice["message"]["content"], choice.get("finish_reason") != "length"
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            return Answer(None, "malformed")
        if not isinstance(text, str) or not text.strip():
            return Answer(None, "malformed")
        text = text.encode("utf-8", "replace").decode()  # lone surrogates fit into no table
        return Answer(text.replace(self._key, "[key]") if self._key else text, "ok" if ended else "cut off")

    def close(self) -> None:
        """Let the connections go."""
        self._client.close()


def _key(variable: str | None) -> str:
    """The key; no message may hold it, not even a library's about a bad header."""
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            f"the environment variable {variable} {'holds no key' if key else 'is not set'}",
            expected="the teacher's key in it, one word of plain characters",
            fix=f"export {variable}=..., or take api_key_env out",
        )
    return key


def _asked_for(reply: httpx.Response) -> float | None:
    """Seconds of `Retry-After`, which may also be a date; None where it says nothing."""
    said = reply.headers.get("Retry-After", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), _LONGEST_PAUSE) if math.isfinite(seconds) else None
