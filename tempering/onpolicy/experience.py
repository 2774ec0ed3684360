"""What becomes of a rollout, step by step: Rollout -> Scored -> Compared -> Experience.

Each step holds all that the one before it did, and nothing that is still unknown. B completions of up to C
tokens after prompts of up to P; tensors are (B, C) over completion tokens unless said otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from math import isnan
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Scored:
    """A rollout and what the reward says of it."""

    input_ids: Tensor  # (B, P + C)
    attention_mask: Tensor  # (B, P + C)
    completion_mask: Tensor  # bool
    sampler_logprobs: Tensor  # of the engine, while sampling
    ended: Tensor  # (B,) bool
    scores: Tensor  # (B,) raw; NaN = could not be scored
    texts: list[tuple[str, str]]  # prompt and completion
    columns: dict[str, list[Any]]  # more for the log: score_NAME, ...

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def scored(self) -> Tensor:
        """(B,) bool."""
        return ~self.scores.isnan()

    @property
    def lengths(self) -> Tensor:
        """(B,) completion tokens, EOS included."""
        return self.completion_mask.sum(1)

    @property
    def device(self) -> torch.device:
        """Where its tensors are."""
        return self.input_ids.device


@dataclass(frozen=True)
class Compared(Scored):
    """With what the policy, the reference and the value model say of it before any update."""

    old_logprobs: Tensor  # of the policy
    ref_logprobs: Tensor
    values: Tensor  # 0 without a value model

    @property
    def kl(self) -> Tensor:
        """(B,) log ratio of policy and reference, summed over the completion, in nats."""
        return ((self.old_logprobs - self.ref_logprobs) * self.completion_mask).sum(1)


@dataclass(frozen=True)
class Experience(Compared):
    """With what the policy learns from."""

    rewards: Tensor  # (B,) score after shaping, without KL
    kl_coef: float  # what the KL weighs in this rollout
    advantages: Tensor
    returns: Tensor

    def log_rows(self, step: int, tokens: int) -> list[dict[str, Any]]:
        """Rows of `generated_outputs`; what could not be scored is null."""
        table: dict[str, Sequence[Any]] = {
            "prompt": [prompt for prompt, _ in self.texts],
            "completion": [completion for _, completion in self.texts],
            **self.columns,
            "score": self.scores.tolist(),
            "reward": self.rewards.tolist(),
            "kl": self.kl.tolist(),
            "length": self.lengths.tolist(),
            "ended": self.ended.tolist(),
        }
        rows = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
        return [
            {"step": step, "tokens": tokens}
            | {
                name: None if isinstance(value, float) and isnan(value) else value
                for name, value in row.items()
            }
            for row in rows
        ]


def moved(part: Compared, device: Any) -> Compared:
    """The same with its tensors on `device`."""
    tensors = {name: value for name, value in vars(part).items() if isinstance(value, Tensor)}
    return replace(part, **{name: tensor.to(device) for name, tensor in tensors.items()})


def joined(parts: Sequence[Compared]) -> Compared:
    """What several processes made as one rollout, rows in the order of `parts`; all on one device."""
    prompt = max(part.input_ids.shape[1] - part.completion_mask.shape[1] for part in parts)
    width = max(part.completion_mask.shape[1] for part in parts)
    rollout: dict[str, Any] = {}
    for item in fields(Compared):
        values = [getattr(part, item.name) for part in parts]
        if isinstance(values[0], Tensor):
            padded = [_grown(part, value, prompt, width) for part, value in zip(parts, values, strict=True)]
            rollout[item.name] = torch.cat(padded)
        elif isinstance(values[0], list):
            rollout[item.name] = [entry for value in values for entry in value]
        else:
            rollout[item.name] = _columns(parts, values)
    return Compared(**rollout)


def _columns(parts: Sequence[Compared], tables: Sequence[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    """Columns one below the other; null where a part has none of that name."""
    names = dict.fromkeys(name for columns in tables for name in columns)
    return {
        name: [
            entry
            for part, columns in zip(parts, tables, strict=True)
            for entry in columns.get(name, [None] * len(part))
        ]
        for name in names
    }


def _grown(part: Compared, tensor: Tensor, prompt: int, width: int) -> Tensor:
    if tensor.dim() < 2:
        return tensor
    length = part.completion_mask.shape[1]
    left = 0 if tensor.shape[1] == length else prompt - (part.input_ids.shape[1] - length)
    return pad(tensor, (left, width - length))
