"""Choosing where a stage's tensors live."""

import os
from typing import TYPE_CHECKING, Any

from tempering.errors import UserError

if TYPE_CHECKING:
    from tempering.artifacts.draft import Draft


def prepare_device(out: "Draft") -> Any:
    """The torch device of this stage; it is noted in the draft.

    Raises:
        UserError: the device that the config asks for is not there.
    """
    import torch

    wanted = out.runtime.device
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if wanted == "auto":
        wanted = next(name for name in ("cuda", "cpu") if there[name])
    if not there[wanted]:
        raise UserError(
            f"runtime.device is {wanted}, which this machine doesn't have",
            expected=f"one of {[name for name, is_there in there.items() if is_there]}",
            fix="set runtime.device=auto",
        )
    out.device = wanted
    if wanted == "cuda" and "LOCAL_RANK" in os.environ:  # one of several processes: each has a GPU of its own
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device(wanted)
