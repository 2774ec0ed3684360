"""How surprised a model is by text: the negative log-likelihood of its tokens, all of them.

Per token it depends on the tokenizer; per word and per byte it does not, so models with different ones can be
compared there. `scoring: lmeval` counts as `loglikelihood_rolling` of lm-evaluation-harness does (Gao et al.,
https://github.com/EleutherAI/lm-evaluation-harness): after BOS, without EOS, in windows that do not overlap.
"""

import math
import re
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
        None,
        ge=1,
        description="tokens that each further window scores; null: half of a window, all of it in lmeval",
    )
    scoring: Literal["honest", "lmeval"] = added_field(
        "honest", description="convention; lmeval: loglikelihood_rolling of lm-evaluation-harness"
    )

    version = 4
    row_types = (RowType.TEXT, RowType.PROMPT_COMPLETION, RowType.PREFERENCE)
    convention = (
        "`loss`: over all tokens; `loss_per_row`: the mean over rows of each row's mean. EOS or the "
        "tokenizer's BOS is the first context of a text, EOS the last token of text and completion; of "
        "preference rows the chosen answer. Every token counts once: what is longer than a window, of "
        "`max_length` tokens or as many as the model has positions for, is scored in several that move on "
        "by `stride`, so that a token after the first window has at least a window less a stride before "
        "it. Of a prompt the last `max_length` tokens are read. `perplexity`: e to the loss per token. Per "
        "word and per byte: the nats of all scored tokens, EOS included, over all words (between white "
        "space) or UTF-8 bytes of the scored texts; `bits_per_byte` in bits. `scoring: lmeval`: a text "
        "follows BOS (or EOS where there is none) and ends without EOS; a full window reads one token "
        "before it."
    )
    metrics = (
        Measure("loss", "Loss per token", "nats per token, over all tokens", better="lower", rank=2),
        Measure("loss_per_row", "Loss, mean of rows", "nats per token and row", better="lower", rank=3),
        Measure("perplexity", "Perplexity per token", "e to the nats per token", better="lower"),
        Measure("word_perplexity", "Perplexity per word", "e to the nats per word", better="lower"),
        Measure("byte_perplexity", "Perplexity per byte", "e to the nats per byte", better="lower"),
        Measure("bits_per_byte", "Bits per byte", "bits per UTF-8 byte", better="lower"),
    )

    @model_validator(mode="after")
    def _moves_less_than_a_window(self) -> Self:
        if self.stride is not None and self.stride > self.max_length:
            raise ValueError(
                f"stride {self.stride} is more than max_length {self.max_length}; fix: at most max_length"
            )
        return self

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Nats per token, over all tokens and over rows; perplexities and bits per byte."""
        assert tools.policy is not None
        model = tools.policy

        # Score every token of every row once, in as many windows as it takes.
        theirs = self.scoring == "lmeval"
        window = min(self.max_length, model.room - (not theirs))
        step = min(self.stride or (window if theirs else (window + 1) // 2), window)
        spans = [[*windows(*self._split(model, row), window, step, model)] for row in rows]
        lines = iter(model.logprobs([*chain(*spans)]))
        scored = [[*chain(*(next(lines) for _ in pieces))] for pieces in spans]

        # Both means, with the tokens of a row as its weight or without.
        losses = [-fmean(line) if line else None for line in scored]
        tokens = [len(line) for line in scored]
        findings.add("loss", losses, weights=tokens)
        findings.add("loss_per_row", losses)
        findings.add("perplexity", losses, weights=tokens, shown=_exp)

        # The same nats over words and bytes, which do not depend on the tokenizer.
        texts = [_scored_text(row) for row in rows]
        # The harness counts outer white space as words.
        lmeval = self.scoring == "lmeval"
        words = [len(re.split(r"\s+", text) if lmeval else text.split()) for text in texts]
        sizes = [len(text.encode()) for text in texts]
        per_word, per_byte = (
            [
                -sum(line) / count if line and count else None
                for line, count in zip(scored, counts, strict=True)
            ]
            for counts in (words, sizes)
        )
        findings.add("word_perplexity", per_word, weights=words, shown=_exp)
        findings.add("byte_perplexity", per_byte, weights=sizes, shown=_exp)
        findings.add("bits_per_byte", per_byte, weights=sizes, shown=lambda nats: nats / math.log(2))

    def _split(self, model: "LanguageModel", row: Row) -> Span:
        """What stands before, and the tokens that are scored."""
        words = model.tokenizer
        if "text" in row:
            before, ids = model.document(row["text"])
            if self.scoring == "lmeval":
                return [words.eos_token_id if words.bos_token_id is None else words.bos_token_id], ids
            return before, [*ids, words.eos_token_id]
        messages, answer = (
            [dict(turn) for turn in turns]
            for turns in (row["prompt"], row.get("completion") or row["chosen"])
        )
        prompt, completion = model.pair(messages, answer)
        model.cut += len(prompt) > self.max_length
        return prompt[-self.max_length :], completion[:-1] if self.scoring == "lmeval" else completion


def _scored_text(row: Row) -> str:
    """The text whose tokens are scored."""
    if "text" in row:
        return str(row["text"])
    return "".join(turn["content"] for turn in row.get("completion") or row["chosen"])


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf


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
