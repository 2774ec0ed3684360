"""Whether a model prefers the form of a made-up word that people prefer: the WUG tests of BabyLM.

Adjective nominalisation (Hofmann et al. 2024, https://arxiv.org/abs/2411.07990) and past tense (Weissweiler
et al. 2023, https://arxiv.org/abs/2310.15113). The model's preference is the probability of the first of the
two sentences; the score is its rank correlation with the share of people.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from tempering.config import added_field
from tempering.data.rows import RowType
from tempering.errors import DataError
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools
from tempering.evaluation.conventions import Scoring, totals
from tempering.evaluation.predictions import keep_predictions

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings


class WordFormsBenchmark(Benchmark):
    """Rank correlation of the model's preference for one of two word forms with that of people."""

    kind: Literal["word_forms"]
    scoring: Scoring = added_field(
        "honest", description="tokens and rounding: honest, official (BabyLM), bos or lmeval"
    )

    row_types = (RowType.WORD_FORMS,)
    predicts = True
    convention = (
        "Spearman's ρ between the share of people who chose the first form and the model's probability of "
        "its sentence against the other, each scored as in `minimal_pairs`. `honest` ranks by the difference "
        "of the log-probabilities; any other `scoring`, as the official tool, by the probability in fp32, "
        "where large differences tie at 0 or 1."
    )
    metrics = (Measure("spearman", "As people choose", "rank correlation, −1 to 1", baseline=0.0),)

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """The correlation over all pairs; the model's probability of each first form in `predictions`."""
        import numpy as np
        from scipy.stats import spearmanr

        assert tools.policy is not None
        forms = [row["forms"] for row in rows]
        scores = totals(tools.policy, [[("", form) for form in pair] for pair in forms], self.scoring, tools)

        # The model's preference, and what people chose.
        leads = [first - second for first, second in scores]
        shares = [None if math.isnan(sum(line)) else _probability(line) for line in scores]
        places = [place for place, share in enumerate(shares) if share is not None]
        preferences = leads if self.scoring == "honest" else shares
        chosen = np.array([preferences[place] for place in places], dtype=float)
        people = np.array([rows[place]["ratio"] for place in places], dtype=float)
        if len({*chosen}) < 2 or len({*people}) < 2:
            raise DataError(
                f"all {len(places)} rows of the benchmark {findings.name} have the same preference, the "
                "model's or that of people: there is no correlation",
                expected="rows with different ratios",
                fix="use all rows of the test",
            )

        def statistic(sample: Any) -> list[float]:
            return [float(spearmanr(chosen[sample], people[sample])[0])]

        findings.add_statistics(["spearman"], statistic, len(places), [len(places)])
        keep_predictions(findings, rows, scores, forms, shares)


def _probability(scores: Sequence[float]) -> float:
    """Of the first of two sentences, in fp32 as the official tool computes it."""
    import numpy as np

    logits = np.array(scores, dtype=np.float32)
    shares = np.exp(logits - logits.max())
    return float(shares[0] / shares.sum())
