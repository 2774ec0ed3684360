"""Can this checkpoint be loaded into this trainer? Asked before anything is loaded: another one still can be.

Digests see damage to what we wrote; this sees the rest: a checkpoint of an older version without digests, or
of another run. Part of it would load without an error and train wrongly: a schedule takes over any dictionary
and an optimizer any state. Nothing here runs code of a file: pickles are read with `weights_only`.
"""

import dataclasses
import json
import random
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from transformers.trainer_callback import ExportableState, TrainerState
from transformers.trainer_pt_utils import safe_globals

from tempering.artifacts.names import checkpoint_tokens
from tempering.errors import UserError
from tempering.training.checkpoints import OPTIMIZER

STATE = "trainer_state.json"
_SETTINGS = ("lr", "betas", "eps", "weight_decay", "params")
_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}
_SCHEDULE = {"base_lrs": list, "last_epoch": int, "_step_count": int, "_last_lr": list}


def fault(trainer: Any, checkpoint: Path) -> str | None:
    """Why `trainer` cannot go on from `checkpoint`, or None."""
    if trainer.sharded:  # accelerate's own layout
        return None
    for check in (
        _check_state,
        _check_own,
        _check_optimizer,
        _check_schedule,
        _check_random_state,
        _check_scaler,
    ):
        try:
            check(trainer, checkpoint)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            return reason(error).replace(f"{checkpoint}/", "").removeprefix(f"{checkpoint}: ")
    return None


def reason(error: BaseException) -> str:
    """The first line of an error that a file caused."""
    text = error.found if isinstance(error, UserError) else str(error)
    line = (text.strip().splitlines() or [""])[0][:300]
    return line if isinstance(error, UserError | _Malformed) else f"{type(error).__name__}: {line}"


class _Malformed(ValueError):
    """A file that holds something else than it should."""


def expect(condition: bool, file: str, fact: str) -> None:
    """Raise where a file of a checkpoint is not what its trainer wrote."""
    if not condition:
        raise _Malformed(f"{file}: {fact}")


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a checkpoint."""
    try:
        tree = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _Malformed(f"{path.name}: {error}") from None
    expect(isinstance(tree, dict), path.name, f"a {type(tree).__name__} instead of an object")
    return dict(tree)


def expect_like(values: Mapping[str, Any], models: Mapping[str, Any], file: str) -> None:
    """Raise unless `values` has a value of the same type for each of `models`; an int is a number too."""
    for name, model in models.items():
        expect(name in values, file, f"{name} is missing")
        value, number = values[name], isinstance(model, float)
        alike = (
            isinstance(value, Real) and not isinstance(value, bool) if number else type(value) is type(model)
        )
        expect(alike, file, f"{name} is {value!r:.60}")


def _check_state(trainer: Any, checkpoint: Path) -> None:
    # Its fields, with the types of an empty one's.
    tree = read_json(checkpoint / STATE)
    names = {field.name for field in dataclasses.fields(TrainerState)}
    expect(tree.keys() <= names, STATE, f"unknown: {', '.join(sorted(tree.keys() - names)[:5])}")
    blank = vars(TrainerState(epoch=0.0))
    expect_like(tree, {name: blank[name] for name in _COUNTED}, STATE)
    expect(all(tree[name] >= 0 for name in _COUNTED[:3]), STATE, "a count is negative")
    expect(all(isinstance(row, dict) for row in tree["log_history"]), STATE, "log_history holds no rows")
    # It belongs to this checkpoint, and to callbacks like ours.
    tokens = checkpoint_tokens(checkpoint.name) or 0
    expect(tree["num_input_tokens_seen"] >= tokens, STATE, f"it is of {tree['num_input_tokens_seen']} tokens")
    callbacks = [*trainer.callback_handler.callbacks, trainer.control]
    for name in {type(entry).__name__ for entry in callbacks if isinstance(entry, ExportableState)}:
        entry = tree["stateful_callbacks"].get(name)
        expect(isinstance(entry, dict | list), STATE, f"stateful_callbacks has no {name}")


_COUNTED = ("global_step", "num_input_tokens_seen", "epoch", "log_history", "stateful_callbacks")


def _check_own(trainer: Any, checkpoint: Path) -> None:
    trainer.check_own_state(checkpoint)


def _check_optimizer(trainer: Any, checkpoint: Path) -> None:
    state = _load(checkpoint / OPTIMIZER, dict)
    groups = trainer.create_optimizer().param_groups
    # The same groups of the same number of parameters, with the same settings.
    stored = state.get("param_groups")
    expect(isinstance(stored, list) and len(stored) == len(groups), OPTIMIZER, "other groups of parameters")
    for group, own in zip(stored, groups, strict=True):
        expect_like(group, {name: own[name] for name in _SETTINGS}, OPTIMIZER)
        expect(len(group["params"]) == len(own["params"]), OPTIMIZER, "another number of parameters")
    # Moments of each parameter's shape.
    parameters = [parameter for group in groups for parameter in group["params"]]
    numbers = [number for group in stored for number in group["params"]]
    moments = state.get("state")
    expect(isinstance(moments, dict) and bool(moments), OPTIMIZER, "it holds no state")
    expect(moments.keys() <= set(numbers), OPTIMIZER, "state of other parameters")
    for number, parameter in zip(numbers, parameters, strict=True):
        entry = moments.get(number)
        if entry is None:  # a parameter that has had no gradient
            continue
        expect(isinstance(entry, dict) and entry.keys() >= _MOMENTS, OPTIMIZER, "moments are missing")
        tensors = [entry[name] for name in ("exp_avg", "exp_avg_sq")]
        fits = all(isinstance(one, torch.Tensor) and one.shape == parameter.shape for one in tensors)
        expect(fits, OPTIMIZER, f"moments of another shape than {list(parameter.shape)}")


def _check_schedule(trainer: Any, checkpoint: Path) -> None:
    name = "scheduler.pt"
    state = _load(checkpoint / name, dict)
    expect_like(state, {key: kind() for key, kind in _SCHEDULE.items()}, name)
    groups = len(trainer.create_optimizer().param_groups)
    rates = [*state["base_lrs"], *state["_last_lr"]]
    expect(
        len(rates) == 2 * groups and all(isinstance(rate, Real) for rate in rates),
        name,
        "other learning rates",
    )
    # fp16 skips steps whose gradients overflow.
    steps = read_json(checkpoint / STATE)["global_step"]
    expect(
        state["last_epoch"] == steps or trainer.args.fp16,
        name,
        f"it is of step {state['last_epoch']}, not {steps}",
    )


def _check_random_state(trainer: Any, checkpoint: Path) -> None:
    files = sorted(checkpoint.glob("rng_state*.pth"))  # one a process
    expect(bool(files), "rng_state.pth", "it is missing")
    for file in files:
        with safe_globals():
            state = _load(file, dict)
        try:
            random.Random().setstate(state["python"])
            np.random.RandomState().set_state(state["numpy"])
            torch.Generator().set_state(state["cpu"])
        except Exception as error:
            raise _Malformed(f"{file.name}: {type(error).__name__}: {error}") from None


def _check_scaler(trainer: Any, checkpoint: Path) -> None:
    scaler = trainer.accelerator.scaler
    if scaler is not None and (checkpoint / "scaler.pt").exists():
        expect_like(_load(checkpoint / "scaler.pt", dict), scaler.state_dict(), "scaler.pt")


def _load(path: Path, kind: type) -> Any:
    """What a pickle of tensors and plain values holds; one that calls anything is refused."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except OSError as error:
        raise _Malformed(f"{path.name}: {error.strerror}") from None
    except Exception as error:
        calls = isinstance(error, UnpicklingError) and "GLOBAL" in str(error)
        raise _Malformed(f"{path.name}: {'it would run code' if calls else 'malformed'}") from None
    expect(isinstance(state, kind), path.name, f"a {type(state).__name__} instead of a {kind.__name__}")
    return state
