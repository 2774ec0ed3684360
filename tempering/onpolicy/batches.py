"""Rows of a rollout that go through the model together, and how they are split.

Micro-batches hold rows of like length, cut to what they need: padding is neither stored nor computed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from tempering.onpolicy.estimators import Estimator
from tempering.onpolicy.experience import Experience, Scored


@dataclass(frozen=True)
class Batch:
    """N rows, as a model reads them."""

    rows: Tensor  # (N,) their places in the rollout
    input_ids: Tensor  # (N, P + C)
    attention_mask: Tensor  # (N, P + C)
    completion_mask: Tensor  # (N, C) bool

    @classmethod
    def whole(cls, scored: Scored) -> "Batch":
        """All rows of a rollout."""
        rows = torch.arange(len(scored), device=scored.device)
        return Batch(rows, scored.input_ids, scored.attention_mask, scored.completion_mask)

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def take(self, rows: slice | Tensor) -> Self:
        """Some of the rows."""
        return self._each(lambda tensor: tensor[rows])

    def split(self, size: int) -> Iterator[Self]:
        """Micro-batches of `size` rows, the shortest first."""
        order = self.attention_mask.sum(1).argsort(stable=True)
        for rows in order.split(size):
            yield self.take(rows).trimmed()

    def trimmed(self) -> Self:
        """Without columns that are padding in every row."""
        width = self.completion_mask.shape[1]
        right = width - int(self.completion_mask.any(0).sum())
        left = int((~self.attention_mask.any(0)).cumprod(0).sum())

        def cut(tensor: Tensor) -> Tensor:
            if tensor.dim() == 1:
                return tensor
            start = 0 if tensor.shape[1] == width else left  # (N, C) has no prompt
            return tensor[:, start : tensor.shape[1] - right]

        return self._each(cut)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        return replace(self, **{name: change(tensor) for name, tensor in self.tensors().items()})


@dataclass(frozen=True)
class StepBatch(Batch):
    """Rows of one optimizer step, with all that its loss needs; tensors are (N, C)."""

    sampler_logprobs: Tensor
    old_logprobs: Tensor
    ref_logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    weights: Tensor  # what each token counts in the policy's loss; 1 in sum over the step
    token_weights: Tensor  # every token of a scored completion the same; 1 in sum
    every_token: Tensor  # unscored ones too; 1 in sum
    kl_coef: float
    first_step: bool  # of its rollout: no update has been made since it was sampled

    @classmethod
    def of(cls, experience: Experience, rows: Tensor, estimator: Estimator, *, first_step: bool) -> Self:
        """The rows of one optimizer step, with what each token counts in its loss."""
        rows = rows.to(experience.device)
        # The policy learns from completions with a score; entropy and KL are means over all of them.
        mask, scored = experience.completion_mask[rows], experience.scored[rows]
        counted = mask & scored[:, None]
        return cls(
            rows=rows,
            input_ids=experience.input_ids[rows],
            attention_mask=experience.attention_mask[rows],
            completion_mask=mask,
            sampler_logprobs=experience.sampler_logprobs[rows],
            old_logprobs=experience.old_logprobs[rows],
            ref_logprobs=experience.ref_logprobs[rows],
            values=experience.values[rows],
            advantages=experience.advantages[rows],
            returns=experience.returns[rows],
            weights=estimator.weights(mask, scored),
            token_weights=counted / counted.sum().clamp(min=1),
            every_token=mask / mask.sum(),
            kl_coef=experience.kl_coef,
            first_step=first_step,
        )
