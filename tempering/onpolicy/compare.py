"""What the policy, the reference and the value model say of completions, before any update."""

from contextlib import nullcontext
from typing import Any

import torch

from tempering.generation.logprobs import completion_logprobs
from tempering.onpolicy.actor_critic import ActorCritic
from tempering.onpolicy.experience import Experience
from tempering.onpolicy.value import ValueHead


@torch.no_grad()
def compare(
    model: ActorCritic, reference: Any, experience: Experience, *, size: int, recompute: bool
) -> None:
    """Fill `old_logprobs`, `ref_logprobs` and `values` in place.

    Args:
        reference: a frozen policy; None: the policy with its adapter switched off.
        size: rows a forward pass.
        recompute: the policy's own forward pass; False: `old_logprobs` are the sampler's.
    """
    if not recompute:
        experience.old_logprobs = experience.sampler_logprobs.clone()
    for batch in experience.portions(size):
        rows = batch.pop("rows")
        width = batch["completion_mask"].shape[1]
        if recompute or model.value is not None:
            shared = isinstance(model.value, ValueHead)
            found = model(**batch, with_logprobs=recompute or shared)
            if recompute:
                experience.old_logprobs[rows, :width] = found["logprobs"].float()
            if "values" in found:
                experience.values[rows, :width] = found["values"]
        off = model.policy.disable_adapter() if reference is None else nullcontext()
        with off:
            logprobs, _ = completion_logprobs(
                model.policy if reference is None else reference,
                batch["input_ids"],
                batch["attention_mask"],
                batch["completion_mask"],
                model.temperature,
            )
        experience.ref_logprobs[rows, :width] = logprobs.float()
