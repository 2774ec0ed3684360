"""Two sentences of which one is right (BLiMP, Warstadt et al. 2020, https://arxiv.org/abs/1912.00582)."""

from typing import TYPE_CHECKING, Literal

from tempering.data.rows import RowType
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings


class MinimalPairsBenchmark(Benchmark):
    """Share of pairs whose good sentence is likelier; ties count half, scored in fp32."""

    kind: Literal["minimal_pairs"]

    version = 2
    row_types = (RowType.MINIMAL_PAIR,)
    convention = (
        "Sum of a sentence's log-probabilities as running text, with EOS or the tokenizer's BOS as first "
        "context, in fp32; a tie counts ½."
    )
    metrics = (Measure("minimal_pairs", "Minimal pairs", "share of pairs", baseline=0.5),)

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Which sentence of each pair has the higher log-probability."""
        assert tools.policy is not None
        model = tools.policy
        sides = [row[key] for row in rows for key in ("sentence_good", "sentence_bad")]
        lines = model.logprobs([model.document(text) for text in sides])
        sums = [sum(line) for line in lines]
        right = [
            1.0 if good > bad else 0.5 if good == bad else 0.0
            for good, bad in zip(sums[::2], sums[1::2], strict=True)
        ]
        findings.add("minimal_pairs", right)
