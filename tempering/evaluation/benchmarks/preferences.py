"""How well a reward model orders pairs of answers, and how well its margins say how sure it may be.

A reward model that prefers whatever is longer orders most published pairs right: so the accuracy is told
apart by whether the longer answer is the chosen one (Singhal et al. 2023, https://arxiv.org/abs/2310.03716).
"""

from collections.abc import Sequence
from math import isnan
from typing import TYPE_CHECKING, Literal

from tempering.config import added_field
from tempering.data.rows import RowType
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools, column_values

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings

_LONGER, _SHORTER = "longer_chosen", "shorter_chosen"


class PreferencesBenchmark(Benchmark):
    """Share of pairs that a reward model orders as labelled, its log loss, calibration and margins."""

    kind: Literal["preferences"]
    by: str | None = added_field(
        None, description="column of the rows, such as flaw: the accuracy on each of its values too"
    )

    version = 2
    row_types = (RowType.PREFERENCE,)
    measures = "scorer"
    convention = (
        "Raw scores of the chosen and the rejected answer to the same prompt; a tie counts ½. The margin, "
        "chosen less rejected, is read as Bradley-Terry's logit: `nll` is -ln σ(margin), `brier` "
        "(1 - σ(margin))², `ece` |accuracy - confidence| over ten bins of equal width from ½ to 1, weighted "
        "by their pairs. `accuracy[longer_chosen]` is that of the pairs whose chosen answer has more "
        "characters, `accuracy[shorter_chosen]` fewer. With `by`, `accuracy[VALUE]` is that of the pairs "
        "with this value in the column."
    )
    metrics = (
        Measure("accuracy", "Pairs ordered right", "share of pairs", baseline=0.5),
        Measure("tied_share", "Tied pairs", "share of pairs", better="lower"),
        Measure("margin", "Margin", "logit per pair, chosen less rejected"),
        Measure("nll", "Log loss", "nats per pair", better="lower", baseline=0.6931),
        Measure("brier", "Brier score", "0 to 1 per pair", better="lower", baseline=0.25),
        Measure("ece", "Calibration error", "0 to 1, over ten bins", better="lower"),
    )

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Which side of each pair has the higher score, and by how much."""
        from tempering.evaluation import calibration

        assert tools.scorer is not None
        parts = [] if self.by is None else column_values(rows, self.by)

        # Score both sides.
        prompts = [[dict(turn) for turn in row["prompt"]] for row in rows]
        chosen, rejected = (
            tools.scorer(prompts, [row[side][-1]["content"] for row in rows])
            for side in ("chosen", "rejected")
        )
        margins = [score - rival for score, rival in zip(chosen, rejected, strict=True)]

        # The order: all pairs, by the longer side, and by what tells the sides apart.
        points = calibration.points(margins)
        findings.add("accuracy", points)
        _by_part(points, [_longer(row) for row in rows], findings)
        _by_part(points, parts, findings)

        # How sure it is, and how sure it may be.
        findings.add("tied_share", [None if isnan(margin) else float(margin == 0) for margin in margins])
        findings.add("margin", margins)
        findings.add("nll", calibration.log_losses(margins))
        findings.add("brier", calibration.brier_scores(margins))
        scored = sum(not isnan(margin) for margin in margins)
        findings.add_value("ece", *calibration.calibration_error(margins), scored)
        findings.keep("reliability", (item.row() for item in calibration.reliability(margins)))


def _by_part(points: list[float], parts: Sequence[str | None], findings: "Findings") -> None:
    """The accuracy on each part of the pairs; a pair of part None is in none."""
    for name in dict.fromkeys(part for part in parts if part is not None):
        own = [point if part == name else None for point, part in zip(points, parts, strict=True)]
        findings.add(f"accuracy[{name}]", own)


def _longer(row: Row) -> str | None:
    """Whether the chosen answer is the longer one, in characters; None where both are as long."""
    chosen, rejected = (len(row[side][-1]["content"]) for side in ("chosen", "rejected"))
    return None if chosen == rejected else _LONGER if chosen > rejected else _SHORTER
