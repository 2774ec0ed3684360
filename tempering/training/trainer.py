"""What every trainer here adds to `transformers.Trainer`, as a mixin.

Tokens are the unit of account: counted in the trainer state, so a resume continues the count,
they trigger checkpoints, end the run at `token_limit` and drive the learning rate. Log rows are
ours, one per step. The mixin comes before Trainer or a TRL trainer in the list of bases.
"""

import math
import os
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback
from transformers.trainer_callback import TrainerState

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import SampleArtifact
from tempering.artifacts.names import checkpoint_name
from tempering.artifacts.row_log import RowLog
from tempering.errors import ConfigError, StageStopped
from tempering.models.compiling import check_compiler, compile_layers
from tempering.printable import count
from tempering.training.checkpoints import STOPPED, publish
from tempering.training.config import TrainingConfig
from tempering.training.resume import CheckedLoading, resume_point
from tempering.training.schedule import learning_rate_factor
from tempering.training.token_callback import TokenCallback
from tempering.training.tracking import trackers

FINISHED = "finished"  # marks the checkpoint at the end of a run


def row_order(sample: SampleArtifact) -> str:
    """Trainer's sampling strategy: the sample's own order where a curriculum made it."""
    return "sequential" if sample.details.get("ordered") else "random"


def training_arguments(config: TrainingConfig, out: Draft, **more: Any) -> dict[str, Any]:
    """Arguments that all trainers share; `more` are those of one trainer.

    Raises:
        ConfigError: batch_size cannot be shared by the processes, or the device cannot do what is set.
    """
    # How the global batch is divided over processes and accumulation steps.
    processes = int(os.environ.get("WORLD_SIZE", "1"))  # as torch and accelerate set it
    micro = config.micro_batch_size or max(1, config.batch_size // processes)
    if config.batch_size % (micro * processes):
        raise ConfigError(
            f"batch_size {config.batch_size} cannot be shared by {processes} processes",
            expected=f"a multiple of {processes} x micro_batch_size",
            fix="change batch_size or micro_batch_size",
        )
    # What the device cannot do is refused before anything is computed.
    device = out.runtime.device
    cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    check_precision(config, "cpu" if cpu else device)
    if config.compile:
        check_compiler("cpu" if cpu else device)
    # Checkpoints, logs and trackers are ours, so Trainer's own are off.
    return {
        "output_dir": str(out.checkpoints_dir),
        "per_device_train_batch_size": micro,
        "per_device_eval_batch_size": max(micro, 32),
        "gradient_accumulation_steps": config.batch_size // (micro * processes),
        "learning_rate": config.learning_rate,
        "num_train_epochs": config.num_epochs,
        "max_steps": config.max_steps or -1,
        "weight_decay": config.weight_decay,
        "adam_beta1": config.adam_beta1,
        "adam_beta2": config.adam_beta2,
        "max_grad_norm": config.max_grad_norm,
        "bf16": config.precision == "bf16",
        "fp16": config.precision == "fp16",
        "activation_checkpointing": config.gradient_checkpointing,
        "use_cpu": cpu,
        "seed": out.seed,
        "data_seed": out.seed,
        "save_strategy": "no",  # ours: by tokens, see TokenCallback
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "include_num_input_tokens_seen": "non_padding",
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
        **more,
    }


def check_precision(config: TrainingConfig, device: str) -> None:
    """Refuse fp16 on a CPU, where accelerate would silently train in fp32.

    Raises:
        ConfigError: precision is fp16 and the device a CPU.
    """
    if config.precision == "fp16" and device == "cpu":
        raise ConfigError(
            "precision: fp16 on a CPU, which cannot scale gradients",
            expected="fp32, or bf16 on a CPU with bf16 units; fp16 needs a GPU",
            fix="set precision to fp32",
        )


class TokenTrainer(CheckedLoading):
    """Mixin: token-named atomic checkpoints, resume from the newest complete one, token schedule.

    Keyword arguments besides Trainer's own:
        config: the stage's training config.
        out: the draft that holds `checkpoints/`, the logs and the progress callback.
    """

    def __init__(self, *args: Any, config: TrainingConfig, out: Draft, **kwargs: Any) -> None:
        self.config, self.out = config, out
        self.stats = RowLog(out.metadata_dir / "training_stats.jsonl")
        arguments = kwargs["args"]
        if arguments.device.type == "cuda":  # one process, one device: several come with `accelerate launch`
            arguments._n_gpu = 1
        super().__init__(*args, **kwargs)
        if config.compile:
            compile_layers(self.model)  # type: ignore[attr-defined]
        self._first_limit()
        self._ledger = TokenCallback(self)
        self.add_callback(self._ledger)  # type: ignore[attr-defined]
        self.remove_callback(PrinterCallback)  # type: ignore[attr-defined]
        for tracker in trackers(out):
            self.add_callback(tracker)  # type: ignore[attr-defined]

    def _first_limit(self) -> None:
        """In Trainer `max_steps` overrides the epochs; here the first of them ends the run."""
        arguments, rows = self.args, getattr(self, "train_dataset", None)  # type: ignore[attr-defined]
        if self.config.max_steps and rows is not None:
            by_epochs = math.ceil(self.config.num_epochs * math.ceil(len(rows) / self.config.batch_size))
            arguments.max_steps = min(self.config.max_steps, by_epochs)

    # -- resume ------------------------------------------------------------------------------

    def train_or_resume(self) -> None:
        """Train to the end, from the draft's newest sound checkpoint if it has one."""
        checkpoint = resume_point(self)
        # Log rows continue after the checkpoint's, or start anew.
        if checkpoint is not None:
            for log in self.row_logs():
                log.restore()
            state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
            self.out.resumed_from_tokens = int(state.num_input_tokens_seen)
            self.out.log(f"resuming from {checkpoint.name}")
        else:
            for log in self.row_logs():
                log.begin()
        self.wait()
        # A checkpoint at the end of a run leaves nothing to train.
        if checkpoint is not None and (checkpoint / FINISHED).exists():
            self._take_finished(checkpoint)
        else:
            with self.out.stoppable():
                self.train(resume_from_checkpoint=checkpoint and str(checkpoint))  # type: ignore[attr-defined]
            if self.asked_to_stop():
                raise StageStopped(
                    f"a checkpoint at {count(self.tokens)} tokens is written; run again to resume"
                )
        self.out.tokens = self.tokens
        self.wait()
        for log in self.row_logs():
            log.to_parquet()

    def asked_to_stop(self) -> bool:
        """Whether a process of the stage has been told to end; every process gets the same answer."""
        asked, accelerator = self.out.stop_asked, self.accelerator  # type: ignore[attr-defined]
        if accelerator.num_processes > 1:
            votes = torch.tensor(float(asked), device=accelerator.device)
            asked = bool(accelerator.reduce(votes, reduction="sum") > 0)
        return asked

    def _take_finished(self, checkpoint: Path) -> None:
        """Load the last checkpoint of a stage that was killed after finishing its training."""
        self._load_from_checkpoint(str(checkpoint))
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        self.state = state
        self.cut_logs()

    def cut_logs(self) -> None:
        """Drop the log rows that are newer than the checkpoint; say what is missing of the older ones."""
        step = self.state.global_step
        for log in self.row_logs():
            if malformed := log.cut(step):
                self.out.warn(
                    f"{log.path.name} is damaged: {malformed} lines cannot be read and are left out"
                )
        if self.writes and (rows := len(self.stats.rows())) < step:
            self.out.warn(f"{self.stats.path.name} is damaged: it has rows of {rows} steps instead of {step}")

    def row_logs(self) -> list[RowLog]:
        """The logs to cut on resume and turn into Parquet at the end; none unless this process writes."""
        return [self.stats] if self.writes else []

    @property
    def writes(self) -> bool:
        """Whether this is the one process that writes into the draft."""
        return bool(self.args.process_index == 0)  # type: ignore[attr-defined]

    def wait(self) -> None:
        """Block until the other processes get here too."""
        self.accelerator.wait_for_everyone()  # type: ignore[attr-defined]

    @property
    def tokens(self) -> int:
        """Tokens counted so far, over all processes and sessions of this run."""
        return int(self.state.num_input_tokens_seen)

    # -- learning rate -----------------------------------------------------------------------

    def schedule_progress(self, steps: int) -> float:
        """The position on the schedule of the step after `steps` steps."""
        return self.progress(steps)

    def progress(self, steps: float) -> float:
        """The finished share of the run, by steps or tokens, whichever is further."""
        by_steps: float = steps / max(1, self.state.max_steps)
        limit = self.config.token_limit
        return max(by_steps, self.tokens / limit) if limit else by_steps

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """LambdaLR over `learning_rate_factor`; Trainer calls this."""
        if self.lr_scheduler is None:
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer,  # type: ignore[attr-defined]
                lambda step: learning_rate_factor(self.config, self.schedule_progress(step)),
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    lr_scheduler: Any = None
    must_learn_at_once = True
    """Whether the first step must have a gradient; on-policy, equal scores may leave it without one."""

    # -- checkpoints -------------------------------------------------------------------------

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._writing or self.args.output_dir)  # type: ignore[attr-defined]

    _writing: Path | None = None

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        name = checkpoint_name(self._ledger.crossed or self.tokens)
        self._writing = self.out.checkpoints_dir / f".tmp-{name}"
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            folder = self._writing / f"checkpoint-{self.state.global_step}"
            self.wait()  # every process writes its random state there
            if self.writes:
                self.save_extra_state(folder)
                for log in self.row_logs():
                    log.sync()
                if self._ledger.finished:
                    (folder / FINISHED).touch()
                if self._ledger.stopped:
                    (folder / STOPPED).touch()
                publish(folder, self.out.checkpoints_dir / name)
                self._writing.rmdir()
            self.wait()
        finally:
            self._writing = None

    def end_step(self) -> None:
        """Called after an optimizer step, before anything depends on it."""

    def save_extra_state(self, folder: Path) -> None:
        """Add a trainer's own state to a checkpoint."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write no card: the export writes one that knows the lineage."""
