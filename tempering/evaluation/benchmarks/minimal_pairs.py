"""Two sentences of which one is right (BLiMP, Warstadt et al. 2020, https://arxiv.org/abs/1912.00582)."""

from typing import TYPE_CHECKING, Literal

from tempering.config import added_field
from tempering.data.rows import RowType
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools
from tempering.evaluation.conventions import Scoring, points, totals
from tempering.evaluation.paradigms import add_accuracy, paradigms_of
from tempering.evaluation.predictions import keep_predictions

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings


class MinimalPairsBenchmark(Benchmark):
    """Share of pairs whose good sentence is likelier, over all pairs and over paradigms; scored in fp32."""

    kind: Literal["minimal_pairs"]
    scoring: Scoring = added_field(
        "honest", description="tokens and ties: honest, official (BabyLM), bos or lmeval"
    )

    version = 4
    row_types = (RowType.MINIMAL_PAIR,)
    predicts = True
    convention = (
        "Sum of a sentence's log-probabilities as running text, with EOS or the tokenizer's BOS as first "
        "context, in fp32; a tie counts ½. Another `scoring` than `honest`: see below. `accuracy`: over "
        "pairs; `accuracy[PARADIGM]`: over those of a paradigm; `macro_accuracy`: the mean over paradigms."
    )
    metrics = (
        Measure("accuracy", "Minimal pairs", "share of pairs", baseline=0.5),
        Measure("macro_accuracy", "Minimal pairs, mean of paradigms", "share of pairs", baseline=0.5),
    )

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Which sentence of each pair has the higher log-probability."""
        assert tools.policy is not None
        sides = [(row["sentence_good"], row["sentence_bad"]) for row in rows]
        pairs = [[("", good), ("", bad)] for good, bad in sides]
        scores = totals(tools.policy, pairs, self.scoring, tools)
        right = [points(line, 0, self.scoring) for line in scores]
        add_accuracy(findings, right, paradigms_of(rows))
        keep_predictions(findings, rows, scores, sides)
