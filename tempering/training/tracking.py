"""Sends log rows to TensorBoard or Weights & Biases too, by transformers' callbacks.

Their files are in the stage's `tracking/` folder: kept with the artifact, but not part of its payload. After
a resume, repeated steps replace what was logged after the checkpoint.
"""

import os
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.integrations import TensorBoardCallback, WandbCallback
from transformers.training_args import TrainingArguments

from tempering.artifacts.draft import Draft
from tempering.runtime import require_tracker


def trackers(out: Draft) -> list[TrainerCallback]:
    """The callback that `runtime.log_with` asks for, if any.

    Raises:
        ConfigError: its package is not installed.
    """
    tracker = out.runtime.log_with
    require_tracker(tracker)
    if tracker is None:
        return []
    folder = out.path / "tracking"
    folder.mkdir(exist_ok=True)
    return [_TensorBoard(str(folder)) if tracker == "tensorboard" else _Wandb(str(folder))]


class _TensorBoard(TensorBoardCallback):
    """Does not log the arguments as text: they name folders of this machine."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.logging_dir = folder

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            next_step = state.global_step + 1 if state.global_step else None
            self.tb_writer = self._SummaryWriter(log_dir=self.logging_dir, purge_step=next_step)


class _Wandb(WandbCallback):
    """An offline run unless the environment says otherwise; each session of a resumed stage is one."""

    def __init__(self, folder: str) -> None:
        os.environ.setdefault("WANDB_MODE", "offline")
        os.environ.setdefault("WANDB_PROJECT", "tempering")
        os.environ.setdefault("WANDB_SILENT", "true")
        os.environ["WANDB_DIR"] = folder
        super().__init__()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        super().on_train_end(args, state, control, **kwargs)
        if self._initialized and self._wandb.run is not None:
            self._wandb.finish()  # a stage's process ends without exit handlers
