"""Two runs, models or evaluations beside each other: settings, numbers and answers.

Both sides have answered the same rows, as a rule: a difference is then the mean of the rows' differences with
its bootstrap interval over the rows (see `tempering.evaluation.bootstrap`). Where the data of a
benchmark are not the same, row 7 of the one is not row 7 of the other; another reward model has another
scale (see `yardsticks`); and a number that is no mean of its rows, such as a loss over all tokens, is not the
mean of their differences. No interval then.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tempering.artifacts.kinds import EvaluationArtifact
from tempering.report.answers import SideBySide, side_by_side
from tempering.report.names import Model, label_of
from tempering.report.pairing import Difference, difference, is_mean, scores_of
from tempering.report.table import Figure, Line, described, figures, lines
from tempering.report.yardsticks import other_yardstick


@dataclass(frozen=True)
class Side:
    """One of the two: its name, its settings, and what was measured of each model."""

    name: str
    config: Mapping[str, Any]
    evaluations: Mapping[str, EvaluationArtifact] = field(default_factory=dict)
    command: str = ""


@dataclass(frozen=True)
class Change:
    """A setting that is not the same; None on a side that does not have it."""

    field: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Delta:
    """One metric of one model on both sides, and the second less the first."""

    model: str
    line: Line
    before: Figure
    after: Figure
    difference: Difference | None
    note: str = ""

    @property
    def effect(self) -> str:
        """`better`, `worse`, `unclear`, `same` where no row differs; "" without an interval."""
        change = self.difference
        if change is None or change.low is None:
            return ""
        return "same" if change.low == change.high == 0 else change.effect


@dataclass(frozen=True)
class Comparison:
    """What differs between two sides."""

    before: Side
    after: Side
    changes: Sequence[Change]
    deltas: Sequence[Delta]
    answers: Mapping[str, SideBySide]
    alone: Sequence[str] = ()
    """Models that only one side has measured."""

    def effects(self, effect: str) -> int:
        """How many metrics of all rows have this effect."""
        return sum(delta.effect == effect for delta in self.deltas if not delta.line.whole)


def compare(before: Side, after: Side, prompts: int = 3) -> Comparison:
    """Compare two sides model by model, as they are called."""
    shared = [key for key in before.evaluations if key in after.evaluations]
    alone = [key for key in {**before.evaluations, **after.evaluations} if key not in shared]
    deltas, answers = [], {}
    for key in shared:
        sides = before.evaluations[key], after.evaluations[key]
        deltas += _deltas(key, *sides)
        models = {
            "before": Model("before", "A", "m-0"),
            "after": Model("after", "B", "m-1"),
        }
        beside = side_by_side(dict(zip(models, sides, strict=True)), models, prompts)
        if beside is not None:
            answers[key] = beside
    return Comparison(before, after, changes(before.config, after.config), deltas, answers, alone)


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Every setting that is not the same, to the field."""
    old, new = dict(_flat(before)), dict(_flat(after))
    names = dict.fromkeys([*old, *new])
    return [Change(name, old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)]


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "null" if value is None else str(value)


def _deltas(key: str, before: EvaluationArtifact, after: EvaluationArtifact) -> list[Delta]:
    sides = {"before": before, "after": after}
    rows = {side: scores_of(artifact) for side, artifact in sides.items()}
    deltas = []
    for line in lines(figures(sides), described(sides)):
        if len(line.figures) < 2:
            continue
        old, new = line.figures["before"], line.figures["after"]
        note = other_yardstick(line, before, after)
        values = [rows[side].get((line.benchmark, line.metric), {}) for side in sides]
        if not note and not all(map(is_mean, (old.value, new.value), values)):
            note = "no mean of its rows"
        change = None if note else difference(key, label_of(key), values[1], values[0], line.better)
        if change is None and old.value is not None and new.value is not None:
            # The difference without an interval.
            change = Difference(key, label_of(key), new.value - old.value, None, None, 0, line.better)
        deltas.append(Delta(key, line, old, new, change, note))
    return deltas
