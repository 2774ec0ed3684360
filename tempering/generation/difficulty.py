"""How hard rows are to a model: the mean cross-entropy of what they train on, in nats per token.

Goes through the evaluation's own log-probabilities, so all logits never exist at once. Rows come as a
stream and are held in chunks of a million tokens: sorted by length inside a chunk and cut into batches
of bounded tokens. It keeps 8 bytes per row.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tempering.generation.language_model import LanguageModel

CHUNK_TOKENS = 1 << 20
"""Tokens in memory at a time."""
BATCH_TOKENS = 16384
"""Positions of a batch, padding included; a single longer row is a batch by itself."""


@dataclass(frozen=True)
class _Span:
    """Token ids a loss is taken of, after ids that are only read; `counts` marks those that count."""

    before: list[int]
    after: list[int]
    counts: list[bool]


def losses(
    model_dir: Path, rows: Iterable[Mapping[str, Any]], device: Any, *, trust_remote_code: bool = False
) -> "NDArray[np.float64]":
    """Mean cross-entropy of every row under a causal LM.

    Args:
        model_dir: folder of the model and its tokenizer, the one that made the token ids.
        rows: token rows: `input_ids` (with a `completion_mask`: its tokens alone), or `prompt_ids` and
            `chosen_ids` of a pair (the chosen answer's tokens).
        device: where the model runs.

    Returns:
        (N,) nats per token, in the order of `rows`; NaN for a row without a token to predict. The first
        token of a row has nothing before it and never counts.
    """
    import numpy as np

    from tempering.generation.language_model import LanguageModel
    from tempering.models.loading import load_causal_lm

    weights = load_causal_lm(model_dir, trust_remote_code=trust_remote_code)
    model = LanguageModel(model_dir, "plain", device, batch_size=BATCH_TOKENS, model=weights)
    values = array("d")
    for chunk in _chunks(rows):
        values.extend(_chunk_losses(model, chunk))
    return np.array(values, dtype=np.float64)


def _chunks(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[_Span]]:
    chunk: list[_Span] = []
    tokens = 0
    for row in rows:
        chunk.append(_span(row))
        tokens += len(chunk[-1].before) + len(chunk[-1].after)
        if tokens >= CHUNK_TOKENS:
            yield chunk
            chunk, tokens = [], 0
    yield chunk


def _span(row: Mapping[str, Any]) -> _Span:
    if "chosen_ids" in row:
        before, after = list(row["prompt_ids"]), list(row["chosen_ids"])
        ids, mask = before + after, [False] * len(before) + [True] * len(after)
    else:
        ids = list(row["input_ids"])
        mask = list(row.get("completion_mask") or [True] * len(ids))
    places = [place for place, counts in enumerate(mask) if counts and place]
    start, end = (places[0], places[-1] + 1) if places else (len(ids), len(ids))
    return _Span(ids[:start], ids[start:end], mask[start:end])


def _chunk_losses(model: "LanguageModel", chunk: list[_Span]) -> list[float]:
    losses = [float("nan")] * len(chunk)
    for batch in _batches(chunk):
        logprobs = model.logprobs([(chunk[index].before, chunk[index].after) for index in batch])
        for index, values in zip(batch, logprobs, strict=True):
            scored = [value for value, counts in zip(values, chunk[index].counts, strict=True) if counts]
            losses[index] = -sum(scored) / len(scored)
    return losses


def _batches(chunk: list[_Span]) -> Iterator[list[int]]:
    """Numbers of the rows that have something to predict, of like shape, by bounded tokens."""
    order = [index for index, row in enumerate(chunk) if row.after]
    order.sort(key=lambda index: (len(chunk[index].before), len(chunk[index].after)))
    batch: list[int] = []
    before = after = 0
    for index in order:
        before, after = max(before, len(chunk[index].before)), max(after, len(chunk[index].after))
        if batch and (before + after) * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch, before, after = [], len(chunk[index].before), len(chunk[index].after)
        batch.append(index)
    if batch:
        yield batch
