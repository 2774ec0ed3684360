"""How well a reward model orders pairs of answers."""

from typing import TYPE_CHECKING, Literal

from tempering.config import added_field
from tempering.data.rows import RowType
from tempering.errors import DataError
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings


class PreferencesBenchmark(Benchmark):
    """Share of pairs that a reward model orders as labelled."""

    kind: Literal["preferences"]
    by: str | None = added_field(
        None, description="column of the rows, such as flaw: the accuracy on each of its values too"
    )

    row_types = (RowType.PREFERENCE,)
    measures = "scorer"
    convention = (
        "Raw scores of the chosen and the rejected answer to the same prompt; a tie counts ½. With `by`, "
        "`accuracy[VALUE]` is that of the pairs with this value in the column."
    )
    metrics = (Measure("accuracy", "Pairs ordered right", "share of pairs", baseline=0.5),)

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Which side of each pair has the higher score."""
        assert tools.scorer is not None
        prompts = [[dict(turn) for turn in row["prompt"]] for row in rows]
        chosen, rejected = (
            tools.scorer(prompts, [row[side][-1]["content"] for row in rows])
            for side in ("chosen", "rejected")
        )
        points = [
            1.0 if score > rival else 0.5 if score == rival else 0.0
            for score, rival in zip(chosen, rejected, strict=True)
        ]
        findings.add("accuracy", points)
        # Where the pairs say what tells their sides apart: which of it the model has learnt.
        values = [] if self.by is None else [_value(row, self.by) for row in rows]
        for value in dict.fromkeys(values):
            part = [point if own == value else None for point, own in zip(points, values, strict=True)]
            findings.add(f"accuracy[{value}]", part)


def _value(row: Row, column: str) -> str:
    if column not in row:
        raise DataError(
            f"the benchmark's `by` is {column!r}, and the pairs have no such column",
            expected=f"one of {', '.join(sorted(row))}",
            fix="correct `by`, or use a data set that has the column",
        )
    return str(row[column])
