"""The optimizer: AdamW (Loshchilov & Hutter 2019), norms and biases without weight decay."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tempering.onpolicy.actor_critic import ActorCritic
from tempering.onpolicy.config import OnPolicyConfig


class IdleSteps(TrainerCallback):
    """Makes no step where there is nothing to learn.

    AdamW would decay the weights, go on with its momentum, and take rounding noise in the KL for a gradient.

    Args:
        idle: whether the step at hand is such a one; the same in every process.
    """

    def __init__(self, idle: Callable[[], bool]) -> None:
        self.idle = idle

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.idle() and not args.fp16:  # its scaler wants to see gradients
            kwargs["model"].zero_grad(set_to_none=True)


def adamw(
    model: ActorCritic, config: OnPolicyConfig, decayed: Callable[[Any], Iterable[str]]
) -> torch.optim.AdamW:
    """AdamW over what is trained; the value model may have its own learning rate.

    Args:
        decayed: names of a module's parameters that weight decay is for.
    """
    rates = [(model.policy, config.learning_rate)]
    value = config.estimator.value_model
    if value is not None:
        rates.append((model.value, value.value_learning_rate or config.learning_rate))
    groups = [
        group for module, rate in rates for group in _groups(module, rate, config, set(decayed(module)))
    ]
    device = next(model.parameters()).device.type
    return torch.optim.AdamW(
        groups,
        lr=config.learning_rate,
        betas=(config.adam_beta1, config.adam_beta2),
        fused=device in ("cpu", "cuda"),
    )


def _groups(module: Any, rate: float, config: OnPolicyConfig, decayed: set[str]) -> Iterator[dict[str, Any]]:
    """Parameters with weight decay, and those without."""
    for decays in (True, False):
        parameters = [
            parameter
            for name, parameter in module.named_parameters()
            if parameter.requires_grad and (name in decayed) == decays
        ]
        if parameters:
            yield {"params": parameters, "lr": rate, "weight_decay": config.weight_decay if decays else 0.0}
