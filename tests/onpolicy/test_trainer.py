"""The on-policy trainer: what it learns from, what it leaves out, what it counts and logs."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from transformers import get_scheduler

from tempering.artifacts.tables import read_rows
from tempering.config import identity
from tempering.errors import StageFailed
from tempering.onpolicy.advantages import whiten
from tempering.onpolicy.config import GuardConfig, OnPolicyConfig, PPOConfig, RLOOConfig
from tempering.onpolicy.estimators import ClippedRatio, Outcome
from tempering.onpolicy.experience import Compared, joined
from tempering.onpolicy.guards import CollapseGuard
from tempering.onpolicy.prompts import Prompts
from tempering.rewards.scoring import Scored
from tests.conftest import tiny_nodes
from tests.onpolicy import small
from tests.tiny import fresh_draft, inputs_of

SIZES = {"batch_size": 4, "rollout_batch_size": 4}
MASK = torch.tensor([[True, True, True], [True, True, False], [True, False, False], [True, True, True]])
LINEAR: Any = {"kl_control": "linear", "kl_coef_end": 1.0}
NAN = float("nan")


def advantages(config: OnPolicyConfig, rewards: list[float], kl: float = 0.0) -> torch.Tensor:
    """Of four completions with 3, 2, 1 and 3 tokens; `kl` is the penalty of each token."""
    outcome = Outcome(torch.tensor(rewards), kl * MASK, MASK, torch.zeros(4, 3), config.num_completions)
    return config.estimator.advantages(outcome)[0]


def test_ppo_puts_the_score_on_the_last_token_and_kl_on_every_token() -> None:
    config = PPOConfig(**SIZES, whiten_advantages=False, gae_lambda=0.0, gamma=1.0)
    found = advantages(config, [1.0, 2.0, 3.0, 4.0], kl=0.05)
    # values are zero and lambda is 0: the advantage of a token is its own reward
    wanted = [[-0.05, -0.05, 0.95], [-0.05, 1.95, 0], [2.95, 0, 0], [-0.05, -0.05, 3.95]]
    torch.testing.assert_close(found, torch.tensor(wanted), atol=1e-6, rtol=0)


def test_ppo_with_lambda_and_gamma_one_gives_every_token_the_reward_to_go() -> None:
    config = PPOConfig(**SIZES, whiten_advantages=False, gae_lambda=1.0, gamma=1.0)
    found = advantages(config, [1.0, NAN, 3.0, 4.0], kl=0.5)
    wanted = [[-0.5, 0, 0.5], [0, 0, 0], [2.5, 0, 0], [2.5, 3, 3.5]]
    torch.testing.assert_close(found, torch.tensor(wanted), atol=1e-6, rtol=0)


def test_ppo_with_one_batch_is_reinforce_with_a_value_baseline(tmp_path: Any) -> None:
    """One epoch, one batch, lambda = gamma = 1: the policy's gradient is that of -(R - V) log p."""
    config = PPOConfig(
        batch_size=16,
        rollout_batch_size=16,
        ppo_epochs=1,
        whiten_advantages=False,
        gae_lambda=1.0,
        gamma=1.0,
        kl_coef=0.0,
        missing_eos_penalty=0.0,
        max_new_tokens=8,
        value_coef=0.0,
        max_grad_norm=0,
        max_steps=1,
    )
    trainer = small.trainer(tmp_path, config)
    gradients: list[torch.Tensor] = []
    rollouts = []
    experience = trainer.maker.experience

    def keeping(compared: Any) -> Any:
        rollouts.append(experience(compared))
        return rollouts[-1]

    trainer.maker.experience = keeping
    trainer.add_callback(
        small.AtEachStep(lambda: gradients.append(small.gradient(trainer.actor_critic.policy)))
    )
    torch.nn.init.constant_(trainer.actor_critic.value.head.bias, 0.4)
    trainer.train_or_resume()
    one, policy = rollouts[0], small.policy()
    policy.eval()
    logs = torch.log_softmax(policy(one.input_ids, attention_mask=one.attention_mask).logits, -1)
    width = one.completion_mask.shape[1]
    taken = logs[:, -width - 1 : -1].gather(-1, one.input_ids[:, -width:, None]).squeeze(-1)
    wanted = -((one.scores[:, None] - 0.4) * taken * one.completion_mask).sum() / one.completion_mask.sum()
    wanted.backward()
    torch.testing.assert_close(gradients[0], small.gradient(policy), atol=1e-5, rtol=1e-4)


def test_missing_eos_costs(tmp_path: Any) -> None:
    config = RLOOConfig(**SIZES, missing_eos_penalty=2.0, max_new_tokens=3, max_steps=1)
    trainer = small.trainer(
        tmp_path, config, lambda prompts, completions, **_: Scored([1.0] * 4, {"x": [1.0] * 4})
    )
    experience = trainer.collect()
    assert 0 < experience.ended.sum() < 4
    assert experience.rewards.tolist() == [1.0 if ended else -1.0 for ended in experience.ended]


def test_unscored_completions_teach_nothing() -> None:
    config = RLOOConfig(**SIZES, num_completions=4, normalize_advantages=False)
    found = advantages(config, [1.0, NAN, 3.0, 5.0])
    torch.testing.assert_close(found[:, 0], torch.tensor([-3.0, 0.0, 0.0, 3.0]))
    weights = config.estimator.weights(MASK, torch.tensor([True, False, True, True]))
    torch.testing.assert_close(weights.sum(1), torch.tensor([1, 0, 1, 1]) / 3)


def test_what_a_token_counts() -> None:
    scored = torch.tensor([True, False, True, True])
    ppo = PPOConfig(**SIZES).estimator.weights(MASK, scored)
    torch.testing.assert_close(ppo, torch.tensor([[1, 1, 1], [0, 0, 0], [1, 0, 0], [1, 1, 1]]) / 7)
    grpo = RLOOConfig(**SIZES, estimator="grpo").estimator.weights(MASK, scored)
    third = 1 / 9
    wanted = [[third] * 3, [0, 0, 0], [1 / 3, 0, 0], [third] * 3]
    torch.testing.assert_close(grpo, torch.tensor(wanted))
    nobody = PPOConfig(**SIZES).estimator.weights(MASK, torch.zeros(4, dtype=torch.bool))
    assert nobody.sum() == 0


def test_kl_in_the_loss_counts_as_the_estimators_paper_says() -> None:
    scored = torch.ones(4, dtype=torch.bool)
    rloo = RLOOConfig(**SIZES, kl_in="loss", kl_estimator="k3").estimator
    torch.testing.assert_close(
        rloo.kl_weights(rloo.weights(MASK, scored), MASK), MASK / 4
    )  # nats a completion
    grpo = RLOOConfig(**SIZES, estimator="grpo").estimator
    weights = grpo.weights(MASK, scored)
    torch.testing.assert_close(grpo.kl_weights(weights, MASK), weights)


def test_reward_weighted_takes_the_reward_as_it_is() -> None:
    config = RLOOConfig(**SIZES, estimator="reward_weighted", num_completions=1)
    found = advantages(config, [1.0, NAN, -2.0, 0.5], kl=0.1)
    torch.testing.assert_close(found[:, 0], torch.tensor([0.7, 0.0, -2.1, 0.2]))


def sound(**changes: float) -> dict[str, float]:
    good = {"entropy": 2.0, "kl": 1.0, "completion_length": 9.0, "ended_share": 0.9, "unscored_share": 0.0}
    return good | changes


@pytest.mark.parametrize("estimator", ["rloo", "grpo"])
@pytest.mark.parametrize(
    "rewards",
    [
        [0.7] * 4,
        [1.0, 1.0, 1.0, 1.0000001],  # the next number of fp32
        [5.0, NAN, NAN, NAN],
        [NAN] * 4,
        [1e4, 1e4, 1e4 + 1e-3, NAN],
    ],
)
@pytest.mark.parametrize("normalize", [True, False])
def test_equal_rewards_are_no_contrast_whatever_the_kl_is(
    estimator: str, rewards: list[float], normalize: bool
) -> None:
    own: Any = {"normalize_advantages": normalize} if estimator == "rloo" else {}
    config = RLOOConfig(**SIZES, estimator=estimator, **own)
    noise = 1e-6 * torch.tensor([[1.0], [-1.0], [2.0], [0.5]]) * MASK
    outcome = Outcome(torch.tensor(rewards), noise, MASK, torch.zeros(4, 3), 4)
    assert not config.estimator.advantages(outcome)[0].any()


def test_one_prompt_with_contrast_is_learnt_from() -> None:
    config = RLOOConfig(**SIZES, num_completions=2, normalize_advantages=False)
    assert advantages(config, [1.0, 1.0, 3.0, 3.5])[:, 0].tolist() == [0.0, 0.0, -0.5, 0.5]


@pytest.mark.parametrize(
    ("settings", "moves"),
    [
        ({}, False),
        ({"estimator": "grpo"}, False),  # its KL in the loss has a gradient of rounding noise
        ({"entropy_coef": 0.1}, True),
    ],
)
def test_rollouts_without_contrast_make_no_step(tmp_path: Path, settings: Any, moves: bool) -> None:
    """Neither by noise in the KL, nor by weight decay, nor by what the optimizer remembers."""
    config = RLOOConfig(
        **SIZES,
        **settings,
        max_new_tokens=4,
        max_steps=8,
        num_epochs=9,
        learning_rate=1e-2,
        missing_eos_penalty=0,
        guard={"patience": 1},
    )
    said: list[str] = []
    weights: list[torch.Tensor] = []

    def contrast_in_two(*_: Any, **__: Any) -> Scored:
        scores = [0.1, 0.5, 0.7, 0.9] if trainer.maker.rollouts < 2 else [0.7] * 4
        return Scored(scores, {"x": scores})

    trainer = small.trainer(tmp_path, config, contrast_in_two)
    trainer.guard.warn = said.append
    trainer.add_callback(
        small.AtEachStep(lambda: weights.append(trainer.actor_critic.policy.lm_head.weight.clone()))
    )
    trainer.train_or_resume()
    assert not weights[0].equal(weights[2]), "two rollouts have contrast"
    assert weights[2].equal(weights[-1]) is not moves
    assert sum("nothing is learnt from them" in text for text in said) == 1


def test_a_value_model_is_not_said_to_learn_from_equal_rewards(tmp_path: Path) -> None:
    config = PPOConfig(**SIZES, max_new_tokens=4, max_steps=2, missing_eos_penalty=0, guard={"patience": 1})
    said: list[str] = []
    trainer = small.trainer(tmp_path, config, lambda *_, **__: Scored([0.7] * 4, {"x": [0.7] * 4}))
    trainer.guard.warn = said.append
    trainer.train_or_resume()
    assert sum("what moves the policy is chance" in text for text in said) == 1


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"entropy": 0.01}, "entropy"),
        ({"kl": 1e3}, "KL"),
        ({"completion_length": 1.0}, "fewer than"),
        ({"ended_share": 0.0}, "never end"),
        ({"unscored_share": 1.0}, "scored"),
        ({"zero_variance_share": 1.0}, "same reward"),
    ],
)
def test_collapse_is_said_once_when_it_has_held(bad: dict[str, float], says: str) -> None:
    said: list[str] = []
    guard = CollapseGuard(GuardConfig(patience=2), said.append)
    for stats in (sound(**bad), sound(), sound(**bad), sound(**bad), sound(**bad)):
        guard.look(stats)
    assert len(said) == 1
    assert says in said[0]
    assert "Likely cause" in said[0]
    with pytest.raises(StageFailed, match=says):
        CollapseGuard(GuardConfig(patience=1, action="stop"), said.append).look(sound(**bad))


def test_a_loss_that_is_no_number_stops_with_its_batch(tmp_path: Any) -> None:
    from safetensors.torch import load_file

    config = RLOOConfig(**SIZES, max_new_tokens=4, max_steps=3, kl_coef=0.0)
    trainer = small.trainer(tmp_path, config)
    original = config.estimator.advantages

    def poisoned(outcome: Outcome) -> Any:
        found, returns = original(outcome)
        found[1] = float("inf")
        return found, returns

    object.__setattr__(config.estimator, "advantages", poisoned)
    with pytest.raises(StageFailed, match=r"advantages of the batch.*bad_batch_step_1"):
        trainer.train_or_resume()
    batch = load_file(tmp_path / "metadata" / "bad_batch_step_1.safetensors")
    assert batch["advantages"].isinf().any()
    assert {"input_ids", "old_logprobs", "completion_mask"} <= set(batch)


def test_an_engine_that_disagrees_with_the_trainer_stops_the_run(tmp_path: Any) -> None:
    trainer = small.trainer(tmp_path, RLOOConfig(**SIZES, max_new_tokens=4, max_steps=3))
    generate = trainer.maker.engine.generate

    def stale(*arguments: Any) -> Any:
        rollout = generate(*arguments)
        rollout.logprobs = rollout.logprobs - 1.0
        return rollout

    trainer.maker.engine.generate = stale
    with pytest.raises(StageFailed, match="newest weights"):
        trainer.train_or_resume()


def test_weights_that_are_no_numbers_stop_the_next_rollout(tmp_path: Any) -> None:
    trainer = small.trainer(tmp_path, RLOOConfig(**SIZES, max_new_tokens=4, max_steps=2))
    with torch.no_grad():
        trainer.maker.reference.lm_head.weight.fill_(float("nan"))
    with pytest.raises(StageFailed, match=r"KL to the reference of step 1 is nan\. reference of the batch"):
        trainer.train_or_resume()


def test_nothing_scored_is_said_as_that_and_leaves_a_summary(tmp_path: Any) -> None:
    from tempering.training.run import last_rows

    guard = {"patience": 1}
    config = PPOConfig(**SIZES, max_new_tokens=4, max_steps=2, ppo_epochs=1, guard=guard)
    said: list[str] = []
    trainer = small.trainer(tmp_path, config, lambda prompts, texts, **_: Scored([NAN] * 4, {"x": [NAN] * 4}))
    trainer.guard.warn = said.append
    trainer.train_or_resume()
    assert len(said) == 1
    assert "no completion could be scored" in said[0]
    summary = last_rows(tmp_path / "metadata" / "training_stats.parquet", ("score", "kl"))
    assert list(summary) == ["kl"]


def test_a_step_limit_inside_a_rollout_still_ends_with_a_checkpoint(tmp_path: Any) -> None:
    config = PPOConfig(
        **SIZES, ppo_epochs=5, max_new_tokens=6, num_epochs=9, learning_rate=3e-2, stop_kl=1e-3, max_steps=10
    )
    trainer = small.trainer(tmp_path, config)
    trainer.train_or_resume()
    assert trainer.state.global_step == 10
    assert trainer.maker.rollouts > 2, "some rollouts were stopped"
    assert [path for path in (tmp_path / "checkpoints").iterdir() if (path / "finished").exists()]


def test_linear_control_is_at_its_end_when_the_run_is(tmp_path: Any) -> None:
    config = RLOOConfig(
        **SIZES, max_new_tokens=3, max_steps=4, num_epochs=99, kl_control="linear", kl_coef_end=1.0
    )
    trainer = small.trainer(tmp_path, config)
    trainer.train_or_resume()
    assert trainer.maker.kl.coef == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kl_in": "loss"}, "gradient of its mean is zero"),
        ({"min_new_tokens": 99}, "more than max_new_tokens"),
        ({"kl_control": "adaptive", "kl_horizon": 3}, "reverse the coefficient"),
        ({"kl_control": "adaptive", "kl_coef": 0}, "0 stays 0"),
        ({"target_kl": 3.0}, "it is for adaptive"),
        ({"kl_coef_end": 1.0}, "it is for linear"),
        ({"num_completions": 1}, "compares siblings"),
        ({"importance_cap": 0.5}, "greater than 1"),
        ({"kl_coef": 0, "kl_estimator": "k3"}, "the KL weighs nothing"),
        ({"estimator": "grpo", "kl_coef": 0, "kl_in": "reward", "kl_estimator": "k1"}, None),
        ({"estimator": "grpo", "kl_coef": 0}, None),  # k3 in the loss is the paper's
        ({"kl_coef": 0, "kl_control": "linear", "kl_coef_end": 0.1, "kl_estimator": "k3"}, None),
        ({"stop_kl": 0.1}, "has nothing to end"),
        ({"importance_cap": 3.0}, "it is for sampler"),
        ({"estimator": "grpo", "normalize_advantages": False}, "it is for rloo"),
        ({"estimator": "reward_weighted", "clip_range": 0.1}, "it is for rloo and grpo"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: Any, says: str | None) -> None:
    with pytest.raises(ValueError, match=says) if says else nullcontext():
        RLOOConfig(**SIZES, **settings)


def test_joined_pads_to_the_widest_and_keeps_every_column() -> None:
    def part(prompt: int, width: int, columns: dict[str, list[Any]]) -> Compared:
        mask, ids = torch.ones(2, width, dtype=torch.bool), torch.ones(2, prompt + width, dtype=torch.long)
        names = ("sampler_logprobs", "old_logprobs", "ref_logprobs", "values")
        numbers: Any = {name: torch.full((2, width), float(index)) for index, name in enumerate(names)}
        return Compared(
            ids,
            torch.ones(ids.shape),
            mask,
            ended=mask[:, 0],
            scores=torch.zeros(2),
            texts=[("a", "b")] * 2,
            columns=columns,
            **numbers,
        )

    whole = joined([part(2, 3, {"x": [1, 2]}), part(4, 1, {"y": [3, 4]})])
    assert whole.input_ids.tolist() == [[0, 0, 1, 1, 1, 1, 1]] * 2 + [[1, 1, 1, 1, 1, 0, 0]] * 2
    assert whole.completion_mask.tolist() == [[True] * 3] * 2 + [[True, False, False]] * 2
    assert whole.columns == {"x": [1, 2, None, None], "y": [None, None, 3, 4]}


@pytest.mark.parametrize(
    ("limits", "rollouts"),
    [
        ({"num_epochs": 2}, 6),
        ({"total_episodes": 9}, 3),
        ({"total_episodes": 99, "num_epochs": 1}, 3),
        ({"max_steps": 4, "num_epochs": 9}, 2),
        ({"token_limit": 1, "num_epochs": 9}, 1),
    ],
)
def test_the_first_limit_ends_the_run(tmp_path: Any, limits: Any, rollouts: int) -> None:
    config = PPOConfig(**SIZES, ppo_epochs=2, max_new_tokens=3, **limits)
    trainer = small.trainer(tmp_path, config)
    trainer.train_or_resume()
    assert trainer.maker.rollouts == rollouts
    assert trainer.state.global_step == 2 * rollouts


def rates(folder: Path, config: OnPolicyConfig, **changes: Any) -> list[float]:
    """The learning rate of every step."""
    small.trainer(folder, config, **changes).train_or_resume()
    return [row["learning_rate"] for row in read_rows(folder / "metadata" / "training_stats.parquet")]


@pytest.mark.parametrize("schedule", ["linear", "cosine", "polynomial"])
def test_with_a_token_limit_the_schedule_ends_after_the_last_step(tmp_path: Path, schedule: Any) -> None:
    """Three rollouts of 4 x 5 tokens, two steps each: transformers' rates in the middle of six steps."""
    row = {"input_ids": [2, 3, 4, 5], "query": "", "prompt": [{"role": "user", "content": ""}]}
    settings: Any = SIZES | {"learning_rate": 1.0, "max_grad_norm": 1e-9, "max_new_tokens": 1}
    settings |= {"ppo_epochs": 2, "lr_schedule": schedule, "warmup_fraction": 1 / 3, "num_epochs": 99}
    found = rates(tmp_path, RLOOConfig(**settings, token_limit=50), prompts=Prompts([row], seed=0))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = get_scheduler(schedule, optimizer, 2, 6).lr_lambdas[0]
    assert found == pytest.approx([theirs(step + 0.5) for step in range(6)], abs=1e-5)


@pytest.mark.parametrize(
    ("limit", "end"), [({"token_limit": 1}, 0.3), ({"token_limit": 90}, 0.08), ({"stop_kl": 1e-9}, 0.2)]
)
def test_no_step_is_without_a_learning_rate(tmp_path: Path, limit: Any, end: float) -> None:
    more: Any = {"max_new_tokens": 6, "num_epochs": 3, "learning_rate": 1e-3, "lr_schedule": "linear"}
    found = rates(tmp_path, PPOConfig(**SIZES, **limit, **more))
    assert 0 < min(found) == found[-1] < end * 1e-3, "small at the end, and not 0"


def test_stop_kl_ends_the_updates_of_a_rollout(tmp_path: Any) -> None:
    config = PPOConfig(
        **SIZES, ppo_epochs=5, max_new_tokens=6, total_episodes=8, learning_rate=3e-2, stop_kl=1e-3
    )
    trainer = small.trainer(tmp_path, config)
    trainer.train_or_resume()
    rows = read_rows(tmp_path / "metadata" / "training_stats.parquet")
    assert trainer.maker.rollouts == 2
    assert len(rows) < 10
    tokens = sorted({row["tokens"] for row in rows})
    for count in tokens:
        kls = [row["step_kl"] for row in rows if row["tokens"] == count]
        assert all(kl <= 1e-3 for kl in kls[:-1])


def test_a_head_on_the_policys_trunk_trains_the_trunk(tmp_path: Any) -> None:
    config = PPOConfig(**SIZES, value_trunk="shared", max_new_tokens=4, max_steps=2, clip_range=1e-6)
    trainer = small.trainer(tmp_path, config)
    before = trainer.actor_critic.value.weight.clone()
    trainer.train_or_resume()
    assert (trainer.actor_critic.value.weight - before).abs().max() > 0
    checkpoint = next((tmp_path / "checkpoints").iterdir())
    assert [path.name for path in (checkpoint / "value_model").iterdir()] == ["value_head.safetensors"]


WAYS: dict[str, OnPolicyConfig] = {
    "ppo, KL in the loss": PPOConfig(
        **SIZES, kl_in="loss", kl_estimator="k3", entropy_coef=0.01, stop_kl=5.0
    ),
    "ppo, clipped values": PPOConfig(**SIZES, value_clip_range=0.2, value_learning_rate=1e-2, score_clip=0.5),
    "rloo, sampler": RLOOConfig(**SIZES, old_logprobs="sampler", ppo_epochs=2),
    "grpo": RLOOConfig(**SIZES, estimator="grpo", ppo_epochs=2),
    "reward_weighted": RLOOConfig(**SIZES, estimator="reward_weighted", num_completions=1),
    "generate()": RLOOConfig(**SIZES, engine={"kind": "transformers"}, top_k=20, temperature=0.9),
    "small batches": RLOOConfig(**SIZES, engine={"decode_batch_size": 3}, min_p=0.01, repetition_penalty=1.1),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_every_way_of_learning_learns(tmp_path: Any, way: str) -> None:
    """Through the trainer, with the engine that the config asks for: sound numbers, other weights."""
    from tempering.artifacts.tables import read_rows
    from tempering.generation.engines.build import build_engine

    config = WAYS[way].model_copy(update={"max_steps": 2, "max_new_tokens": 8, "learning_rate": 1e-3})
    policy = small.policy()
    engine = build_engine(config.engine, policy, small.ENDS, small.PAD)
    trainer = small.trainer(tmp_path, config, policy=policy)
    trainer.maker.engine = engine
    trainer.train_or_resume()
    rows = read_rows(tmp_path / "metadata" / "training_stats.parquet")
    assert len(rows) >= 2
    for row in rows:
        assert all(value is None or abs(value) < 1e6 for value in row.values())
        assert (row["sampler_gap"] or 0.0) < 1e-4
    moved = [
        (a - b).abs().max() for a, b in zip(policy.parameters(), small.policy().parameters(), strict=True)
    ]
    assert max(moved) > 1e-4


class BatchBaseline(ClippedRatio):
    """A new estimator as somebody would write it: the baseline is the mean of the whole rollout."""

    kind: Literal["batch"] = "batch"

    def advantages(self, outcome: Outcome) -> tuple[torch.Tensor, torch.Tensor]:
        whitened = whiten(outcome.shaped.nan_to_num(0.0), outcome.scored)
        return whitened[:, None] * outcome.mask, torch.zeros(outcome.mask.shape)


def test_a_new_estimator_is_one_class(tmp_path: Any) -> None:
    config = RLOOConfig(**SIZES, max_new_tokens=4, max_steps=2, learning_rate=1e-3)
    config = config.model_copy(update={"estimator": BatchBaseline(clip_range=0.1)})
    assert identity(config)["estimator"] == "batch"
    assert identity(config)["clip_range"] == 0.1
    trainer = small.trainer(tmp_path, config)
    trainer.train_or_resume()
    before, after = small.policy().lm_head.weight, trainer.actor_critic.policy.lm_head.weight
    assert (after - before).abs().max() > 1e-4


def test_one_update_a_rollout_needs_no_second_look_at_the_old_policy(tmp_path: Any) -> None:
    """The update's own forward gives them: same gradient as with a forward pass before."""
    kept: list[list[torch.Tensor]] = []
    for name, exact in (("saved", True), ("computed", False)):
        config = RLOOConfig(batch_size=8, rollout_batch_size=8, max_new_tokens=6, max_steps=3)
        trainer = small.trainer(tmp_path / name, config)
        trainer.maker.engine.exact = exact
        calls: list[int] = []
        trainer.actor_critic.policy.model.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        gradients: list[torch.Tensor] = []
        policy = trainer.actor_critic.policy
        trainer.add_callback(small.AtEachStep(lambda g=gradients, p=policy: g.append(small.gradient(p))))
        trainer.train_or_resume()
        kept.append([*gradients, torch.tensor(float(len(calls)))])
    *first, forwards = kept[0]
    *second, more = kept[1]
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)
    assert more == forwards + 3


def test_prompts_pass_over_all_rows_in_a_new_order_each_time() -> None:
    prompts = Prompts([{"id": index} for index in range(6)], seed=1)
    config = RLOOConfig(num_completions=2, batch_size=4, rollout_batch_size=4)
    taken = [row["id"] for rollout in range(6) for row in prompts.take(rollout, config)]
    assert taken[::2] == taken[1::2], "siblings lie side by side"
    first, second = taken[0:12:2], taken[12:24:2]
    assert sorted(first) == sorted(second) == list(range(6))
    assert first != second


def run(tiny: Any, tmp_path: Any, name: str, **changes: Any) -> Any:
    node = next(
        node
        for node in tiny_nodes({f"{name}.{key}": value for key, value in changes.items()})
        if node.name == name
    )
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
    draft = run(
        tiny,
        tmp_path,
        "rloo",
        reward={"kind": "function", "function": "tests.rewards.some_rewards:brevity"},
        num_epochs=20,
        ppo_epochs=1,
        learning_rate=3e-3,
        kl_coef=0.0,
        missing_eos_penalty=0.0,
    )
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
    names = {"policy_loss", "clip_fraction", "entropy", "step_kl", "sampler_gap", "grad_norm", "score", "kl",
             "kl_coef", "zero_variance_share", "unscored_share", "decode_seconds", "score_seconds",
             "compare_seconds", "update_seconds", "update_tokens_per_second"}  # fmt: skip
    assert names <= set(stats)
    value = {"value_loss", "value_clip_fraction", "value_error", "explained_variance"}
    assert value <= set(tiny("ppo").read("training_stats"))
