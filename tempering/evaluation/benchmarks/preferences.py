"""How well a reward model orders pairs of answers."""

from typing import TYPE_CHECKING, Literal

from tempering.data.rows import RowType
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings


class PreferencesBenchmark(Benchmark):
    """Share of pairs that a reward model orders as labelled."""

    kind: Literal["preferences"]

    row_types = (RowType.PREFERENCE,)
    measures = "scorer"
    convention = "Raw scores of the chosen and the rejected answer to the same prompt; a tie counts ½."
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
