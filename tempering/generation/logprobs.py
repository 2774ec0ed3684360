"""Log-probabilities of completions, without ever holding all logits.

The backbone runs once; the LM head runs over chunks of the positions that count, recomputed in
the backward pass, so memory is chunk x vocabulary instead of batch x length x vocabulary.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tempering.generation.head import head_logits
from tempering.models.reading import backbone_of, read, without_adapter_wrapper

CHUNK = 4096


def completion_logprobs(
    model: Any, input_ids: Tensor, attention_mask: Tensor, completion_mask: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies of the completion tokens.

    Args:
        model: a causal LM (or PEFT model around one).
        input_ids: (B, P + C) left-padded prompts, then right-padded completions.
        attention_mask: (B, P + C).
        completion_mask: (B, C) True where a completion token counts.
        temperature: logits are divided by it, as when sampling.

    Returns:
        logprobs (B, C) and entropies (B, C) in nats; 0 where masked.
    """
    hidden = hidden_states(model, input_ids, attention_mask)
    return logprobs_of(model, hidden, input_ids, completion_mask, temperature)


def hidden_states(model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """(B, T, H) what the LM head (or a value head) reads."""
    return read(backbone_of(model), input_ids, attention_mask)


def logprobs_of(
    model: Any, hidden: Tensor, input_ids: Tensor, completion_mask: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """`completion_logprobs` from hidden states (B, P + C, H)."""
    base = without_adapter_wrapper(model)
    width = completion_mask.shape[1]
    states = hidden[:, -width - 1 : -1][completion_mask]  # (N, H): the state that predicts each token
    tokens = input_ids[:, -width:][completion_mask]  # (N,)
    logprobs, entropy = chunked_logprobs(base, states, tokens, temperature)
    empty = torch.zeros(completion_mask.shape, dtype=logprobs.dtype, device=logprobs.device)
    return empty.masked_scatter(completion_mask, logprobs), empty.masked_scatter(completion_mask, entropy)


def chunked_logprobs(model: Any, states: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """(N,) log-probabilities and entropies of `tokens` after `states` (N, H), by a causal LM's head."""
    parts = [
        _chunk(
            model,
            states[start : start + CHUNK],
            tokens[start : start + CHUNK],
            temperature,
            len(states) > CHUNK,
        )
        for start in range(0, max(len(states), 1), CHUNK)
    ]
    logprobs, entropy = (torch.cat(column) for column in zip(*parts, strict=True))
    return logprobs, entropy


def _chunk(
    model: Any, states: Tensor, tokens: Tensor, temperature: float, recompute: bool
) -> tuple[Tensor, Tensor]:
    if recompute and torch.is_grad_enabled():
        return checkpoint(_head, model, states, tokens, temperature, use_reentrant=False)  # type: ignore[no-any-return]
    return _head(model, states, tokens, temperature)


def _head(model: Any, states: Tensor, tokens: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    logs = torch.log_softmax(head_logits(model, states).float() / temperature, dim=-1)
    entropy = -(logs.exp() * logs).sum(-1)
    return logs.gather(-1, tokens[:, None]).squeeze(-1), entropy
