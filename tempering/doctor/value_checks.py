"""What the rows of a type must have for training or measuring on them to mean anything.

A constant label or score teaches nothing and measures nothing. Where only the beginning of a data set
was seen it may be sorted, so that a constant is then a warning, not a verdict.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tempering.data.rows import RowType, Values
from tempering.doctor.check import Check, Level, rows, share
from tempering.doctor.counters import Counts, Numbers, Spread

_COUNTED = {
    RowType.CLASSIFICATION: "label",
    RowType.UNPAIRED_PREFERENCE: "label",
    RowType.MULTIPLE_CHOICE: "answer",
}
_FEW = 10
_ONE_SIDED = 0.9
_SHOWN = 6


def count_values(counts: Counts, row_type: RowType, values: Values) -> None:
    """Count what tells rows of this type apart."""
    if row_type in _COUNTED:
        counts.values[values[_COUNTED[row_type]]] += 1
    elif row_type is RowType.SCORED_CONVERSATION:
        counts.scores.add(values["score"])
    elif row_type is RowType.QUESTION and values["context"].strip():
        answered = any(answer in values["context"] for answer in values["answers"])
        counts.named.update(with_context=1, answer_in_context=int(answered))


def value_checks(counts: Counts, row_type: RowType, constant: Level) -> Iterator[Check]:
    """What tells rows apart; `constant` is how bad one and the same value in every row is."""
    scores = counts.scores.spread()
    if counts.values:
        is_choice = row_type is RowType.MULTIPLE_CHOICE
        yield _choices(counts.values) if is_choice else _labels(counts.values, constant)
    elif scores:
        yield _scores(scores, constant)
        yield from _far_scores(counts.scores)
    elif counts.named["with_context"]:
        yield _answers(counts)


def _labels(labels: Counter[Any], constant: Level) -> Check:
    """Whether labels tell rows apart: the share of the most frequent one."""
    total = labels.total()
    common = [(_word(label), count) for label, count in labels.most_common()]
    name, most = common[0]
    numbers = {"labels": dict(common)}
    shares = ", ".join(f"{label} {share(count, total)}" for label, count in common[:_SHOWN])
    shares += f" and {len(common) - _SHOWN} more" if len(common) > _SHOWN else ""
    if most == total:
        level = constant if total > 1 else Level.NOTE
        text = f"every row has the label {name}: there is nothing to tell apart"
        return Check("labels", level, text, "add rows with other labels", numbers)
    if most >= _ONE_SIDED * total:
        fix = f"balance them, or compare with always answering {name}"
        return Check("labels", Level.WARNING, f"lopsided labels: {shares}", fix, numbers)
    return Check("labels", Level.OK, f"labels ({shares})", numbers=numbers)


def _scores(scores: Spread, constant: Level) -> Check:
    """Whether scores tell rows apart: their spread."""
    numbers = {"scores": scores}
    if scores["min"] == scores["max"]:
        level = constant if scores["count"] > 1 else Level.NOTE
        text = f"every row has the score {scores['min']:g}: there is nothing to tell apart"
        return Check("scores", level, text, "choose another column, or another data set", numbers)
    text = f"scores (min {scores['min']:g}, median {scores['median']:g}, max {scores['max']:g})"
    return Check("scores", Level.OK, text, numbers=numbers)


def _far_scores(scores: Numbers) -> Iterator[Check]:
    """Scores that cannot be of the same scale as the others: 1e9 among one to five."""
    far, low, high = scores.far()
    if far:
        listing = ", ".join(f"{score:g}" for score in far[:_SHOWN])
        more = f" and {len(far) - _SHOWN} more" if len(far) > _SHOWN else ""
        scale = f"the scale of the others ({low:g} to {high:g})"
        text = f"{rows(len(far), 'score')} far outside {scale}: {listing}{more}"
        fix = "correct them, or leave these rows out"
        yield Check("score_scale", Level.WARNING, text, fix, {"rows": len(far), "scale": [low, high]})


def _choices(places: Counter[int]) -> Check:
    """Whether the place of the right choice gives it away: the share of the most frequent place."""
    total = places.total()
    (place, most), *_ = places.most_common(1)
    numbers = {"answers": {str(place): count for place, count in sorted(places.items())}}
    if most == total and total >= _FEW:
        text = f"the right choice is always number {place}, from 0"
        fix = (
            "shuffle the choices before they are shown together; "
            "scoring each by its likelihood is not touched"
        )
        return Check("answer_place", Level.WARNING, text, fix, numbers)
    text = f"the right choice stands in {rows(len(places), 'place')}"
    return Check("answer_place", Level.OK, text, numbers=numbers)


def _answers(counts: Counts) -> Check:
    """Whether the answers can be found in their contexts."""
    numbers = counts.of("with_context", "answer_in_context")
    contexts, answered = numbers.values()
    level = Level.OK if answered >= _ONE_SIDED * contexts else Level.WARNING
    fix = "check which column is the context" if level else ""
    return Check(
        "answers", level, f"{share(answered, contexts)} of the contexts hold an answer", fix, numbers
    )


def _word(label: Any) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)
