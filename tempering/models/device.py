"""Choosing where a stage's tensors live."""

import os
from typing import TYPE_CHECKING, Any

from tempering.errors import UserError

if TYPE_CHECKING:
    from tempering.artifacts.draft import Draft


def prepare_device(out: "Draft") -> Any:
    """The torch device of this stage, recorded in the draft; it waits while another stage has it.

    Raises:
        UserError: this machine lacks the device that the config asks for.
    """
    import torch

    if out.on_device is not None:
        out.on_device()
    device = out.runtime.device
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "cpu") if available[name])
    if not available[device]:
        raise UserError(
            f"runtime.device is {device}, which this machine doesn't have",
            expected=f"one of {[name for name, usable in available.items() if usable]}",
            fix="set runtime.device=auto",
        )
    out.device = device
    if device == "cuda" and "LOCAL_RANK" in os.environ:  # one of several processes, each with its own GPU
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(device)
