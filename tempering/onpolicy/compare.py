"""What the policy, the reference and the value model say of completions, before any update."""

from contextlib import nullcontext
from typing import Any

import torch

from tempering.generation.logprobs import completion_logprobs
from tempering.onpolicy.actor_critic import ActorCritic
from tempering.onpolicy.batches import Batch
from tempering.onpolicy.experience import Compared, Scored
from tempering.onpolicy.value import ValueHead


@torch.no_grad()
def compare(model: ActorCritic, reference: Any, scored: Scored, *, size: int, recompute: bool) -> Compared:
    """A scored rollout with `old_logprobs`, `ref_logprobs` and `values`.

    Args:
        reference: a frozen policy; None: the policy with its adapter switched off.
        size: rows per forward pass.
        recompute: the policy's own forward pass; False: `old_logprobs` are the sampler's.
    """
    empty = torch.zeros_like(scored.sampler_logprobs)
    old_logprobs = empty.clone() if recompute else scored.sampler_logprobs
    ref_logprobs, values = empty.clone(), empty.clone()
    for batch in Batch.whole(scored).split(size):
        rows, width = batch.rows, batch.completion_mask.shape[1]
        tensors = (batch.input_ids, batch.attention_mask, batch.completion_mask)
        # the policy and the value model, where somebody asks them
        if recompute or model.value is not None:
            on_trunk = isinstance(model.value, ValueHead)
            outputs = model(*tensors, with_logprobs=recompute or on_trunk)
            if recompute:
                old_logprobs[rows, :width] = outputs["logprobs"].float()
            if "values" in outputs:
                values[rows, :width] = outputs["values"]
        # the reference
        adapter = model.policy.disable_adapter() if reference is None else nullcontext()
        with adapter:
            judge = model.policy if reference is None else reference
            logprobs, _ = completion_logprobs(judge, *tensors, model.temperature)
        ref_logprobs[rows, :width] = logprobs.float()
    return Compared(**vars(scored), old_logprobs=old_logprobs, ref_logprobs=ref_logprobs, values=values)
