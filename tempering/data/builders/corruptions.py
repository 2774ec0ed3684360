"""Preferences made from questions and answers: the right answer against a corrupted one.

Each pair is marked with the kind of its corruption. No corrupted answer equals any gold answer under
SQuAD's normalisation. The kind is drawn by its share from a hash of the question, not of its place
in a file; a kind that this question does not allow (one word cannot be shuffled) gives way to the
others by their shares. Wrong answers come from a window of the questions
before and after, so memory is bounded.
"""

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Literal, Self

from pydantic import Field, model_validator

from tempering.config import Config
from tempering.data.files import excerpt
from tempering.data.rows import Notice, Rejected, Row, RowType, Values, problem, to_messages
from tempering.world import question_prompt
from tempering.world.seeding import stable_hash

Kind = Literal["other_answer", "shuffled", "truncated", "empty", "off_topic"]

REACH = 512
"""Questions before and after a question whose answers can become its wrong ones."""
_DRAWS = 32


class CorruptionConfig(Config):
    """Share of each kind of corruption; they are divided by their sum."""

    other_answer: float = Field(default=0.4, ge=0, description="share: another answer of the same context")
    shuffled: float = Field(default=0.2, ge=0, description="share: the words of the answer in another order")
    truncated: float = Field(default=0.15, ge=0, description="share: only the beginning of the answer")
    empty: float = Field(default=0.05, ge=0, description="share: nothing")
    off_topic: float = Field(default=0.2, ge=0, description="share: an answer of another context")

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        total = sum(self.shares().values())
        if not 0 < total < float("inf"):
            raise ValueError(f"the shares add up to {total}: at least one must be positive")
        return self

    def shares(self) -> dict[str, float]:
        """Kind -> share, as given."""
        return {name: getattr(self, name) for name in CorruptionConfig.model_fields}


@dataclass(frozen=True)
class _Asked:
    """One question with what is needed again and again."""

    row: Row
    golds: frozenset[str]
    """Gold answers in normal form."""
    word: str
    """The question's first word, which tells the kind of answer: who, where, which."""

    @property
    def answer(self) -> str:
        answer: str = self.row.values["answers"][0]
        return answer

    @property
    def context(self) -> str:
        context: str = self.row.values["context"]
        return context


def corrupted_pairs(
    questions: Iterable[Row | Rejected | Notice], config: CorruptionConfig, seed: int
) -> Iterator[Row | Rejected | Notice]:
    """Preference rows `prompt, chosen, rejected, corruption` (and `id, title` where there are any).

    Args:
        questions: question rows, checked or not, in file order; everything else is passed on at once.
        config: shares of the kinds.
        seed: decides kinds and wrong answers.

    Yields:
        one pair a question, in order, held out by its context; a question that none of the kinds
        suits comes as `Rejected`.
    """
    window = _Window()
    waiting: deque[_Asked] = deque()
    for item in questions:
        if not isinstance(item, Row):
            yield item
            continue
        found = problem(RowType.QUESTION, item.values)
        if found:
            yield _rejected(item, found)
            continue
        waiting.append(_asked(item))
        window.add(waiting[-1])
        if len(waiting) > REACH:
            yield _pair(waiting.popleft(), window, config, seed)
    while waiting:
        yield _pair(waiting.popleft(), window, config, seed)


class _Window:
    """The questions around one: `REACH` before it, and those after it that were read already."""

    def __init__(self) -> None:
        self._all: deque[_Asked] = deque()
        self._contexts: dict[str, deque[_Asked]] = {}
        self._answers: Counter[tuple[str, str]] = Counter()  # (first word of the question, answer)

    def add(self, asked: _Asked) -> None:
        """One more question after; the farthest one before is forgotten."""
        self._all.append(asked)
        self._contexts.setdefault(asked.context, deque()).append(asked)
        self._answers[asked.word, asked.answer] += 1
        if len(self._all) > 2 * REACH + 1:
            self._forget(self._all.popleft())

    def _forget(self, old: _Asked) -> None:
        same = self._contexts[old.context]
        same.popleft()
        if not same:
            del self._contexts[old.context]
        self._answers[old.word, old.answer] -= 1
        if not self._answers[old.word, old.answer]:
            del self._answers[old.word, old.answer]

    def of_context(self, asked: _Asked) -> list[str]:
        """Answers to other questions on the same context; else answers found in its text.

        The second way serves data with one question a context, such as the story world, where the
        context names other things of the same kind: answers to questions with the same first word go first.
        """
        asked_here = [other.answer for other in self._contexts[asked.context] if other is not asked]
        found = [answer for answer in asked_here if _wrong(answer, asked)]
        if found:
            return found
        text = f" {_plain(asked.context)} "
        named = [key for key in self._answers if key[1] in asked.context and _wrong(key[1], asked)]
        named = [key for key in named if f" {_plain(key[1])} " in text]
        alike = [answer for word, answer in named if word == asked.word]
        return alike or [answer for _, answer in named]

    def elsewhere(self, asked: _Asked, rng: random.Random) -> str | None:
        """An answer of another context, one that its text does not hold."""
        if len(self._contexts) == 1:
            return None
        drawn = (rng.randrange(len(self._all)) for _ in range(_DRAWS))
        for place in chain(drawn, range(len(self._all))):  # by chance, and if that fails one after the other
            other = self._all[place]
            if (
                other.context != asked.context
                and other.answer not in asked.context
                and _wrong(other.answer, asked)
            ):
                return other.answer
        return None


def _pair(asked: _Asked, window: _Window, config: CorruptionConfig, seed: int) -> Row | Rejected:
    values = asked.row.values
    key = f"{seed}:corruption:{values['question']}\n{values['context']}\n{asked.answer}"
    rng = random.Random(stable_hash(key))
    ways: dict[str, Callable[[], str | None]] = {
        "other_answer": lambda: _any_of(window.of_context(asked), rng),
        "shuffled": lambda: _shuffled(asked, rng),
        "truncated": lambda: _any_of(_beginnings(asked), rng),
        "empty": lambda: None if "" in asked.golds else "",
        "off_topic": lambda: window.elsewhere(asked, rng),
    }
    shares = {kind: share for kind, share in config.shares().items() if share > 0}
    while shares:
        (kind,) = rng.choices(list(shares), list(shares.values()))
        wrong = ways[kind]()
        if wrong is not None:
            return replace(asked.row, values=_values(values, kind, wrong), group=asked.context)
        del shares[kind]
    return _rejected(asked.row, "no corruption of its answer is possible")


def _values(question: Values, kind: str, wrong: str) -> Values:
    kept = {name: question[name] for name in ("id", "title") if question.get(name) is not None}
    return {
        "prompt": to_messages(question_prompt(question["context"], question["question"])),
        "chosen": to_messages(question["answers"][0], "assistant"),
        "rejected": to_messages(wrong, "assistant"),  # of `empty`: rows.EMPTY_ANSWER
        "corruption": kind,
        **kept,
    }


def _shuffled(asked: _Asked, rng: random.Random) -> str | None:
    """The words in a random order; where chance finds none, two neighbours swapped."""
    words = asked.answer.split()
    orders = [rng.sample(words, len(words)) for _ in range(4)] if len(words) > 1 else []
    swaps = [[*words[:i], words[i + 1], words[i], *words[i + 2 :]] for i in range(len(words) - 1)]
    found = (" ".join(order) for order in [*orders, *rng.sample(swaps, len(swaps))])
    return next((text for text in found if _wrong(text, asked)), None)


def _beginnings(asked: _Asked) -> list[str]:
    words = asked.answer.split()
    cut = (" ".join(words[:count]) for count in range(1, len(words)))
    return [text for text in cut if _wrong(text, asked)]


def _any_of(found: list[str], rng: random.Random) -> str | None:
    return found[rng.randrange(len(found))] if found else None


def _wrong(answer: str, asked: _Asked) -> bool:
    """Whether `answer` says something, and no gold answer."""
    normal = _plain(answer)
    return bool(normal) and normal not in asked.golds


def _plain(text: str) -> str:
    from tempering.data.answers import normalise_answer  # numpy: not needed for a plan

    return normalise_answer(text)


def _asked(row: Row) -> _Asked:
    golds = frozenset(_plain(answer) for answer in row.values["answers"])
    return _Asked(row, golds, row.values["question"].split()[0].lower())


def _rejected(row: Row, reason: str) -> Rejected:
    return Rejected(row.file, row.line, reason, excerpt(row.values))
