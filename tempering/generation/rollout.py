"""Rollouts: the completions of a batch of prompts, and what an engine that makes them must offer.

Log-probabilities are those of the temperature-scaled full distribution, before top-k, top-p, min-p,
repetition penalty and minimum length, whatever those then leave to sample from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from tempering.generation.sampling import Sampling


@dataclass
class Rollout:
    """Completions of a batch of prompts."""

    prompt_ids: Tensor  # (B, P) left-padded
    prompt_mask: Tensor  # (B, P) 1 where a token is real
    completion_ids: Tensor  # (B, C) right-padded
    completion_mask: Tensor  # (B, C) True up to and with EOS
    logprobs: Tensor  # (B, C) of the sampler; 0 where masked
    ended: Tensor  # (B,) True where EOS was produced

    @property
    def input_ids(self) -> Tensor:
        """(B, P + C) prompts and completions."""
        return torch.cat([self.prompt_ids, self.completion_ids], dim=1)

    @property
    def attention_mask(self) -> Tensor:
        """(B, P + C) mask of real tokens."""
        return torch.cat([self.prompt_mask, self.completion_mask.to(self.prompt_mask.dtype)], dim=1)

    @property
    def lengths(self) -> Tensor:
        """(B,) completion tokens, EOS included."""
        return self.completion_mask.sum(1)

    def tokens(self) -> list[list[int]]:
        """The token ids of each completion, EOS included."""
        return [
            ids[mask].tolist() for ids, mask in zip(self.completion_ids, self.completion_mask, strict=True)
        ]

    def texts(self, tokenizer: Any) -> list[str]:
        """Completions as text, without special tokens."""
        return tokenizer.batch_decode(self.tokens(), skip_special_tokens=True)  # type: ignore[no-any-return]


class RolloutEngine(Protocol):
    """Anything that completes prompts."""

    exact: bool
    """Whether its log-probabilities are the trainer's own, up to rounding."""
    accelerator: Any
    """What gathers the weights of a sharded model; None where the model is whole."""

    def generate(self, prompts: list[list[int]], sampling: Sampling, uniform: Tensor | None) -> Rollout:
        """Complete each prompt (token ids) once.

        Args:
            uniform: (B, max_new_tokens) numbers in [0, 1): the only source of chance, so that the same
                numbers give the same completions; None at temperature 0.
        """

    def update(self, model: Any) -> None:
        """Take over the newest weights; nothing to do where the engine samples from the live model."""


def length_batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Numbers of the rows in batches of `size`, the shortest first, so that little of a batch is padding."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return [order[start : start + size] for start in range(0, len(order), size)]


def pad_left(prompts: list[list[int]], pad_id: int, device: Any = "cpu") -> tuple[Tensor, Tensor]:
    """Prompts as (B, P) ids and mask, padded on the left."""
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids.to(device), mask.to(device)
