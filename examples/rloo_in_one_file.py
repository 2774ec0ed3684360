"""RLOO in one file, from top to bottom: sample, score, compare, leave one out, update.

    python examples/rloo_in_one_file.py

A policy of 20,000 random parameters learns to say even numbers, on a laptop in seconds. This is what
`temper run` does with `rloo:`, without batches, checkpoints, logs and checks; a test holds the gradient equal
to the trainer's. REINFORCE leave-one-out: Ahmadian et al. 2024 (arXiv:2402.14740), eq. 7.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

PAD, EOS, VOCABULARY = 0, 1, 32
PROMPTS, SIBLINGS = 16, 4  # prompts of a rollout, completions of each
NEW_TOKENS = 12
ROLLOUTS = 100
LEARNING_RATE, KL_COEF = 3e-3, 0.02


@dataclass(frozen=True)
class Rollout:
    """B completions of up to C tokens after prompts of P; siblings lie side by side."""

    ids: Tensor  # (B, P + C)
    mask: Tensor  # (B, P + C) 1 where a token is real
    counts: Tensor  # (B, C) bool, True up to and with EOS


def main() -> None:
    """Train, and print what the policy says on the way."""
    torch.manual_seed(0)
    # the reference is the policy as it was
    policy, reference = random_policy(), random_policy()
    reference.load_state_dict(policy.state_dict())
    reference.requires_grad_(False)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=LEARNING_RATE)
    for number in range(1, ROLLOUTS + 1):
        # sample: every prompt is completed by several siblings
        prompts = torch.randint(2, VOCABULARY, (PROMPTS, 4)).repeat_interleave(SIBLINGS, 0)
        rollout = sample(policy, prompts, torch.ones_like(prompts), NEW_TOKENS, EOS)
        # score, and compare
        scores = share_of_even_tokens(rollout)
        with torch.no_grad():
            ref_logprobs = logprobs_of(reference, rollout)
        # update
        loss, kl = rloo_loss(policy, ref_logprobs, rollout, scores, siblings=SIBLINGS, kl_coef=KL_COEF)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if number == 1 or number % 10 == 0:
            answer = rollout.ids[0, 4:][rollout.counts[0]].tolist()
            print(f"rollout {number:3}  score {scores.mean():.2f}  KL {kl.mean():5.2f}  {answer}", flush=True)


def random_policy() -> Any:
    """A Llama made from its config alone."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)


def sample(policy: Any, prompts: Tensor, prompt_mask: Tensor, new_tokens: int, eos: int) -> Rollout:
    """Complete each of the (B, P) prompts, padded on the left, once."""
    ids = policy.generate(
        input_ids=prompts, attention_mask=prompt_mask, do_sample=True, top_k=0, max_new_tokens=new_tokens
    )
    ends = (ids[:, prompts.shape[1] :] == eos).long()
    counts = ends.cumsum(1) - ends == 0
    return Rollout(ids, torch.cat([prompt_mask, counts.long()], dim=1), counts)


def share_of_even_tokens(rollout: Rollout) -> Tensor:
    """(B,) the reward; put your own here."""
    completions = rollout.ids[:, -rollout.counts.shape[1] :]
    return ((completions % 2 == 0) & rollout.counts).sum(1) / rollout.counts.sum(1)


def logprobs_of(model: Any, rollout: Rollout) -> Tensor:
    """(B, C) log-probabilities of the completion tokens; 0 where none counts."""
    width = rollout.counts.shape[1]
    positions = (rollout.mask.cumsum(1) - 1).clamp(min=0)
    outputs = model(
        input_ids=rollout.ids, attention_mask=rollout.mask, position_ids=positions, logits_to_keep=width + 1
    )
    logs = outputs.logits[:, :-1].float().log_softmax(-1)
    return logs.gather(-1, rollout.ids[:, -width:, None]).squeeze(-1) * rollout.counts


def rloo_loss(
    policy: Any, ref_logprobs: Tensor, rollout: Rollout, scores: Tensor, *, siblings: int, kl_coef: float
) -> tuple[Tensor, Tensor]:
    """The loss of a rollout, and the (B,) KL to the reference in nats per completion."""
    # a completion is one action; its log-probability is the sum over its tokens
    logprobs = logprobs_of(policy, rollout).sum(1)
    # the KL penalty comes off the reward
    kl = logprobs.detach() - ref_logprobs.sum(1)
    rewards = (scores - kl_coef * kl).view(-1, siblings)
    # the baseline of each completion is the mean of its siblings
    baseline = (rewards.sum(1, keepdim=True) - rewards) / (siblings - 1)
    advantages = (rewards - baseline).view(-1)
    # with one update per rollout the ratio to the old policy is 1, so this is plain REINFORCE
    return -(advantages * logprobs).mean(), kl


if __name__ == "__main__":
    main()
