"""Tempering's RLOO or PPO, by the way that the stages take, with a clock in the trainer.

The second argument is `rloo`, `ppo`, or `shared`: PPO with the value head on the policy's trunk. After it may
stand `compiled` (compiled layers) and `twice` (two processes with half of the threads each).
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

import tempering
from benchmarks.peers.measure import Clock, Job, Memory, given_job, report
from flows.process.ranks import beside
from tempering.artifacts.draft import Draft
from tempering.artifacts.store import Store
from tempering.artifacts.tables import read_rows
from tempering.onpolicy import run
from tempering.onpolicy.config import OnPolicyConfig, PPOConfig, RLOOConfig
from tempering.onpolicy.trainer import OnPolicyTrainer
from tempering.runtime import RuntimeConfig

PHASES = ("decode", "score", "compare", "update")
FUNCTION = {"kind": "function", "function": "benchmarks.peers.measure:variety"}


class AtRolloutEnd(TrainerCallback):  # type: ignore[misc]
    """Ticks after the last step of a rollout."""

    def __init__(self, trainer: OnPolicyTrainer, clock: Clock) -> None:
        self.trainer, self.clock = trainer, clock

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.clock.start()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if self.trainer.at_boundary:
            self.clock.tick()


def main() -> None:
    """Train and report."""
    job, clock = given_job(), Clock()
    memory = Memory(job.memory)
    out = Draft(Path(job.folder), seed=0, runtime=RuntimeConfig(device="cpu"))
    work = partial(train, job, clock, out, *sys.argv[2:])
    with beside(2 if "twice" in sys.argv else 1, work):
        work()
    _read_log(out, job, clock)
    report(job, clock, memory, version=tempering.__version__)


def train(job: Job, clock: Clock, out: Draft, algorithm: str, *options: str) -> None:
    """The work of one process."""

    class Timed(OnPolicyTrainer):
        def __init__(self, **parts: Any) -> None:
            super().__init__(**parts)
            self.add_callback(AtRolloutEnd(self, clock))

    run.OnPolicyTrainer = Timed  # type: ignore[misc]
    store = Store(job.store)
    rewards: Any = {} if algorithm == "rloo" else {"model": store.get("reward_model@latest")}
    model, sample = store.get("sft@latest"), store.get("sample[prompts]@latest")
    config = settings(job, algorithm, compiled="compiled" in options)
    run.on_policy(out, config, model, sample, rewards)  # type: ignore[arg-type]


def settings(job: Job, algorithm: str, *, compiled: bool) -> OnPolicyConfig:
    """The same work as the peers'."""
    shared: dict[str, Any] = {
        "batch_size": job.batch,
        "rollout_batch_size": job.batch,
        "max_new_tokens": job.new_tokens,
        "micro_batch_size": job.batch // 4,  # like lengths together: less padding, the same gradient
        "total_episodes": job.total * job.batch,
        "num_epochs": 100.0,
        "learning_rate": job.learning_rate,
        "lr_schedule": "constant",
        "kl_coef": job.kl_coef,
        "precision": job.precision,
        "checkpoint_interval": 1 << 40,
        "compile": compiled,
    }
    if algorithm == "rloo":
        return RLOOConfig(**shared, num_completions=job.siblings, reward=FUNCTION)
    value = {"value_init": "reward_model"} if algorithm == "ppo" else {"value_trunk": "shared"}
    return PPOConfig(**shared, **value, ppo_epochs=job.epochs, reward={"kind": "model"})


def _read_log(out: Draft, job: Job, clock: Clock) -> None:
    """Lengths and phases from the trainer's own log; its rows are steps."""
    rows = read_rows(out.metadata_dir / "training_stats.parquet")
    steps = len(rows) // job.total
    for first in range(0, len(rows), steps):
        part = rows[first : first + steps]
        clock.lengths.append(part[0]["completion_length"])
        clock.phases[first // steps] = {
            name: sum(row.get(f"{name}_seconds") or 0.0 for row in part) for name in PHASES
        }


if __name__ == "__main__":
    main()
