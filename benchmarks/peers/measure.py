"""What all contestants of `benchmarks.onpolicy_speed` share: the job, the clock, the memory, the reward.

Each contestant is a process of its own that reads a job (JSON), does warm-up rollouts and then measured
ones, and prints one line of JSON. Needs torch alone, because one of them runs in an environment without
Tempering.
"""

import json
import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

MARK = "RESULT "


@dataclass(frozen=True)
class Job:
    """What to do; the same for every contestant."""

    model: str  # folder of the policy, which is the reference too
    reward_model: str  # folder of a sequence classifier of the same size
    prompts: list[dict[str, Any]]  # `text` and `input_ids`, in the order of the rollouts
    folder: str  # scratch
    store: str  # of the artifacts, for ours
    rollouts: int  # measured
    warmup: int  # rollouts before
    batch: int  # completions a rollout
    siblings: int  # completions of a prompt, for RLOO
    new_tokens: int
    epochs: int  # passes of PPO over a rollout
    precision: str
    memory: bool  # sample the memory (its thread costs time), instead of the clock
    learning_rate: float = 1e-7  # so small that lengths stay what they are
    kl_coef: float = 0.05

    @property
    def total(self) -> int:
        """All rollouts."""
        return self.warmup + self.rollouts


def given_job() -> Job:
    """The job whose file is the first argument."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    return Job(**json.loads(Path(sys.argv[1]).read_text()))


def processes() -> int:
    """That share the work of this contestant, as `torch.distributed.run` says."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def micro_batch(job: Job) -> int:
    """Sequences of a process's forward and backward pass: the second argument, else its whole batch."""
    return int(sys.argv[2]) if len(sys.argv) > 2 else job.batch // processes()


def variety(prompts: list[Any], completions: list[str], **_: Any) -> list[float]:
    """The cheap reward: the share of words that are different ones."""
    return [len(set(text.split())) / max(1, len(text.split())) for text in completions]


@dataclass
class Clock:
    """Ends of rollouts, their lengths, and the time that wrapped functions take."""

    ends: list[float] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)  # mean length of a rollout's completions
    phases: list[dict[str, float]] = field(default_factory=list)
    _open: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    def start(self) -> None:
        """The first rollout begins."""
        self.ends = [time.perf_counter()]

    def tick(self) -> None:
        """A rollout and its updates are over."""
        self.ends.append(time.perf_counter())
        self.phases.append(dict(self._open))
        self._open.clear()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Counts what runs inside."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._open[name] += time.perf_counter() - started

    def wrap(self, owner: Any, name: str, phase: str, *, without_gradients: bool = False) -> None:
        """Count the calls of `owner.name`."""
        import torch

        function = getattr(owner, name)

        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if without_gradients and torch.is_grad_enabled():
                return function(*args, **kwargs)
            with self.phase(phase):
                return function(*args, **kwargs)

        setattr(owner, name, timed)


class Memory:
    """Anonymous resident memory above what there is when this is made, sampled every 5 ms.

    Made when everything is imported and no model is loaded: libraries do not count, models do. What is forked
    off later counts with what it has above the same base.
    """

    def __init__(self, active: bool) -> None:
        self.base, self.peak = resident("self"), 0
        self.active = active
        if active:
            threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            family = [str(os.getpid()), *children()]
            self.peak = max(self.peak, sum(max(0, resident(one) - self.base) for one in family))
            time.sleep(0.005)

    @property
    def mebibytes(self) -> float | None:
        """The peak so far; None without sampling."""
        return round(self.peak / 2**20, 1) if self.active else None


def children() -> list[str]:
    """Processes that this one has started (Linux)."""
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def resident(process: str) -> int:
    """Anonymous resident bytes of a process (Linux); 0 when it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


def report(job: Job, clock: Clock, memory: Memory, **more: Any) -> None:
    """The result as the last line of stdout, of the first process where there are several."""
    if int(os.environ.get("RANK", "0")):
        return
    seconds = [end - start for start, end in zip(clock.ends, clock.ends[1:], strict=False)]
    assert len(seconds) == job.total, f"{len(seconds)} rollouts instead of {job.total}"
    measured, phases = seconds[job.warmup :], clock.phases[job.warmup :]
    names = sorted({name for one in phases for name in one})
    found = {
        "completions_per_second": job.batch * len(measured) / sum(measured),
        "seconds_per_rollout": sum(measured) / len(measured),
        "mean_length": sum(clock.lengths[job.warmup :]) / max(1, len(clock.lengths[job.warmup :])),
        "phases": {name: sum(one.get(name, 0.0) for one in phases) / len(phases) for name in names},
        "memory_mib": memory.mebibytes if processes() == 1 else None,  # it sees its own process alone
        **more,
    }
    print(MARK + json.dumps(found), flush=True)


def job_file(job: Job, path: Path) -> Path:
    """The job, written for a contestant."""
    path.write_text(json.dumps(asdict(job)))
    return path
