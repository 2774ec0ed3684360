"""Compiling a model's layers, in place.

The layers of a model are alike, so one compiled layer serves them all, and those of a value model or a
reference of the same shape too: this takes seconds, compiling the whole model a minute. In place, so that
the names of weights, wrappers and checkpoints stay as they are.
"""

import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tempering.errors import ConfigError

BACKEND = "inductor"


def compile_layers(model: nn.Module) -> None:
    """Compile the layers of `model`; shapes may vary from call to call."""
    from torch._inductor import config as inductor

    # One layer's code serves policy, value model, reference and adapters, each with and without gradients.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
    inductor.fallback_random = True  # dropout draws the same numbers as without compiling
    for layer in _layers(model):
        layer.compile(backend=BACKEND, dynamic=True)


def uncompiled(model: nn.Module) -> AbstractContextManager[Any]:
    """Run `model` uncompiled, for calls whose shapes and state change each time, as in decoding."""
    if all(module._compiled_call_impl is None for module in model.modules()):
        return nullcontext()
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def check_compiler(device: str) -> None:
    """Refuse to compile on a CPU without a compiler and Python's headers, before anything is computed.

    Raises:
        ConfigError: naming the missing program or file.
    """
    program = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    header = Path(sysconfig.get_path("include"), "Python.h")
    if device != "cpu" or (shutil.which(program) and header.exists()):
        return
    raise ConfigError(
        f"compile: true, and {header if shutil.which(program) else program} is missing",
        expected="a C++ compiler and Python's headers, to compile for a CPU",
        fix="install them (Debian: apt install g++ python3-dev; CXX names another compiler), or drop compile",
    )


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    """The entries of the outermost module lists, or the model itself if it has none."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    entries = [entry for modules in lists for entry in modules if not isinstance(entry, nn.ModuleList)]
    inner = {id(part) for entry in entries for part in entry.modules() if part is not entry}
    yield from [entry for entry in entries if id(entry) not in inner] or [model]
