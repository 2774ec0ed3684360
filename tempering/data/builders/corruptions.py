"""Make preference pairs from questions: the right answer against a corrupted one.

Each pair names the kind of its corruption. No corrupted answer equals any gold answer under SQuAD's
normalisation. The kind is drawn by its share from a hash of the question, not of its place in a file. If a
question does not allow it (one word cannot be shuffled), another kind is drawn by the remaining shares.
Wrong answers come from a window of the questions before and after, so memory is bounded.
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
class _Question:
    """A question row with what is needed repeatedly."""

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
    """Preference rows `prompt, chosen, rejected, corruption` (and `id, title` if the questions have them).

    Args:
        questions: question rows, checked or not, in file order; other items are passed on at once.
        config: shares of the kinds.
        seed: decides kinds and wrong answers.

    Yields:
        one pair per question, in order, held out by its context; `Rejected` for a question that no kind
        suits.
    """
    window = _Window()
    waiting: deque[_Question] = deque()
    for item in questions:
        if not isinstance(item, Row):
            yield item
            continue
        fault = problem(RowType.QUESTION, item.values)
        if fault:
            yield _rejected(item, fault)
            continue
        waiting.append(_question(item))
        window.add(waiting[-1])
        if len(waiting) > REACH:
            yield _pair(waiting.popleft(), window, config, seed)
    while waiting:
        yield _pair(waiting.popleft(), window, config, seed)


class _Window:
    """The questions around one: `REACH` before it, and those after it that have been read."""

    def __init__(self) -> None:
        self._all: deque[_Question] = deque()
        self._contexts: dict[str, deque[_Question]] = {}
        self._answers: Counter[tuple[str, str]] = Counter()  # (first word of the question, answer)

    def add(self, question: _Question) -> None:
        """Add the next question; the earliest one is forgotten once the window is full."""
        self._all.append(question)
        self._contexts.setdefault(question.context, deque()).append(question)
        self._answers[question.word, question.answer] += 1
        if len(self._all) > 2 * REACH + 1:
            self._forget(self._all.popleft())

    def _forget(self, old: _Question) -> None:
        neighbours = self._contexts[old.context]
        neighbours.popleft()
        if not neighbours:
            del self._contexts[old.context]
        self._answers[old.word, old.answer] -= 1
        if not self._answers[old.word, old.answer]:
            del self._answers[old.word, old.answer]

    def of_context(self, question: _Question) -> list[str]:
        """Answers to other questions on the same context, else answers that occur in its text.

        The latter serves data with one question per context, such as the story world, where the context
        names other things of the same kind; answers to questions with the same first word are preferred.
        """
        answers = [other.answer for other in self._contexts[question.context] if other is not question]
        wrong_answers = [answer for answer in answers if _wrong(answer, question)]
        if wrong_answers:
            return wrong_answers
        text = f" {_plain(question.context)} "
        mentioned = [key for key in self._answers if key[1] in question.context and _wrong(key[1], question)]
        mentioned = [key for key in mentioned if f" {_plain(key[1])} " in text]
        alike = [answer for word, answer in mentioned if word == question.word]
        return alike or [answer for _, answer in mentioned]

    def elsewhere(self, question: _Question, rng: random.Random) -> str | None:
        """An answer from another context that does not occur in the text of this one."""
        if len(self._contexts) == 1:
            return None
        random_places = (rng.randrange(len(self._all)) for _ in range(_DRAWS))
        for place in chain(random_places, range(len(self._all))):  # at random, then in order
            other = self._all[place]
            if (
                other.context != question.context
                and other.answer not in question.context
                and _wrong(other.answer, question)
            ):
                return other.answer
        return None


def _pair(question: _Question, window: _Window, config: CorruptionConfig, seed: int) -> Row | Rejected:
    values = question.row.values
    key = f"{seed}:corruption:{values['question']}\n{values['context']}\n{question.answer}"
    rng = random.Random(stable_hash(key))
    ways: dict[str, Callable[[], str | None]] = {
        "other_answer": lambda: _any_of(window.of_context(question), rng),
        "shuffled": lambda: _shuffled(question, rng),
        "truncated": lambda: _any_of(_beginnings(question), rng),
        "empty": lambda: None if "" in question.golds else "",
        "off_topic": lambda: window.elsewhere(question, rng),
    }
    shares = {kind: share for kind, share in config.shares().items() if share > 0}
    while shares:
        (kind,) = rng.choices(list(shares), list(shares.values()))
        answer = ways[kind]()
        if answer is not None:
            return replace(question.row, values=_values(values, kind, answer), group=question.context)
        del shares[kind]
    return _rejected(question.row, "no corruption of its answer is possible")


def _values(question: Values, kind: str, wrong: str) -> Values:
    extras = {name: question[name] for name in ("id", "title") if question.get(name) is not None}
    return {
        "prompt": to_messages(question_prompt(question["context"], question["question"])),
        "chosen": to_messages(question["answers"][0], "assistant"),
        "rejected": to_messages(wrong, "assistant"),  # for the kind `empty`: rows.EMPTY_ANSWER
        "corruption": kind,
        **extras,
    }


def _shuffled(question: _Question, rng: random.Random) -> str | None:
    """The words in a random order; if that gives no wrong answer, with two neighbours swapped."""
    words = question.answer.split()
    orders = [rng.sample(words, len(words)) for _ in range(4)] if len(words) > 1 else []
    swaps = [[*words[:i], words[i + 1], words[i], *words[i + 2 :]] for i in range(len(words) - 1)]
    texts = (" ".join(order) for order in [*orders, *rng.sample(swaps, len(swaps))])
    return next((text for text in texts if _wrong(text, question)), None)


def _beginnings(question: _Question) -> list[str]:
    words = question.answer.split()
    texts = (" ".join(words[:count]) for count in range(1, len(words)))
    return [text for text in texts if _wrong(text, question)]


def _any_of(answers: list[str], rng: random.Random) -> str | None:
    return answers[rng.randrange(len(answers))] if answers else None


def _wrong(answer: str, question: _Question) -> bool:
    """Whether `answer` is neither empty nor a gold answer."""
    normal = _plain(answer)
    return bool(normal) and normal not in question.golds


def _plain(text: str) -> str:
    from tempering.data.answers import normalise_answer  # numpy: not needed for a plan

    return normalise_answer(text)


def _question(row: Row) -> _Question:
    golds = frozenset(_plain(answer) for answer in row.values["answers"])
    return _Question(row, golds, row.values["question"].split()[0].lower())


def _rejected(row: Row, reason: str) -> Rejected:
    return Rejected(row.file, row.line, reason, excerpt(row.values))
