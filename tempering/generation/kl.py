"""KL divergence of a policy to a reference on the policy's own completions: Σ p (log p - log q) in nats.

`exact` sums over the vocabulary at each position, so that only which completions are sampled is left to
chance; k1 and k3 (J. Schulman, "Approximating KL divergence", 2020) need nothing but the log-probabilities of
the sampled tokens. Full logits never exist: the heads run over chunks of positions.
"""

from typing import Any

import torch
from torch import Tensor

from tempering.generation.head import head_logits
from tempering.generation.logprobs import hidden_states, logprobs_of
from tempering.models.reading import without_adapter_wrapper

_LOGITS = 1 << 26  # of each model at once


def k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """log p - log q for tokens sampled from p: unbiased, may be negative. Same shape as its inputs."""
    return logprobs - ref_logprobs


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """q/p - 1 - log(q/p): unbiased, never negative, lower variance. Same shape as its inputs."""
    difference = ref_logprobs - logprobs
    return difference.exp() - 1 - difference


ESTIMATORS = {"k1": k1, "k3": k3}


@torch.no_grad()
def completion_kl(
    policy: Any,
    reference: Any,
    input_ids: Tensor,
    attention_mask: Tensor,
    completion_mask: Tensor,
    estimator: str = "exact",
) -> Tensor:
    """KL at each completion token.

    Args:
        policy, reference: causal LMs with the same tokens.
        input_ids, attention_mask: (B, P + C) left-padded prompts, then right-padded completions.
        completion_mask: (B, C) True where a completion token counts.
        estimator: exact, k1 or k3.

    Returns:
        (B, C) nats; 0 where masked.
    """
    hidden = [hidden_states(model, input_ids, attention_mask) for model in (policy, reference)]
    if estimator != "exact":
        both = (
            logprobs_of(model, states, input_ids, completion_mask, 1.0)[0]
            for model, states in zip((policy, reference), hidden, strict=True)
        )
        return ESTIMATORS[estimator](*both)
    width = completion_mask.shape[1]
    states, ref_states = (item[:, -width - 1 : -1][completion_mask] for item in hidden)  # (N, H) each
    kl = vocabulary_kl(policy, reference, states, ref_states)
    return torch.zeros(completion_mask.shape, device=kl.device).masked_scatter(completion_mask, kl)


def vocabulary_kl(policy: Any, reference: Any, states: Tensor, ref_states: Tensor) -> Tensor:
    """(N,) KL between the next-token distributions after states (N, H), summed over the vocabulary.

    Where one head is wider, as padded ones are, both are cut to the tokens that both have.
    """
    policy, reference = without_adapter_wrapper(policy), without_adapter_wrapper(reference)
    rows = max(1, _LOGITS // policy.config.get_text_config().vocab_size)
    parts = []
    for start in range(0, len(states), rows):
        pair = (
            head_logits(policy, states[start : start + rows]).float(),
            head_logits(reference, ref_states[start : start + rows]).float(),
        )
        shared = min(logits.shape[-1] for logits in pair)
        logs, ref_logs = (torch.log_softmax(logits[:, :shared], dim=-1) for logits in pair)
        parts.append((logs.exp() * (logs - ref_logs)).sum(-1))
    return torch.cat(parts) if parts else states.new_zeros(0)
