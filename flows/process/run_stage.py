"""What a stage's process does: call the stage with its draft, and send back small facts.

Apart from the runner, so that the child imports nothing of it.
"""

import fcntl
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.process.child import Send
from flows.process.devices import Devices
from flows.process.ranks import beside
from flows.process.resources import used
from tempering.artifacts.draft import Draft
from tempering.artifacts.stage import Stage, get_stage
from tempering.config import Config
from tempering.runtime import RuntimeConfig

_LOCK = ".tmp-working"  # a commit drops `.tmp-*`


def work(
    send: Send, module: str, stage: str, draft: Draft, config: Config, inputs: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a stage in this process, the child: its summary, and what it set on the draft."""
    function = _stage(module, stage)
    draft.on_progress = lambda *report: send(("progress", *report))
    draft.on_log = lambda level, text: send(("log", level, text))
    draft.on_stoppable = lambda ready: send(("stoppable", ready))
    draft.on_doing = lambda what: send(("doing", os.environ.get("RANK", "0"), what))
    _limit_threads(draft.runtime)
    if not function.slot:
        os.nice(10)  # data is made beside the training, and must not slow it
    with (draft.path / _LOCK).open("w") as lock:
        # The child of a parent killed a moment ago may still be writing here: wait for its end.
        fcntl.flock(lock, fcntl.LOCK_EX)
        processes = draft.runtime.processes if function.parallel else 1
        devices = Devices(draft, processes, send)
        if processes > 1:  # their ranks share them
            devices.take()
        draft.on_device = devices.take
        with beside(processes, lambda: function(_silent(draft), config, **inputs)):
            summary = dict(function(draft, config, **inputs))
        draft.details["resources"] = used()
        Path(lock.name).unlink(missing_ok=True)
    return summary, draft.outcome()


def _silent(draft: Draft) -> Draft:
    """The draft for a process that says nothing to the outside."""
    draft.on_progress = draft.on_log = draft.on_stoppable = None
    return draft


def _stage(module: str, stage: str) -> Stage:
    importlib.import_module(module)
    return get_stage(stage)


def _limit_threads(runtime: RuntimeConfig) -> None:
    if runtime.threads is not None:
        import torch

        torch.set_num_threads(runtime.threads)
