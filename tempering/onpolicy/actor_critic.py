"""Policy and value model as one module, so that one backward pass trains both."""

from typing import Any

from torch import Tensor, nn

from tempering.generation.logprobs import hidden_states, logprobs_of
from tempering.onpolicy.value import ValueHead, ValueModel


class ActorCritic(nn.Module):
    """A policy, and for PPO what values its states.

    Args:
        policy: a causal LM, or a PEFT model around one.
        value: a model with a trunk of its own, a head on the policy's trunk, or None.
        temperature: logits are divided by it.
    """

    def __init__(self, policy: Any, value: ValueModel | ValueHead | None, temperature: float) -> None:
        super().__init__()
        self.policy, self.value, self.temperature = policy, value, temperature

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, completion_mask: Tensor, with_logprobs: bool = True
    ) -> dict[str, Tensor]:
        """Log-probabilities, entropies and (PPO) values of completion tokens, each (B, C); 0 where masked.

        Args:
            with_logprobs: False: values alone, where they have a trunk of their own.
        """
        outputs: dict[str, Tensor] = {}
        on_trunk = isinstance(self.value, ValueHead)
        # One pass over the trunk serves both heads.
        if with_logprobs or on_trunk:
            hidden = hidden_states(self.policy, input_ids, attention_mask)
        if with_logprobs:
            outputs["logprobs"], outputs["entropy"] = logprobs_of(
                self.policy, hidden, input_ids, completion_mask, self.temperature
            )
        if isinstance(self.value, ValueHead):
            outputs["values"] = _before_each(self.value(hidden), completion_mask)
        elif self.value is not None:
            values = self.value(input_ids, attention_mask)
            outputs["values"] = _before_each(values, completion_mask)
        return outputs

    def activation_checkpointing_enable(self, **kwargs: Any) -> None:
        """Trainer calls this where the config asks for it."""
        self.policy.activation_checkpointing_enable()
        if isinstance(self.value, ValueModel):
            self.value.backbone.activation_checkpointing_enable()

    gradient_checkpointing_enable = activation_checkpointing_enable


def _before_each(values: Tensor, completion_mask: Tensor) -> Tensor:
    """V of the state before each completion token, (B, C) in fp32, from values at every position."""
    return values.float()[:, -completion_mask.shape[1] - 1 : -1] * completion_mask
