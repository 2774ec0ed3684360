"""A model's completions against a reference's of the same prompts: the metrics, and how they are added.

Each interval is a bootstrap over the prompts (see `paired`); where all prompts have one and the same outcome
shares and win rates get Wilson's, since a bootstrap would know no other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING

from tempering.evaluation.benchmarks.base import Measure, Row

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings

Values = Sequence[float | None]


def outcome_measures(*, judged: bool) -> tuple[Measure, ...]:
    """What comes of a win, a tie or a loss at each prompt.

    Args:
        judged: the reward model that scores completions decides, and not a judge of the benchmark's own.
    """
    unit, end = "share of completions", "" if judged else ", by the judge"
    share = Measure("win_share", f"Won{end}", unit, judged=judged, relative=True, named=not judged)
    even = replace(share, name="win_rate", label=f"Win rate{end}", baseline=0.5, even=True)
    return (
        even,
        replace(even, name="length_controlled_win_rate", label=f"Win rate at equal length{end}"),
        share,
        replace(share, name="tie_share", label=f"Tied{end}", better="lower"),
        replace(share, name="loss_share", label=f"Lost{end}", better="lower"),
    )


LENGTH_MEASURES = (
    Measure(
        "length_ratio",
        "Length, of the reference's",
        "characters of all completions over the reference's",
        better="lower",
        baseline=1.0,
        even=True,
        relative=True,
    ),
    Measure("ended_share", "Ended by itself", "share of completions"),
    Measure("empty_share", "Empty", "share of completions", better="lower"),
)


def partners(table: Sequence[Row], baseline: Mapping[int, Row]) -> list[Row | None]:
    """The baseline's row for each of ours; None where it did not answer the same prompt."""
    others = (baseline.get(row["row"]) for row in table)
    return [
        other if other is not None and other["prompt"] == row["prompt"] else None
        for row, other in zip(table, others, strict=True)
    ]


def same(row: Row, other: Row) -> bool:
    """Whether both wrote the same: a tie, whatever rounding makes of their scores."""
    return bool(row["completion"] == other["completion"] and row["ended"] == other.get("ended", True))


def add_mean(findings: "Findings", metric: str, values: Values, *, share: bool = False) -> None:
    """The mean of the values that are there; nothing where none is.

    Args:
        share: they are outcomes from 0 to 1.
    """
    from tempering.evaluation.metrics import wilson
    from tempering.evaluation.paired import estimate, mean

    counted = [float(value) for value in values if value is not None and isfinite(value)]
    if not counted:
        return
    value, interval = estimate(mean, counted)
    if share and set(counted) in ({0.0}, {1.0}):
        interval = wilson(sum(counted), len(counted))
    findings.add_value(metric, value, interval, len(counted))
    findings.keep(
        "scores", ({"metric": metric, "row": row, "value": value} for row, value in enumerate(values))
    )


def add_outcomes(findings: "Findings", points: Values, pairs: Sequence[tuple[Row, Row | None]]) -> None:
    """Win rates and shares from the points of each row: 1 for a win, ½ for a tie, 0 for a loss.

    Args:
        pairs: each row with the reference's, for their lengths.
    """
    from tempering.evaluation.metrics import wilson
    from tempering.evaluation.paired import estimate, length_controlled

    counted = [
        (point, len(row["completion"]) - len(other["completion"]))
        for point, (row, other) in zip(points, pairs, strict=True)
        if point is not None and other is not None
    ]
    if not counted:
        return
    add_mean(findings, "win_rate", points, share=True)
    wins, longer = zip(*counted, strict=True)
    rate, interval = estimate(length_controlled, wins, longer)
    if {*wins} in ({0.0}, {1.0}):
        interval = wilson(sum(wins), len(wins))
    findings.add_value("length_controlled_win_rate", rate, interval, len(counted))
    # Where a judge is unsure its points lie between, and say who is ahead.
    for metric, side in (("win_share", 1), ("tie_share", 0), ("loss_share", -1)):
        ahead = [None if point is None else (point > 0.5) - (point < 0.5) for point in points]
        outcomes = [None if sign is None else float(sign == side) for sign in ahead]
        add_mean(findings, metric, outcomes, share=True)


def add_lengths(findings: "Findings", pairs: Sequence[tuple[Row, Row | None]]) -> None:
    """How long the completions are beside the reference's, how many ended, how many say nothing."""
    from tempering.evaluation.paired import estimate, ratio

    findings.add("ended_share", [float(row["ended"]) for row, _ in pairs])
    findings.add("empty_share", [float(not row["completion"].strip()) for row, _ in pairs])
    sizes = [(len(row["completion"]), len(other["completion"])) for row, other in pairs if other is not None]
    if any(theirs for _, theirs in sizes):
        value, interval = estimate(ratio, *zip(*sizes, strict=True))
        findings.add_value("length_ratio", value, interval, len(sizes))
