"""Asking many questions of a server: at the same time, again after failures, within a budget, each once.

Temporary failures are asked again, after growing pauses or the time in `Retry-After`, up to a deadline; other
failures become a status instead of an answer. The first reply that says that the key or the model is wrong
opens the circuit: nothing more is sent, by this object, to that server.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempering.errors import UserError
from tempering.rewards.endpoint.budget import SPENDING_FILE, Ledger, Use, fits, limits_of, most
from tempering.rewards.endpoint.cache import IN_STORE, AnswerCache, key_of, store_of
from tempering.rewards.endpoint.config import EndpointConfig
from tempering.rewards.endpoint.exchange import LONGEST_PAUSE, Answer, Exchange, Read, Reply, content_of

if TYPE_CHECKING:
    from tempering.artifacts.draft import Draft

Question = str | list[dict[str, str]]
"""What a user says, or a whole conversation."""
_SHORT_ANSWER = 64  # tokens of an answer whose length nobody limits
_BYTES_PER_TOKEN = 4  # of English text, for estimates; the ledger counts a token for each byte


class Endpoint:
    """Callable: questions -> (index of the question, answer), in the order of the answers.

    Args:
        config: where the server is, and how much is asked of it.
        max_tokens: longest answer; None: neither this nor a temperature is sent, as to a reward model.
        pause: seconds before the second attempt.
        name: of who asks, for messages and the ledger.
        out: the draft of the stage, which has the log, the ledger and the store's cache.
        expected: questions that the stage will ask in all, where it knows.
        usable: whether an answer says what was asked for; only such answers are cached.
        read: how an answer is read from a reply.

    Raises:
        ConfigError: the key's variable is not set, what it holds is not a key, or the cache is no cache.
    """

    def __init__(
        self,
        config: EndpointConfig,
        max_tokens: int | None,
        pause: float = 0.5,
        *,
        name: str = "teacher",
        out: "Draft | None" = None,
        expected: int = 0,
        usable: Callable[[str], bool] = bool,
        read: Read = content_of,
    ) -> None:
        # Whom and what to ask.
        self.config, self.max_tokens, self.pause = config, max_tokens, pause
        self.name, self.expected, self.usable = name, expected, usable
        self._exchange = Exchange(config, read, name)
        # What is kept, and what may be spent.
        self._say: Callable[[str], None] = out.log if out is not None else _silent
        self._warn: Callable[[str], None] = out.warn if out is not None else _silent
        path = _cache_path(config.cache, out)
        self._cache = AnswerCache(path) if path else None
        ledger = out.metadata_dir / SPENDING_FILE if out is not None and config.budget.limited else None
        self.ledger = Ledger(config.budget, name, ledger)
        # What stops it.
        self._stop = threading.Event()
        self._refusal: UserError | None = None
        self._is_announced = False
        self._jitter = random.Random()  # not the run's own: retries must not change what training draws

    def __call__(self, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        if self._refusal is not None:
            raise self._refusal
        # What has been answered before.
        bodies = [self._body(question) for question in questions]
        keys = [key_of(self._exchange.address, body) for body in bodies]
        answers = {place: self._cache.get(key) for place, key in enumerate(keys)} if self._cache else {}
        cached = {place: text for place, text in answers.items() if text is not None and self.usable(text)}
        yield from ((place, Answer(text, "ok")) for place, text in cached.items())
        # The rest goes to the server.
        rest = [place for place in range(len(questions)) if place not in cached]
        self._announce([bodies[place] for place in rest], len(questions))
        yield from self._asked({place: (keys[place], bodies[place]) for place in rest})

    def _asked(self, questions: Mapping[int, tuple[str, dict[str, Any]]]) -> Iterator[tuple[int, Answer]]:
        pool = ThreadPoolExecutor(self.config.max_concurrency)
        places = {pool.submit(self._ask, *question): place for place, question in questions.items()}
        # Answers as they arrive, until one question fails for good.
        try:
            for future in as_completed(list(places)):
                if future.exception() is not None:
                    break
                yield places.pop(future), future.result()
        finally:  # after a wrong key or Ctrl-C nobody waits for the rest
            self._stop.set()
            pool.shutdown(cancel_futures=True)
            self._stop.clear()
        # Questions that were in flight are paid for, so their answers count; then the failure is raised.
        finished = [future for future in places if not future.cancelled()]
        failures = [future for future in finished if future.exception() is not None]
        for future in finished:
            if future not in failures:
                yield places[future], future.result()
        for future in failures:
            future.result()

    def _ask(self, key: str, body: dict[str, Any]) -> Answer:
        """One question, asked again after temporary failures."""
        began = time.monotonic()
        for attempt in range(self.config.retries + 1):
            left = (self.config.deadline or float("inf")) - (time.monotonic() - began)
            reply = self._attempt(body, min(self.config.timeout, left))
            if reply.answer.text is not None or not reply.temporary or attempt == self.config.retries:
                break
            wait = reply.wait or min(self.pause * 2**attempt, LONGEST_PAUSE)
            wait *= 1 + self._jitter.random() / 4  # so that those who failed together come back one by one
            left = (self.config.deadline or float("inf")) - (time.monotonic() - began)
            if wait >= left or self._stop.wait(wait):
                break
        answer = reply.answer
        if self._cache and answer.text is not None and answer.status == "ok" and self.usable(answer.text):
            self._cache.put(key, self.config.model, answer.text)
        return answer

    def _attempt(self, body: dict[str, Any], seconds: float) -> Reply:
        """One request, counted; the circuit opens where it must."""
        if self._refusal is not None:
            raise self._refusal
        reserved = most(_bytes(body), self.max_tokens or _SHORT_ANSWER)
        try:
            self.ledger.reserve(reserved)
            reply = self._exchange(body, seconds)
        except UserError as error:
            self._refusal = error
            raise
        if reply.usage is not None:
            self.ledger.correct(reserved, Use(1, *reply.usage))
        return reply

    def _body(self, question: Question) -> dict[str, Any]:
        messages = [{"role": "user", "content": question}] if isinstance(question, str) else question
        body: dict[str, Any] = {"model": self.config.model, "messages": messages}
        if self.max_tokens is None:
            return body
        return {**body, "temperature": self.config.temperature, "max_tokens": self.max_tokens}

    def _announce(self, bodies: Sequence[dict[str, Any]], asked: int) -> None:
        """Say once what the stage will ask for, and refuse what the budget cannot hold.

        Raises:
            UserError: even with the shortest answers these questions need more than what is left.
        """
        if self._is_announced or not asked:
            return
        self._is_announced = True
        # As many as these, or as many as the stage expects, of which the same share is cached.
        times = max(self.expected, asked) / asked
        requests = round(len(bodies) * times)
        questions = round(sum(map(_bytes, bodies)) * times / _BYTES_PER_TOKEN)
        least = Use(requests, questions, requests)
        longest = Use(requests, questions, requests * (self.max_tokens or _SHORT_ANSWER))
        budget = self.config.budget
        cached = round(asked * times) - requests
        self._say(
            f"{self.name} asks {self.config.model}: about {longest.shown(budget)} at most, repetitions not "
            f"counted; about {cached:,} answers are cached"
        )
        # What is left must be enough.
        spent = self.ledger.spent
        if fits(budget, spent, least):
            return
        found = (
            f"{self.name} needs about {least.shown(budget)} even with the shortest answers, after "
            f"{spent.shown(budget)}: more than its budget"
        )
        if self.expected:  # a guess, and a run that stops there can be resumed
            self._warn(f"{found} of {limits_of(budget)}; the stage will stop when that is spent")
            return
        self._refusal = UserError(
            found,
            expected=f"at most {limits_of(budget)}",
            fix="raise endpoint.budget, or ask fewer questions",
        )
        raise self._refusal

    def close(self) -> None:
        """Say what was spent; close the connections and files."""
        spent = self.ledger.spent
        if spent.requests:
            self._say(f"{self.name} has asked {self.config.model}: {spent.shown(self.config.budget)}")
        self._exchange.close()
        self.ledger.close()
        if self._cache:
            self._cache.close()


def _silent(text: str) -> None:
    """Outside of a stage there is no log."""


def _cache_path(setting: str | None, out: "Draft | None") -> Path | None:
    """The file of cached answers; outside of a store there is none unless it is named."""
    if setting != "store":
        return Path(setting).expanduser() if setting else None
    store = store_of(out.path) if out is not None else None
    return store / IN_STORE if store else None


def _bytes(body: Mapping[str, Any]) -> int:
    return sum(len(message["content"].encode()) for message in body["messages"])
