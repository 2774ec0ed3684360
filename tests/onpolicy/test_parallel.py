"""Two processes against one: the same completions, losses and gradients, at equal global batch.

The completions are of uneven length, so that the processes hold different numbers of tokens: a mean of means
would be wrong.
"""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tempering.artifacts.tables import read_rows
from tempering.onpolicy.config import OnPolicyConfig, PPOConfig, RLOOConfig
from tests.forked import Fork, Forks

STEPS = 10
SIZES: dict[str, Any] = {
    "batch_size": 8,
    "rollout_batch_size": 16,
    "max_new_tokens": 10,
    "learning_rate": 1e-3,
    "num_epochs": 99,
    "max_steps": STEPS,
    "stop_kl": 5.0,
    "token_limit": 100_000,
    "checkpoint_interval": 200,
    "score_normalization": "whiten",
    "kl_control": "adaptive",
    "max_grad_norm": 1.0,
}
CONFIGS: dict[str, OnPolicyConfig] = {
    "ppo": PPOConfig(**{**SIZES, "ppo_epochs": 1, "entropy_coef": 0.01}),
    "rloo": RLOOConfig(**SIZES),
    "grpo": RLOOConfig(**SIZES, estimator="grpo"),
}


def unsure(prompts: list[Any], completions: list[str], **_: Any) -> Any:
    """As `likes_small_numbers`, but it cannot score every fifth length."""
    from tests.onpolicy.small import likes_small_numbers

    found = likes_small_numbers(prompts, completions)
    for index, text in enumerate(completions):
        if len(text.split()) == 5:
            found.scores[index] = float("nan")
    return found


def train(folder: Path) -> None:
    """Ten steps of every estimator in this process, as one of however many there are."""
    from tests.onpolicy.small import AtEachStep, gradient, trainer

    for name, config in CONFIGS.items():
        made = trainer(folder / name, config, unsure)
        kept: dict[str, torch.Tensor] = {}
        model = made.actor_critic
        made.add_callback(
            AtEachStep(lambda kept=kept, model=model: kept.update({str(len(kept)): gradient(model)}))
        )
        made.train_or_resume()
        if made.writes:
            save_file(kept, folder / name / "gradients.safetensors")


def start(forks: Forks, folder: Path, rank: int, port: int) -> Fork:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    code = f"from tests.onpolicy.test_parallel import train, Path; train(Path({str(folder)!r}))"
    return forks.start(code, env=environment)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> tuple[Path, Path]:
    """Folders of what one process made, and two."""
    alone, together = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("together")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = [start(forks, together, rank, port) for rank in range(2)]
    train(alone)
    ends = [one.wait() for one in running]
    assert [end.returncode for end in ends] == [0, 0], ends
    return alone, together


@pytest.mark.slow
@pytest.mark.parametrize("name", list(CONFIGS))
def test_two_processes_equal_one(name: str, trained: tuple[Path, Path]) -> None:
    alone, together = (folder / name for folder in trained)
    ours, theirs = (load_file(folder / "gradients.safetensors") for folder in (alone, together))
    assert len(ours) == len(theirs) == STEPS
    for step, gradient in ours.items():
        torch.testing.assert_close(theirs[step], gradient, atol=1e-5, rtol=1e-5)
    first, second = (
        read_rows(folder / "metadata" / "generated_outputs.parquet") for folder in (alone, together)
    )
    assert len({row["length"] for row in first}) > 4, "lengths must be uneven"
    assert any(row["score"] is None for row in first)
    texts = [[(row["step"], row["prompt"], row["completion"]) for row in rows] for rows in (first, second)]
    assert texts[0] == texts[1]
    first, second = (
        read_rows(folder / "metadata" / "training_stats.parquet") for folder in (alone, together)
    )
    for one, other in zip(first, second, strict=True):
        assert one["tokens"] == other["tokens"]
        for column in ("loss", "kl", "kl_coef", "reward", "entropy", "step_kl", "grad_norm"):
            assert other[column] == pytest.approx(one[column], abs=1e-5, rel=1e-4), column
    names = [sorted(path.name for path in (folder / "checkpoints").iterdir()) for folder in (alone, together)]
    assert names[0] == names[1]
    assert len(names[0]) > 1
