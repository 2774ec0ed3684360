"""What the numbers say, in words: one sentence for the top of the page, and what did not help.

Every word follows from the figures. Two intervals that overlap are not called a gain; where rows
can be paired, the paired interval decides whether a stage helped.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tempering.report.names import Model
from tempering.report.numbers import decimals, guess, interval, number
from tempering.report.pairing import Difference
from tempering.report.table import Figure, Line

_PARTS = 6  # named; of more, their number
_NOTHING = "Nothing was measured: this page shows how the models were made, not how good they are."


@dataclass(frozen=True)
class Verdict:
    """`sentence` for the top, `notes` below it; `best` is the best aligned model, else the best one."""

    sentence: str
    notes: Sequence[str] = ()
    best: Figure | None = None


def judge(
    line: Line | None,
    cast: Mapping[str, Model],
    deltas: Mapping[str, Difference],
    every: Sequence[Line] = (),
    *,
    learned: bool = True,
) -> Verdict:
    """The verdict on the headline metric; of `every` other metric, where no model is better than guessing.

    Args:
        learned: models were trained on what gives the headline metric, if a judge does.
    """
    if line is None:
        return Verdict(_NOTHING)
    policies = [key for key in cast if key in line.figures]
    aligned = [key for key in policies if cast[key].aligned]
    best = line.best(aligned) or line.best(policies)
    if best is None:
        return Verdict(f"{line.measure.label} could not be measured for any model.")
    base = _start(best.model, [key for key in policies if key not in aligned], cast)
    sentence = _sentence(line, best, len(aligned), line.figures[base] if base else None, cast, deltas)
    others = [other for other in every if other is not line]
    caveat = line.measure.caveat if learned else ""
    notes = [*_notes(line, cast, deltas, best), *([caveat] if caveat else [])]
    return Verdict(sentence, notes + _guesses([line, *others], cast), best)


def _start(key: str, starts: Sequence[str], cast: Mapping[str, Model]) -> str | None:
    """What alignment began with: the model's nearest ancestor in `starts`, by default the last of them."""
    parent = cast[key].parent
    while parent is not None and parent not in starts:
        parent = cast[parent].parent if parent in cast else None
    return parent or (starts[-1] if starts else None)


def _sentence(
    line: Line,
    best: Figure,
    aligned: int,
    base: Figure | None,
    cast: Mapping[str, Model],
    deltas: Mapping[str, Difference],
) -> str:
    places = decimals([value for item in line.figures.values() for value in item.numbers])
    name, metric = cast[best.model].label, _in_a_sentence(line.measure.label)
    figure = _with_interval(best, places)
    # Without an aligned model there is no claim about alignment.
    if not cast[best.model].aligned:
        count = sum(item.value is not None for item in line.figures.values())
        if count < 2:
            return f"{name} reaches {figure} in {metric}; there is no other model to compare it with."
        return f"{name} is the best of {count} models in {metric}: {figure}; none of them is an aligned one."
    # Else: which is best, and how it compares with the model before alignment.
    lead = f"{name} reaches {figure} in {metric}"
    if aligned > 1:
        lead = f"{name} is the best of {aligned} aligned models in {metric}: {figure}"
    if base is None or base.value is None:
        return f"{lead}; there is no model before alignment to compare it with."
    return f"{lead}{_against(best, base, cast, places, deltas.get(best.model))}"


def _against(
    best: Figure, base: Figure, cast: Mapping[str, Model], places: int, delta: Difference | None
) -> str:
    name, figure = f"{cast[base.model].label}’s", _with_interval(base, places, "")
    if None in (best.low, best.high, base.low, base.high):
        return f", against {name} {figure}; without both intervals nothing more can be said."
    side = best.separated(base)
    above, below = ("below", "above") if best.better == "lower" else ("above", "below")
    if side > 0:
        return f", wholly {above} {name} {figure}."
    if side < 0:
        return f", wholly {below} {name} {figure}: alignment did not help."
    text = f", but its interval overlaps {name} {figure}"
    if delta is not None and delta.against == base.model and delta.effect != "unclear":
        return f"{text}; row by row the difference is {_delta(delta)}, {delta.effect}."
    return f"{text}: no clear gain from alignment."


def _notes(
    line: Line, cast: Mapping[str, Model], deltas: Mapping[str, Difference], best: Figure
) -> list[str]:
    """Stages that did not help, plainly."""
    # Stages that made it worse, or not clearly better.
    notes = []
    for key, delta in deltas.items():
        name, against = cast[key].label, cast[delta.against].label
        if delta.effect == "worse":
            notes.append(f"{name} made it worse: {_delta(delta)} against {against}.")
        elif delta.effect == "unclear":
            notes.append(f"{name} did not clearly help: {_delta(delta)} against {against}.")
    # Aligned models that the best one does not clearly beat.
    rivals = [
        cast[key].label
        for key, item in line.figures.items()
        if key != best.model and cast[key].aligned and None not in item.numbers and not best.separated(item)
    ]
    if rivals and cast[best.model].aligned:
        name = cast[best.model].label
        notes.append(f"{name} is not clearly ahead of {_listed(rivals)}: their intervals overlap.")
    return notes


def _guesses(every: Sequence[Line], cast: Mapping[str, Model]) -> list[str]:
    """The metrics, by benchmark, in which no model is clearly better than guessing."""
    groups: dict[tuple[str, str], dict[str, list[str]]] = {}
    totals = Counter((line.benchmark, line.measure.label.partition(": ")[0]) for line in every if line.whole)
    for line in every:
        sides = {side for item in line.figures.values() if (side := item.versus_guess) is not None}
        if line.measure.even or not sides or 1 in sides:
            continue
        # Who, and how bad; one model is called by its name.
        subject, worse = "No model is clearly better than guessing", sides == {-1}
        if len(line.figures) == 1:
            name = cast[next(iter(line.figures))].label
            subject = f"{name} is {'worse' if worse else 'not clearly better'} than guessing"
        elif worse:
            subject = "Every model is worse than guessing"
        # In what: the parts of a metric stand together, "" for all of its rows.
        metric, _, part = line.measure.label.partition(": ")
        parts = groups.setdefault((f"{subject} ({guess(line.baseline)})", line.benchmark), {})
        parts.setdefault(metric, []).append(part)
    return [
        f"{words} in {_listed([_with_parts(*item, totals[where, item[0]]) for item in metrics.items()])} "
        f"of {where}."
        for (words, where), metrics in groups.items()
    ]


def _with_parts(metric: str, parts: Sequence[str], total: int) -> str:
    """The metric, and which of its parts; of many only how many of how many."""
    named = [part for part in parts if part]
    if not named:
        return _in_a_sentence(metric)
    words = ", ".join(named) if len(named) <= _PARTS else _share(len(named), total)
    whole = "as a whole and in " if "" in parts else ""
    return f"{_in_a_sentence(metric)} ({whole}{words})"


def _share(count: int, total: int) -> str:
    return f"all {total} parts" if count == total else f"{count} of {total} parts"


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _in_a_sentence(label: str) -> str:
    """`Exact match` begins small; `F1`, `KL` and `SQuAD F1` stay as they are."""
    first = label.partition(" ")[0]
    named = first[1:] != first[1:].lower() or first[1:].isdigit()
    return label if named else label[0].lower() + label[1:]


def _with_interval(item: Figure, places: int, prefix: str = "95% interval ") -> str:
    around = interval(item.low, item.high, places)
    return number(item.value, places) + (f" ({prefix}{around})" if around else "")


def _delta(delta: Difference) -> str:
    places = decimals([delta.mean, delta.low, delta.high], 2)
    around = interval(delta.low, delta.high, places, sign=True)
    return number(delta.mean, places, sign=True) + (f" ({around})" if around else "")
