"""After each training step: checkpoints at token thresholds and at a stop, the end, rows, progress."""

import time
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from tempering.errors import DataError
from tempering.training.config import TrainingConfig


class TokenCallback(TrainerCallback):
    """Saves at token thresholds, stops at the limit, writes log rows and progress."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.config: TrainingConfig = trainer.config
        self.crossed: int | None = None
        self.finished = False
        self.stopped = False
        """Whether the checkpoint at hand is there because of a stop alone."""
        self._started = time.monotonic()
        self._at_start = 0
        self._next = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._started, self._at_start = time.monotonic(), int(state.num_input_tokens_seen)
        self.trainer.cut_logs()
        self._plan_next(self._at_start)

    def _threshold(self, tokens: int) -> int:
        interval = self.config.checkpoint_interval
        return tokens // interval * interval if interval else 0

    def _plan_next(self, tokens: int) -> None:
        self._next = self._threshold(tokens) + (self.config.checkpoint_interval or 0)

    def at_boundary(self) -> bool:
        """Whether a checkpoint or the end may fall on this step (on-policy: between rollouts only)."""
        return bool(getattr(self.trainer, "at_boundary", True))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.trainer.end_step()
        tokens = int(state.num_input_tokens_seen)
        self.crossed = None
        if not self.at_boundary():
            return
        if self._next and tokens >= self._next:
            self.crossed = self._threshold(tokens)
            control.should_save = True
            self._plan_next(tokens)
        limit = self.config.token_limit
        exhausted = bool(getattr(self.trainer, "exhausted", False))
        if (limit and tokens >= limit) or state.global_step >= state.max_steps or exhausted:
            control.should_training_stop = control.should_save = self.finished = True
        if self.trainer.asked_to_stop():
            self.stopped = not control.should_save
            control.should_training_stop = control.should_save = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if not logs or "loss" not in logs or not state.is_world_process_zero:
            return
        self._refuse_no_gradient(logs, state.global_step)
        # One row per step, with every number that the trainer logged.
        tokens, seconds = int(state.num_input_tokens_seen), time.monotonic() - self._started
        row = {
            key: value
            for key, value in logs.items()
            if isinstance(value, int | float) and key not in _NOT_LOGGED
        }
        speed = (tokens - self._at_start) / max(seconds, 1e-9)
        self.trainer.stats.append(
            [
                {
                    "step": state.global_step,
                    "tokens": tokens,
                    "seconds": round(seconds, 3),
                    "tokens_per_second": round(speed, 1),
                    **row,
                }
            ]
        )
        # The total is an estimate where steps or epochs end the run.
        progress = self.trainer.progress(state.global_step)
        total = int(tokens / progress) if progress > 0 else None
        live = {name: float(row[name]) for name in _LIVE if name in row}
        self.trainer.out.progress(tokens, total, **live)

    def _refuse_no_gradient(self, logs: dict[str, Any], step: int) -> None:
        """Stop at a first step without any gradient: such a run looks healthy and never learns."""
        if step == 1 and self.trainer.must_learn_at_once and logs.get("grad_norm") == 0:
            raise DataError(
                f"the first step has no gradient at all (loss {logs['loss']:.4g}): the model learns nothing",
                expected="a loss that depends on the trained weights",
                fix="check the sample's completion masks, and the adapter's target_modules",
            )


_LIVE = ("score", "kl", "loss")  # what people watch, the most telling first
_NOT_LOGGED = {"num_input_tokens_seen", "num_tokens", "epoch", "train_tokens_per_second", "train_runtime"}
