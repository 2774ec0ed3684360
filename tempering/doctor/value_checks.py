"""What the rows of a type must have for training or measuring on them to mean anything.

A constant label or score teaches nothing and measures nothing. Where only the beginning of a data set
was seen it may be sorted, so that a constant is then a warning, not a verdict.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

from tempering.data.rows import RowType
from tempering.doctor.check import Check, Level, rows, share
from tempering.doctor.counters import Lengths

_FEW = 10
_ONE_SIDED = 0.9


class Content(Protocol):
    """Looks at every row of one type."""

    def add(self, values: Mapping[str, Any]) -> None:
        """Look at one row."""

    def checks(self, constant: Level) -> list[Check]:
        """What was found; `constant` is how bad one and the same value in every row is."""


def content_of(row_type: RowType) -> Content:
    """What looks at the rows of `row_type`."""
    kinds: dict[RowType, type[Content]] = {
        RowType.CLASSIFICATION: Labels,
        RowType.UNPAIRED_PREFERENCE: Labels,
        RowType.SCORED_CONVERSATION: Scores,
        RowType.MULTIPLE_CHOICE: Choices,
        RowType.QUESTION: Questions,
    }
    return kinds.get(row_type, Nothing)()


class Nothing:
    """For types about whose values there is nothing to say without their tokens."""

    def add(self, values: Mapping[str, Any]) -> None:
        """Nothing to look at."""

    def checks(self, constant: Level) -> list[Check]:
        """None."""
        return []


class Labels:
    """Whether labels tell rows apart."""

    def __init__(self) -> None:
        self.counts: Counter[Any] = Counter()

    def add(self, values: Mapping[str, Any]) -> None:
        """Count its label."""
        self.counts[values["label"]] += 1

    def checks(self, constant: Level) -> list[Check]:
        """The share of the most frequent label."""
        total = self.counts.total()
        if not total:
            return []
        (label, most), *_ = self.counts.most_common(1)
        numbers = {"labels": {_word(name): count for name, count in self.counts.most_common()}}
        said = ", ".join(f"{_word(name)} {share(count, total)}" for name, count in self.counts.most_common(6))
        said += f" and {len(self.counts) - 6} more" if len(self.counts) > 6 else ""
        if most == total:
            return [Check("labels", constant if total > 1 else Level.NOTE,
                          f"every row has the label {_word(label)}: there is nothing to tell apart",
                          "add rows with other labels", numbers)]  # fmt: skip
        if most >= _ONE_SIDED * total:
            fix = f"balance them, or compare with always answering {_word(label)}"
            return [Check("labels", Level.WARNING, f"lopsided labels: {said}", fix, numbers)]
        return [Check("labels", Level.OK, f"labels ({said})", numbers=numbers)]


class Scores:
    """Whether scores tell rows apart."""

    def __init__(self) -> None:
        self.scores = Lengths("d")
        self.least = self.most = 0.0

    def add(self, values: Mapping[str, Any]) -> None:
        """Take its score."""
        self.scores.add(values["score"])

    def checks(self, constant: Level) -> list[Check]:
        """Their spread."""
        found = self.scores.spread()
        if found is None:
            return []
        numbers = {"scores": found.to_json()}
        if found.min == found.max:
            return [Check("scores", constant if found.count > 1 else Level.NOTE,
                          f"every row has the score {found.min:g}: there is nothing to tell apart",
                          "choose another column, or another data set", numbers)]  # fmt: skip
        said = f"scores (min {found.min:g}, median {found.median:g}, max {found.max:g})"
        return [Check("scores", Level.OK, said, numbers=numbers)]


class Choices:
    """Whether the place of the right choice gives it away."""

    def __init__(self) -> None:
        self.answers: Counter[int] = Counter()

    def add(self, values: Mapping[str, Any]) -> None:
        """Count where the right choice stands."""
        self.answers[values["answer"]] += 1

    def checks(self, constant: Level) -> list[Check]:
        """The share of the most frequent place."""
        total = self.answers.total()
        if not total:
            return []
        (place, most), *_ = self.answers.most_common(1)
        numbers = {"answers": {str(at): count for at, count in sorted(self.answers.items())}}
        if most == total and total >= _FEW:
            return [Check("answer_place", Level.WARNING, f"the right choice is always number {place}, from 0",
                          "shuffle the choices before they are shown together; "
                          "scoring each by its likelihood is not touched", numbers)]  # fmt: skip
        return [Check("answer_place", Level.OK,
                      f"the right choice stands in {rows(len(self.answers), 'place')}",
                      numbers=numbers)]  # fmt: skip


class Questions:
    """Whether the answers can be found in their contexts."""

    def __init__(self) -> None:
        self.with_context = self.found = 0

    def add(self, values: Mapping[str, Any]) -> None:
        """Look for its first answer."""
        context = values["context"]
        if context.strip():
            self.with_context += 1
            self.found += any(answer in context for answer in values["answers"])

    def checks(self, constant: Level) -> list[Check]:
        """The share whose answer stands in the context."""
        if not self.with_context:
            return []
        numbers = {"with_context": self.with_context, "answer_in_context": self.found}
        said = f"{share(self.found, self.with_context)} of the contexts hold an answer"
        level = Level.OK if self.found >= _ONE_SIDED * self.with_context else Level.WARNING
        fix = "check which column is the context" if level else ""
        return [Check("answers", level, said, fix, numbers)]


def _word(label: Any) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)
