"""Choosing the next token, in the order and the meaning of `generate()`.

A token is found by inverse transform from one uniform number per row: five times cheaper than a number
per token, and the numbers can be drawn ahead for an entire rollout, so that what a row says does not depend
on the rows beside it.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    `temperature` 0 takes the likeliest. `min_p` drops what is less likely than this share of the likeliest
    token (arXiv:2407.01082). `repetition_penalty` divides the logits of tokens already in the text,
    or multiplies negative ones (arXiv:1909.05858, eq. 2); 1 is off.
    """

    max_new_tokens: int
    min_new_tokens: int = 0
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def numbers(self, rows: int, generator: torch.Generator) -> Tensor:
        """(rows, max_new_tokens) uniform numbers: all the randomness that so many completions need."""
        shape = (rows, self.max_new_tokens)
        return torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)


def met_tokens(ids: Tensor, mask: Tensor, model: Any, sampling: Sampling) -> Tensor | None:
    """(B, V) True where a token stands in the prompt; None where there is no repetition penalty to pay."""
    if sampling.repetition_penalty == 1.0:
        return None
    counts = torch.zeros(len(ids), model.config.get_text_config().vocab_size, device=ids.device)
    return counts.scatter_add_(1, ids, mask.to(counts.dtype)) > 0


def sample_token(
    logits: Tensor,
    sampling: Sampling,
    eos: Tensor,
    step: int,
    uniform: Tensor | None,
    met: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """One token per row, and its log-probability in the temperature-scaled full distribution.

    Args:
        logits: (B, V) raw logits.
        uniform: (B,) numbers in [0, 1); not needed at temperature 0.
        met: (B, V) True at tokens that pay the repetition penalty; None: no penalty.

    Returns:
        token (B,) and logprob (B,).
    """
    # The full distribution gives the log-probability; the filters decide what may be sampled.
    logs = torch.log_softmax(logits / (sampling.temperature or 1.0), dim=-1)
    if met is None:
        candidates = _filter(logs, sampling, eos, step)
    else:
        penalised = torch.where(met, _penalised(logits, sampling.repetition_penalty), logits)
        penalised = torch.log_softmax(penalised / (sampling.temperature or 1.0), dim=-1)
        candidates = _filter(penalised, sampling, eos, step)
    # Inverse transform, in fp64: an fp32 sum over the vocabulary would swallow rare tokens.
    if sampling.temperature == 0:
        token = candidates.argmax(-1)
    else:
        assert uniform is not None, "sampling needs uniform numbers"
        exact = torch.float32 if candidates.device.type == "mps" else torch.float64  # which has no float64
        mass = candidates.exp().cumsum(-1, dtype=exact)
        shot = uniform[:, None].to(mass.device, exact) * mass[:, -1:]
        token = torch.searchsorted(mass, shot, right=True).squeeze(-1).clamp(max=mass.shape[-1] - 1)
    return token, logs.gather(-1, token[:, None]).squeeze(-1)


def _filter(logs: Tensor, sampling: Sampling, eos: Tensor, step: int) -> Tensor:
    """Log-probabilities; -inf for what must not be sampled."""
    if step < sampling.min_new_tokens:
        logs = logs.index_fill(-1, eos, float("-inf"))
    if sampling.top_k and sampling.top_k < logs.shape[-1]:
        worst = logs.topk(sampling.top_k, dim=-1).values[:, -1:]
        logs = logs.masked_fill(logs < worst, float("-inf"))
    if sampling.top_p is not None and sampling.top_p < 1:
        ordered, order = logs.sort(dim=-1, descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        drop = (before > sampling.top_p).scatter(-1, order, before > sampling.top_p)
        logs = logs.masked_fill(drop, float("-inf"))
    if sampling.min_p:
        least = logs.amax(dim=-1, keepdim=True) + math.log(sampling.min_p)
        logs = logs.masked_fill(logs < least, float("-inf"))
    return logs


def _penalised(logits: Tensor, penalty: float) -> Tensor:
    return torch.where(logits < 0, logits * penalty, logits / penalty)
