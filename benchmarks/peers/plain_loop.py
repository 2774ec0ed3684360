"""The loop that one would write by hand: RLOO with `generate()`, in forty lines of plain PyTorch.

A rollout is: `generate()`, the reward, log-probabilities of the reference, one forward pass of the policy
with gradients (its own log-probabilities are the old ones too, there being one update), KL in the reward,
leave one out, backward, AdamW. Full logits, no Trainer, no logging, no checks.
"""

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.peers.measure import Clock, Job, Memory, given_job, report, variety


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
            loss = rollout_loss(job, clock, policy, reference, tokenizer, rows)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        clock.tick()
    report(job, clock, memory, version=transformers.__version__)


def rollout_loss(job: Job, clock: Clock, policy, reference, tokenizer, rows) -> Tensor:  # type: ignore[no-untyped-def]
    """Sample, score, compare, and the loss of RLOO."""
    prompts = tokenizer([row["text"] for row in rows], return_tensors="pt", padding=True)
    width = prompts["input_ids"].shape[1]
    with clock.phase("decode"):
        ids = policy.generate(
            input_ids=prompts["input_ids"], attention_mask=prompts["attention_mask"], do_sample=True, top_k=0,
            max_new_tokens=job.new_tokens,
        )  # fmt: skip
    completions = ids[:, width:]
    ends = (completions == tokenizer.eos_token_id).long()
    counts = ends.cumsum(1) - ends == 0  # up to and with the first EOS
    clock.lengths.append(float(counts.sum(1).float().mean()))
    with clock.phase("score"):
        scores = variety([], tokenizer.batch_decode(completions, skip_special_tokens=True))
    mask = torch.cat([prompts["attention_mask"], counts.long()], dim=1)
    with clock.phase("compare"), torch.no_grad():
        compared = logprobs_of(reference, ids, mask, width) * counts
    found = logprobs_of(policy, ids, mask, width) * counts
    reward = torch.tensor(scores) - job.kl_coef * (found.detach() - compared).sum(1)
    each = reward.view(-1, job.siblings)
    advantage = (each - (each.sum(1, keepdim=True) - each) / (job.siblings - 1)).view(-1)
    return -(advantage * found.sum(1)).mean()


def logprobs_of(model, ids: Tensor, mask: Tensor, width: int) -> Tensor:  # type: ignore[no-untyped-def]
    """(B, C) of the completion tokens."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=ids.shape[1] - width + 1
    ).logits[:, :-1]
    return logits.float().log_softmax(-1).gather(-1, ids[:, width:, None]).squeeze(-1)


if __name__ == "__main__":
    main()
