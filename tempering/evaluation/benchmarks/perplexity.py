"""How surprised a model is by text: the negative log-likelihood of its tokens, all of them."""

from collections.abc import Iterator
from itertools import chain
from statistics import fmean
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from tempering.config import MOST_LENGTH, added_field
from tempering.data.rows import RowType
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings
    from tempering.generation.language_model import LanguageModel

Span = tuple[list[int], list[int]]
"""Tokens that are read, and those after them that are scored."""


class PerplexityBenchmark(Benchmark):
    """Negative log-likelihood (nats) of texts, or of completions given their prompts."""

    kind: Literal["perplexity"]
    max_length: int = Field(
        512, ge=8, le=MOST_LENGTH, description="tokens of a window; longer texts are scored in several"
    )
    stride: int | None = added_field(
        None, ge=1, description="tokens that each further window scores; null: half of a window"
    )

    version = 2
    row_types = (RowType.TEXT, RowType.PROMPT_COMPLETION, RowType.PREFERENCE)
    convention = (
        "`loss`: over all tokens; `loss_per_row`: the mean over rows of each row's mean. EOS or the "
        "tokenizer's BOS is the first context of a text, EOS the last token of text and completion; of "
        "preference rows the chosen answer. Every token counts once: what is longer than a window, of "
        "`max_length` tokens or as many as the model has positions for, is scored in several that move on "
        "by `stride`, so that a token after the first window has at least a window less a stride before "
        "it. Of a prompt the last `max_length` tokens are read."
    )
    metrics = (
        Measure("loss", "Loss per token", "nats per token, over all tokens", better="lower", rank=2),
        Measure("loss_per_row", "Loss, mean of rows", "nats per token and row", better="lower", rank=3),
    )

    @model_validator(mode="after")
    def _moves_less_than_a_window(self) -> Self:
        if self.stride is not None and self.stride > self.max_length:
            raise ValueError(
                f"stride {self.stride} is more than max_length {self.max_length}; fix: at most max_length"
            )
        return self

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Nats per token, over all tokens and over rows."""
        assert tools.policy is not None
        model = tools.policy

        # Score every token of every row once, in as many windows as it takes.
        window = min(self.max_length, model.room - 1)
        step = min(self.stride or (window + 1) // 2, window)
        spans = [[*windows(*_split(model, row, self.max_length), window, step, model)] for row in rows]
        lines = iter(model.logprobs([*chain(*spans)]))
        scored = [[*chain(*(next(lines) for _ in pieces))] for pieces in spans]

        # Both means, with the tokens of a row as its weight or without.
        losses = [-fmean(line) for line in scored]
        findings.add("loss", losses, weights=[len(line) for line in scored])
        findings.add("loss_per_row", losses)


def _split(model: "LanguageModel", row: Row, max_length: int) -> Span:
    """What stands before, and the tokens that are scored."""
    if "text" in row:
        before, ids = model.document(row["text"])
        return before, [*ids, model.tokenizer.eos_token_id]
    messages, answer = (
        [dict(turn) for turn in turns] for turns in (row["prompt"], row.get("completion") or row["chosen"])
    )
    prompt, completion = model.pair(messages, answer)
    return prompt[-max_length:], completion


def windows(
    before: list[int], scored: list[int], window: int, step: int, model: "LanguageModel"
) -> Iterator[Span]:
    """The spans that score each token once: the first of `window` tokens, each further one of `step`.

    Args:
        window: most tokens to score at once, and most that a further window has in all.
    """
    yield model.fitting(before, min(window, len(scored))), scored[:window]
    ids = before + scored
    for start in range(window, len(scored), step):
        piece = scored[start : start + step]
        end = len(before) + start
        yield ids[max(0, end + len(piece) - window - 1) : end], piece
