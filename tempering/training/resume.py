"""Where a stage goes on: the newest checkpoint that can be loaded. What cannot is set aside, with a line.

Without any the stage begins anew. It is decided once, by the process that writes, before anything is loaded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast_object_list

from tempering.artifacts.partial import set_aside
from tempering.errors import StageFailed
from tempering.models.saved_weights import check_weights, load_weights
from tempering.training.checkpoints import OPTIMIZER, damage, has_state, newest_first, sweep
from tempering.training.soundness import fault, reason


def resume_point(trainer: Any) -> Path | None:
    """The checkpoint to go on from, the same in every process; None where there is none."""
    folder = trainer.out.checkpoints_dir
    # What a kill left half written is never resumed from; the process that writes removes it.
    names: list[str | None] = [None]
    if trainer.writes:
        sweep(folder)
        names = [_newest_sound(trainer, folder)]
    [name] = broadcast_object_list(names)
    return None if name is None else folder / name


def _newest_sound(trainer: Any, folder: Path) -> str | None:
    """The name of the checkpoint; damaged ones are set aside on the way to it."""
    out = trainer.out
    checkpoints = newest_first(folder)
    bare: list[str] = []
    for checkpoint in checkpoints:
        why = damage(checkpoint)
        if why is None and not has_state(checkpoint):
            bare.append(checkpoint.name)
            continue
        why = why or fault(trainer, checkpoint)
        if why is None:
            if bare:  # only older ones lose their training state
                out.warn(f"{', '.join(bare)}: {OPTIMIZER} is missing, so an older checkpoint is used")
            return checkpoint.name
        out.warn(f"{checkpoint.name} is damaged: {why}. It is set aside: {set_aside(checkpoint, out.path)}")
    if checkpoints:
        out.warn("no checkpoint is left that the stage could resume from: it begins anew")
    return None


class CheckedLoading:
    """Mixin: loads all weights, by name and shape; what fails at the last moment is set aside too."""

    @property
    def sharded(self) -> bool:
        """Whether weights and optimizer state are divided over processes, in accelerate's own layout."""
        return bool(self.is_fsdp_enabled or self.is_deepspeed_enabled)  # type: ignore[attr-defined]

    def check_own_state(self, folder: Path) -> None:
        """Refuse weights, and what else a trainer saves, that `load_own_state` could not take over."""
        check_weights(self.model, folder)  # type: ignore[attr-defined]

    def load_own_state(self, folder: Path, model: Any) -> None:
        """Take over the weights of a checkpoint."""
        if self.sharded:
            super()._load_from_checkpoint(str(folder), model)  # type: ignore[misc]
        else:
            load_weights(self.model, folder)  # type: ignore[attr-defined]

    # Trainer calls these.

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with self._loading(resume_from_checkpoint):
            self.load_own_state(Path(resume_from_checkpoint), model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with self._loading(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]

    def _load_scaler(self, checkpoint: str | None) -> None:
        with self._loading(checkpoint):
            super()._load_scaler(checkpoint)  # type: ignore[misc]

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with self._loading(checkpoint):
            super()._load_rng_state(checkpoint)  # type: ignore[misc]

    @contextmanager
    def _loading(self, checkpoint: str | None) -> Iterator[None]:
        """By now the model has changed, so this run ends; the next one goes on without the checkpoint."""
        try:
            yield
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if checkpoint is None:
                raise
            folder = Path(checkpoint)
            place = set_aside(folder, self.out.path) if self.writes else folder  # type: ignore[attr-defined]
            raise StageFailed(
                f"{folder.name} cannot be loaded: {reason(error)}. It is set aside: {place}; run again to "
                "resume from the checkpoint before it, or to begin anew where there is none"
            ) from error
