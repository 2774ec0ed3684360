"""The page of a comparison, and its rows for `--json`.

The sides are A and B in tables and sentences: a run's id would fill a phone's screen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from markupsafe import Markup

from tempering.report.compare import Comparison, Delta
from tempering.report.names import label_of
from tempering.report.numbers import decimals, interval, number, visible
from tempering.report.page import render
from tempering.report.provenance import typed
from tempering.report.strips import strip
from tempering.report.svg import scale_for


@dataclass(frozen=True)
class Row:
    """One metric as the page shows it."""

    label: str
    metric: str
    benchmark: str
    better: str
    before: str
    after: str
    difference: str
    around: str
    effect: str
    note: str
    chart: Markup


@dataclass(frozen=True)
class Group:
    """The metrics of one model; `parts` open on demand."""

    model: str
    rows: Sequence[Row]
    parts: Sequence[Row]


def compare_page(comparison: Comparison) -> str:
    """The comparison as one self-contained page: the same artifacts give the same bytes."""
    sides = (comparison.before, comparison.after)
    models = dict.fromkeys(delta.model for delta in comparison.deltas)
    groups = []
    for model in models:
        whole = rows_of_model(comparison, model, parts=False)
        every = rows_of_model(comparison, model, parts=True)
        groups.append(Group(label_of(model), whole, [row for row in every if row not in whole]))
    # Fields that both have, and those that only one of them has.
    both = [change for change in comparison.changes if None not in (change.before, change.after)]
    only = {
        "A": [(change.field, change.before) for change in comparison.changes if change.after is None],
        "B": [(change.field, change.after) for change in comparison.changes if change.before is None],
    }
    return render(
        "compare.html.jinja",
        {
            "sides": [
                (letter, visible(side.name), visible(typed(side.command)))
                for letter, side in zip("AB", sides, strict=True)
            ],
            "summary": summary(comparison),
            "changes": [_shown(change.field, change.before, change.after) for change in both],
            "lone": {letter: [_shown(*texts) for texts in fields] for letter, fields in only.items()},
            "groups": groups,
            "answers": {label_of(key): beside for key, beside in comparison.answers.items()},
        },
    )


def _shown(*texts: str | None) -> list[str]:
    return [visible(text or "", 300) for text in texts]


def rows_of_model(comparison: Comparison, model: str, *, parts: bool) -> list[Row]:
    """The metrics of one model; with `parts` also those of parts of the rows."""
    deltas = [delta for delta in comparison.deltas if delta.model == model]
    return [_row(delta) for delta in deltas if parts or not delta.line.whole]


def summary(comparison: Comparison) -> str:
    """The comparison in a sentence or two."""
    whole = [delta for delta in comparison.deltas if not delta.line.whole]
    if not whole:
        text = "There is no metric that both have."
    else:
        better, worse = comparison.effects("better"), comparison.effects("worse")
        unclear = comparison.effects("unclear")
        text = (
            f"Of {len(whole)} metrics that both have, B is clearly better in {better} "
            f"and clearly worse in {worse}; {unclear} show no clear difference."
        )
        same = comparison.effects("same")
        text += f" In {same} no row differs." if same else ""
        rest = len(whole) - better - worse - unclear - same
        text += f" {rest} cannot be paired row by row." if rest else ""
    count = len(comparison.changes)
    text += f" {count} setting{'s differ' if count != 1 else ' differs'}."
    if comparison.alone:
        text += f" Only one of them has {', '.join(map(label_of, comparison.alone))}."
    return text


def metric_rows(deltas: Iterable[Delta]) -> list[dict[str, Any]]:
    """The differences for `--json`."""
    return [
        {
            "model": delta.model,
            "benchmark": delta.line.benchmark,
            "metric": delta.line.whole or delta.line.metric,
            "part": delta.line.metric.partition("[")[2].removesuffix("]") or None,
            "before": delta.before.value,
            "after": delta.after.value,
            "difference": delta.difference.mean if delta.difference else None,
            "low": delta.difference.low if delta.difference else None,
            "high": delta.difference.high if delta.difference else None,
            "n": delta.difference.n if delta.difference else 0,
            "better": delta.line.better,
            "effect": delta.effect or None,
            "convention": delta.line.convention,
            "note": delta.note or None,
        }
        for delta in deltas
    ]


def document(comparison: Comparison) -> dict[str, Any]:
    """All of a comparison for `--json`."""
    prompts = [
        {
            "model": model,
            "benchmark": beside.benchmark,
            "prompt": question.prompt,
            **{answer.model.key: "".join(text for text, _ in answer.pieces) for answer in question.answers},
        }
        for model, beside in comparison.answers.items()
        for question in beside.questions
    ]
    return {
        "before": comparison.before.name,
        "after": comparison.after.name,
        "config": [asdict(change) for change in comparison.changes],
        "metrics": metric_rows(comparison.deltas),
        "prompts": prompts,
    }


def _row(delta: Delta) -> Row:
    values = [delta.before.value, delta.after.value]
    places = decimals(values)
    change = delta.difference
    bounds = (change.mean, change.low, change.high) if change else (None, None, None)
    spread = decimals(bounds, 2)
    label = delta.line.part if delta.line.whole else delta.line.measure.label
    if delta.line.whole:
        label = f"{delta.line.measure.label.removesuffix(f': {delta.line.part}')}: {delta.line.part}"
    color = {"better": "better", "worse": "worse"}.get(delta.effect, "m-none")
    scale = scale_for([0.0, *bounds])
    chart = strip(bounds, scale, color=color, name=f"Difference in {label}", baseline=0.0)
    return Row(
        label,
        delta.line.metric,
        delta.line.benchmark,
        delta.line.better,
        number(delta.before.value, places),
        number(delta.after.value, places),
        number(bounds[0], spread, sign=True),
        interval(bounds[1], bounds[2], spread, sign=True),
        delta.effect,
        delta.note,
        chart if delta.effect else Markup(""),
    )
