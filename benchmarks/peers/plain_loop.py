"""The loop that one would write by hand: RLOO with `generate()`, by the functions of our one-file example.

A rollout is: `generate()`, the reward, log-probabilities of the reference, one forward pass of the policy
with gradients (its own log-probabilities are the old ones too, there being one update), KL in the reward,
leave one out, backward, AdamW. Full logits, no Trainer, no logging, no checks.
"""

from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.peers.measure import Clock, Job, Memory, given_job, report, variety
from examples.rloo_in_one_file import logprobs_of, rloo_loss, sample


def main() -> None:
    """Train and report."""
    job, clock = given_job(), Clock()
    memory = Memory(job.memory)
    tokenizer = AutoTokenizer.from_pretrained(job.model, padding_side="left")
    policy, reference = (AutoModelForCausalLM.from_pretrained(job.model, dtype="float32") for _ in range(2))
    reference.requires_grad_(False)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=job.learning_rate)
    torch.manual_seed(0)
    groups = job.batch // job.siblings
    clock.start()
    for rollout in range(job.total):
        rows = job.prompts[rollout * groups : (rollout + 1) * groups]
        rows = [row for row in rows for _ in range(job.siblings)]
        with torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bf16"):
            loss = timed_loss(job, clock, policy, reference, tokenizer, rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        clock.tick()
    report(job, clock, memory, version=transformers.__version__)


def timed_loss(
    job: Job, clock: Clock, policy: Any, reference: Any, tokenizer: Any, rows: list[dict[str, Any]]
) -> Tensor:
    """Sample, score, compare, and the loss of RLOO."""
    prompts = tokenizer([row["text"] for row in rows], return_tensors="pt", padding=True)
    with clock.phase("decode"):
        rollout = sample(
            policy, prompts["input_ids"], prompts["attention_mask"], job.new_tokens, tokenizer.eos_token_id
        )
    clock.lengths.append(float(rollout.counts.sum(1).float().mean()))
    with clock.phase("score"):
        completions = rollout.ids[:, -rollout.counts.shape[1] :]
        scores = variety([], tokenizer.batch_decode(completions, skip_special_tokens=True))
    with clock.phase("compare"), torch.no_grad():
        ref_logprobs = logprobs_of(reference, rollout)
    loss, _ = rloo_loss(
        policy, ref_logprobs, rollout, torch.tensor(scores), siblings=job.siblings, kl_coef=job.kl_coef
    )
    return loss


if __name__ == "__main__":
    main()
