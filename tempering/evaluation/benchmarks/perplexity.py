"""How surprised a model is by text: the mean negative log-likelihood per token."""

from statistics import fmean
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tempering.config import MOST_LENGTH
from tempering.data.rows import RowType
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings
    from tempering.generation.language_model import LanguageModel


class PerplexityBenchmark(Benchmark):
    """Mean negative log-likelihood per token (nats) of texts, or of completions given their prompts."""

    kind: Literal["perplexity"]
    max_length: int = Field(512, ge=8, le=MOST_LENGTH, description="texts are cut to this many tokens")

    row_types = (RowType.TEXT, RowType.PROMPT_COMPLETION, RowType.PREFERENCE)
    convention = (
        "Mean over rows of each row's mean per token, so that the interval is over rows; EOS is the first "
        "context of a text and the last token of text and completion; of preference rows the chosen answer."
    )
    metrics = (Measure("loss", "Loss", "nats per token", better="lower", rank=2),)

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Nats per token of each row."""
        assert tools.policy is not None
        model = tools.policy
        lines = model.logprobs([_split(model, row, self.max_length) for row in rows])
        findings.add("loss", [-fmean(line) for line in lines])


def _split(model: "LanguageModel", row: Row, max_length: int) -> tuple[list[int], list[int]]:
    """What stands before, and the tokens that are scored."""
    eos = model.tokenizer.eos_token_id
    if "text" in row:
        return [eos], (model.tokenizer(row["text"])["input_ids"] + [eos])[: min(max_length, model.room - 1)]
    messages, answer = (
        [dict(turn) for turn in turns] for turns in (row["prompt"], row.get("completion") or row["chosen"])
    )
    prompt, completion = model.pair(messages, answer)
    completion = completion[: min(max_length, model.room - 1)]
    return model.fitting(prompt[-max_length:], len(completion)), completion
