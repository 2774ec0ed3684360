"""What a stage's process has used, and on which machine: for its manifest, and so for the report.

Of a stage in several processes it is the main one that is measured. Nothing here may fail a stage.
"""

import os
import platform
import resource
import sys
from pathlib import Path
from typing import Any


def used() -> dict[str, Any]:
    """The machine, and the peak of this process's memory in bytes; on a GPU of the device's too."""
    facts: dict[str, Any] = {"machine": machine(), "peak_memory": peak_memory()}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        device = torch.cuda.current_device()
        facts["accelerator"] = torch.cuda.get_device_name(device)
        facts["peak_device_memory"] = torch.cuda.max_memory_reserved(device)
    return facts


def peak_memory() -> int:
    """The most that was resident at once, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes elsewhere


def machine() -> str:
    """`Intel(R) Xeon(R) CPU · 2 cores · 24 GB`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    return f"{_processor()} · {cores} core{'s' if cores != 1 else ''} · {memory:.0f} GB"


def _processor() -> str:
    """The processor's name, where the system tells it, else its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
