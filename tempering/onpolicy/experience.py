"""Experience: a rollout that has been scored, compared and turned into advantages, and how it is cut up.

Micro-batches hold rows of like length, cut to what they need: padding is neither stored nor computed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from math import isnan
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from tempering.onpolicy.estimators import Estimator


def _empty() -> Tensor:
    return torch.empty(0)


@dataclass
class Experience:
    """B completions. Tensors are (B, C) over completion tokens unless said otherwise."""

    input_ids: Tensor  # (B, P + C)
    attention_mask: Tensor  # (B, P + C)
    completion_mask: Tensor  # bool
    sampler_logprobs: Tensor  # of the engine, while sampling
    old_logprobs: Tensor  # of the policy before the updates
    ref_logprobs: Tensor
    values: Tensor
    scores: Tensor  # (B,) raw; NaN = could not be scored
    ended: Tensor  # (B,) bool
    rewards: Tensor = field(default_factory=_empty)  # (B,) score after shaping, without KL
    kl: Tensor = field(default_factory=_empty)  # (B,) log ratio to the reference, summed
    advantages: Tensor = field(default_factory=_empty)
    returns: Tensor = field(default_factory=_empty)
    texts: list[tuple[str, str]] = field(default_factory=list)  # prompt and completion
    columns: dict[str, list[Any]] = field(default_factory=dict)  # more for the log: score_NAME, ...

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

    def portions(self, size: int) -> Iterator["Batch"]:
        """All rows in parts of at most `size`, like lengths together, cut to what they need."""
        names = ("input_ids", "attention_mask", "completion_mask")
        whole = Batch({name: getattr(self, name) for name in names})
        whole["rows"] = torch.arange(len(self), device=self.device)
        yield from whole.split(size)

    def select(self, rows: Tensor, estimator: Estimator) -> "Batch":
        """The rows of one optimizer step, with what each token counts in its loss."""
        rows = rows.to(self.device)
        tensors = {name: getattr(self, name)[rows] for name in _IN_A_BATCH}
        scored = self.scored[rows]
        weights = estimator.weights(tensors["completion_mask"], scored)
        counted = tensors["completion_mask"] & scored[:, None]
        token_weights = counted / counted.sum().clamp(min=1)
        every = tensors["completion_mask"] / tensors["completion_mask"].sum()  # unscored ones too
        more = {"weights": weights, "token_weights": token_weights, "every_token": every}
        return Batch({**tensors, **more})

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
        named = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
        return [
            {"step": step, "tokens": tokens}
            | {
                name: None if isinstance(value, float) and isnan(value) else value
                for name, value in row.items()
            }
            for row in named
        ]


_IN_A_BATCH = (
    "input_ids", "attention_mask", "completion_mask", "sampler_logprobs", "old_logprobs", "ref_logprobs",
    "values", "advantages", "returns",
)  # fmt: skip


class Batch(dict[str, Tensor]):
    """Some rows of an experience: tensors by name."""

    def take(self, start: int, stop: int) -> "Batch":
        """Rows from `start` up to `stop`."""
        return Batch({name: tensor[start:stop] for name, tensor in self.items()})

    def split(self, size: int) -> Iterator["Batch"]:
        """Micro-batches of `size` rows, the shortest first."""
        order = self["attention_mask"].sum(1).argsort(stable=True)
        for rows in order.split(size):
            yield Batch({name: tensor[rows] for name, tensor in self.items()}).trimmed()

    def trimmed(self) -> "Batch":
        """Without columns that are padding in every row."""
        mask, width = self["completion_mask"], self["completion_mask"].shape[1]
        right = width - int(mask.any(0).sum())
        left = int((~self["attention_mask"].any(0)).cumprod(0).sum())
        return Batch({name: _cut(tensor, left, right, width) for name, tensor in self.items()})


def _cut(tensor: Tensor, left: int, right: int, width: int) -> Tensor:
    if tensor.dim() == 1:
        return tensor
    first = 0 if tensor.shape[1] == width else left  # (B, C) has no prompt
    return tensor[:, first : tensor.shape[1] - right]


def moved(experience: Experience, device: Any) -> Experience:
    """The same with its tensors on `device`."""
    values = {item.name: getattr(experience, item.name) for item in fields(Experience)}
    return Experience(
        **{name: value.to(device) if isinstance(value, Tensor) else value for name, value in values.items()}
    )


def joined(parts: Sequence[Experience]) -> Experience:
    """The experiences of several processes as one, rows in the order of `parts`; all on one device."""
    prompt = max(part.input_ids.shape[1] - part.completion_mask.shape[1] for part in parts)
    width = max(part.completion_mask.shape[1] for part in parts)
    made: dict[str, Any] = {}
    for item in fields(Experience):
        values = [getattr(part, item.name) for part in parts]
        if isinstance(values[0], Tensor):
            padded = [_grown(part, value, prompt, width) for part, value in zip(parts, values, strict=True)]
            made[item.name] = torch.cat(padded)
        elif isinstance(values[0], list):
            made[item.name] = [entry for value in values for entry in value]
        else:
            made[item.name] = _columns(parts, values)
    return Experience(**made)


def _columns(parts: Sequence[Experience], given: Sequence[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    """Columns one below the other; null where a part has none of that name."""
    names = dict.fromkeys(name for columns in given for name in columns)
    return {
        name: [
            entry
            for part, columns in zip(parts, given, strict=True)
            for entry in columns.get(name, [None] * len(part))
        ]
        for name in names
    }


def _grown(part: Experience, tensor: Tensor, prompt: int, width: int) -> Tensor:
    if tensor.dim() < 2:
        return tensor
    own = part.completion_mask.shape[1]
    left = 0 if tensor.shape[1] == own else prompt - (part.input_ids.shape[1] - own)
    return pad(tensor, (left, width - own))
