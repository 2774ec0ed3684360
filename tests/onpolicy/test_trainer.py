"""The on-policy trainer: what it learns from, what it leaves out, what it counts and logs."""

from typing import Any

import pytest
import torch

from tempering.onpolicy.collect import Experience, Prompts
from tempering.onpolicy.config import PPOConfig, RLOOConfig
from tests.conftest import tiny_nodes
from tests.tiny import fresh_draft, inputs_of

SIZES = {"batch_size": 4, "rollout_batch_size": 4}


def experience(scores: list[float], ended: list[bool] | None = None) -> Experience:
    mask = torch.tensor([[True, True, True], [True, True, False], [True, False, False], [True, True, True]])
    zeros = torch.zeros(4, 3)
    return Experience(
        torch.ones(4, 5, dtype=torch.long), torch.ones(4, 5), mask, zeros + 0.1, zeros.clone(), zeros.clone(),
        torch.tensor(scores), torch.tensor(ended or [True] * 4),
    )  # fmt: skip


def test_ppo_puts_the_score_on_the_last_token_and_kl_on_every_token() -> None:
    config = PPOConfig(**SIZES, whiten_advantages=False, gae_lambda=0.0, gamma=1.0)
    found = experience([1.0, 2.0, 3.0, 4.0])
    found.shape_rewards(config, kl_coef=0.5)
    # values are zero and lambda is 0: the advantage of a token is its own reward
    wanted = [[-0.05, -0.05, 0.95], [-0.05, 1.95, 0], [2.95, 0, 0], [-0.05, -0.05, 3.95]]
    torch.testing.assert_close(found.advantages, torch.tensor(wanted), atol=1e-6, rtol=0)


def test_missing_eos_costs() -> None:
    config = RLOOConfig(**SIZES, num_completions=4, missing_eos_penalty=2.0, normalize_advantages=False)
    found = experience([1.0, 1.0, 1.0, 1.0], ended=[True, False, True, True])
    found.shape_rewards(config, kl_coef=0.0)
    torch.testing.assert_close(found.advantages[:, 0], torch.tensor([2 / 3, -2.0, 2 / 3, 2 / 3]))


def test_unscored_completions_teach_nothing() -> None:
    config = RLOOConfig(**SIZES, num_completions=4, normalize_advantages=False)
    found = experience([1.0, float("nan"), 3.0, 5.0])
    found.shape_rewards(config, kl_coef=0.0)
    torch.testing.assert_close(found.advantages[:, 0], torch.tensor([-3.0, 0.0, 0.0, 3.0]))
    assert found.select(torch.arange(4))["scored"].tolist() == [True, False, True, True]


def test_prompts_pass_over_all_rows_in_a_new_order_each_time() -> None:
    prompts = Prompts([{"id": index} for index in range(6)], seed=1)
    config = RLOOConfig(num_completions=2, batch_size=4, rollout_batch_size=4)
    taken = [row["id"] for rollout in range(6) for row in prompts.take(rollout, config)]
    assert taken[::2] == taken[1::2], "siblings lie side by side"
    first, second = taken[0:12:2], taken[12:24:2]
    assert sorted(first) == sorted(second) == list(range(6))
    assert first != second


def run(tiny: Any, tmp_path: Any, name: str, **changes: Any) -> Any:
    node = next(node for node in tiny_nodes({f"{name}.{key}": value for key, value in changes.items()})
                if node.name == name)  # fmt: skip
    draft = fresh_draft(tmp_path / str(sorted(changes.items())))
    node.stage(draft, node.config, **inputs_of(node, tiny))
    return draft


def state(draft: Any) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(draft.model_dir / "model.safetensors")  # type: ignore[no-any-return]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "rloo"])
def test_micro_batches_change_nothing(tiny: Any, tmp_path: Any, name: str) -> None:
    settings = {"max_steps": 4, "entropy_coef": 0.0}
    whole, cut = (
        run(tiny, tmp_path, name, **settings),
        run(tiny, tmp_path, name, micro_batch_size=2, **settings),
    )
    for key, tensor in state(whole).items():
        torch.testing.assert_close(state(cut)[key], tensor, atol=2e-4, rtol=1e-3)


@pytest.mark.slow
def test_rloo_learns_what_the_reward_wants(tiny: Any, tmp_path: Any) -> None:
    """A reward for short answers makes answers shorter: the sign of the whole chain is right."""
    from tempering.artifacts.tables import read_rows

    draft = run(
        tiny, tmp_path, "rloo", reward={"kind": "function", "function": "tests.rewards.some_rewards:brevity"},
        num_epochs=20, ppo_epochs=1, learning_rate=3e-3, kl_coef=0.0, missing_eos_penalty=0.0,
    )  # fmt: skip
    lengths = [row["completion_length"] for row in read_rows(draft.metadata_dir / "training_stats.parquet")]
    assert sum(lengths[-5:]) < 0.7 * sum(lengths[:5])


@pytest.mark.slow
def test_the_log_holds_every_completion_once(tiny: Any) -> None:
    artifact = tiny("rloo")
    outputs, stats = artifact.read("generated_outputs"), artifact.read("training_stats")
    assert len(outputs) == 16 * outputs["step"].nunique()
    assert stats["step"].tolist() == list(range(1, len(stats) + 1))
    assert artifact.manifest.tokens == stats["tokens"].iloc[-1]
    assert {"prompt", "completion", "score", "reward", "kl", "length", "ended"} <= set(outputs)
