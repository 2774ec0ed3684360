"""The clock of TRL's trainers, whose steps are rollouts here; runs with either version of TRL."""

from typing import Any

from transformers import TrainerCallback

from benchmarks.peers.measure import Clock


class StepClock(TrainerCallback):  # type: ignore[misc]
    """Starts a clock with the training, and ticks at the end of each step."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.clock.start()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.clock.tick()
