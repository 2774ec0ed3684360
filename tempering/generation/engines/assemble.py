"""What engines that answer with lists of tokens share: a rollout from them, and seeds from numbers."""

from typing import Any

import torch
from torch import Tensor

from tempering.generation.rollout import Rollout, pad_left


def assemble(
    prompts: list[list[int]],
    completions: list[list[int]],
    logprobs: list[list[float]],
    eos_ids: list[int],
    pad_id: int,
    device: Any = "cpu",
) -> Rollout:
    """A rollout; each completion counts up to and with its first token of `eos_ids`."""
    lengths = [_length(tokens, eos_ids) for tokens in completions]
    ids, mask = pad_left(prompts, pad_id, device)
    shape = (len(completions), max(lengths, default=0))
    # Right-padded tensors of what counts.
    tokens = torch.full(shape, pad_id)
    values = torch.zeros(shape)
    for row, length in enumerate(lengths):
        tokens[row, :length] = torch.tensor(completions[row][:length], dtype=torch.long)
        values[row, :length] = torch.tensor(logprobs[row][:length])
    # Which positions count, and which rows ended by themselves.
    counts = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    ends = torch.tensor(
        [length > 0 and row[length - 1] in eos_ids for row, length in zip(completions, lengths, strict=True)]
    )
    return Rollout(ids, mask, tokens.to(device), counts.to(device), values.to(device), ends.to(device))


def seeds(uniform: Tensor | None, rows: int) -> list[int]:
    """A seed per row, all 53 bits of its first number; the row alone decides, not its neighbours."""
    if uniform is None:
        return [0] * rows
    return [int(number * 2**53) for number in uniform[:, 0].double().tolist()]


def _length(tokens: list[int], eos_ids: list[int]) -> int:
    return next((place + 1 for place, token in enumerate(tokens) if token in eos_ids), len(tokens))
