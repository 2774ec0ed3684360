"""The parts of a memory estimate, and how they add up to a total.

What a phase needs is what rests in all of them (weights, moments, models beside, what the allocator
keeps) and what it adds; the constants for a CPU were measured, see docs/measured/memory.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from tempering.memory import models, steps
from tempering.memory.trace import Tally, nbytes, unique_parameters
from tempering.training.config import TrainingConfig

BASE = 30_000_000
"""Bytes on a CPU for the tokenizer, the data set's index, and buffers of the kernels (measured)."""
HOLES, HOLES_OF_ADAPTERS = 0.4, 1.0
"""Bytes that glibc keeps between blocks, for each byte that lives in blocks below 32 MB (measured).

An adapter makes short-lived blocks in every layer, between those that stay: they tear the heap apart.
"""
MIN_FORWARD = 32
"""Rows of a forward pass that keeps nothing: held-out rows, DPO's reference, comparing a rollout."""


@dataclass(frozen=True)
class Inputs:
    """What the stage starts from, beside its config.

    Attributes:
        model: the one to train.
        length: tokens of the longest row (blocks: of a block; PPO and RLOO: of a prompt).
        reward_models: by component of the reward, whose scores PPO and RLOO learn from.
        reference: DPO's, where it is another model than the one to train.
        held_out: whether rows are held out, and the model is measured on them after training.
        on_gpu: whether it trains on a GPU.
    """

    model: models.Source
    length: int
    reward_models: Mapping[str, models.Source] = field(default_factory=dict)
    reference: models.Source | None = None
    held_out: bool = False
    on_gpu: bool = False


@dataclass(frozen=True)
class Estimate:
    """Bytes of each part of a stage, and of each of its phases."""

    parameters: int
    trainable: int
    weights: int
    gradients: int
    optimizer: int
    activations: int
    reference: int = 0
    reward_model: int = 0
    kv_cache: int = 0
    other: int = 0
    allocator: int = 0
    phases: Mapping[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """The highest phase."""
        return max(self.phases.values())

    @property
    def peak(self) -> str:
        """The name of the highest phase."""
        return max(self.phases, key=self.phases.__getitem__)

    def row(self) -> dict[str, Any]:
        """All of it, as JSON prints it."""
        return {**vars(self), "phases": dict(self.phases), "total": self.total, "peak": self.peak}


class Course:
    """What the estimates of all stages share: sizes of the batch, and sums."""

    def __init__(self, config: TrainingConfig, inputs: Inputs) -> None:
        self.config, self.inputs, self.adapter = config, inputs, config.adapter
        self.micro = config.micro_batch_size or config.batch_size
        self.accumulates = self.micro < config.batch_size
        self.many = max(self.micro, MIN_FORWARD)

    def ready(self, model: Any) -> Any:
        """A model in training mode, which recomputes activations where the config asks for it."""
        model.train()
        if self.config.gradient_checkpointing:
            if self.adapter is not None:
                model.enable_input_require_grads()
            model.activation_checkpointing_enable()
        return model

    def update(self, modules: list[nn.Module], loss: Callable[[], Any]) -> Tally:
        """One optimizer step's forward and backward passes."""
        return steps.forward_and_backward(modules, loss, self.config.precision, accumulates=self.accumulates)

    def summed(
        self, modules: list[nn.Module], update: Tally, phases: Mapping[str, int], **parts: int
    ) -> Estimate:
        """The estimate. `phases`: bytes above what is there in all of them."""
        # What the modules hold: weights, a gradient and two moments of what is trained.
        parameters = unique_parameters(modules)
        trained = [weight for weight in parameters if weight.requires_grad]
        gradients = nbytes(trained)
        weights = sum(models.weight_bytes(module, self.adapter) for module in modules)

        # What a CPU needs besides, and what rests in every phase.
        allocator = 0
        if not self.inputs.on_gpu:
            allocator = int((HOLES_OF_ADAPTERS if self.adapter else HOLES) * update.peak_of_small)
            parts["other"] = parts.get("other", 0) + BASE
        resting = weights + 2 * gradients + allocator + sum(parts.get(name, 0) for name in _ALWAYS)

        # AdamW is fused everywhere, and has no temporaries.
        above = {"update": update.peak, "optimizer": gradients, **phases}
        return Estimate(
            parameters=sum(weight.numel() for weight in parameters),
            trainable=sum(weight.numel() for weight in trained),
            weights=weights,
            gradients=gradients,
            optimizer=2 * gradients,
            activations=update.peak_without_gradients,
            allocator=allocator,
            phases={name: resting + size for name, size in above.items()},
            **parts,
        )


_ALWAYS = ("reference", "reward_model", "other")
