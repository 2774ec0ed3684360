"""Names of older recipes: each takes effect, none may say a thing twice, and what contradicts is refused."""

from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from tempering.config import identity
from tempering.onpolicy.config import PPOConfig, RLOOConfig
from tempering.training.aliases import ALIASES, GENERATION, SWITCHES
from tempering.training.config import DPOConfig, SFTConfig, TrainingConfig

VALUES: dict[str, Any] = {
    "learning_rate": 0.01, "lr_schedule": "polynomial", "cosine_cycles": 3, "warmup_fraction": 0.3,
    "num_epochs": 7.0, "min_new_tokens": 3, "max_new_tokens": 31, "rollout_batch_size": 192,
    "num_completions": 6, "ppo_epochs": 5, "kl_coef": 0.7, "target_kl": 2.5, "kl_horizon": 777,
    "clip_range": 0.31, "value_clip_range": 0.4, "value_coef": 0.11, "gae_lambda": 0.8,
}  # fmt: skip
NEEDED: dict[str, dict[str, Any]] = {
    "cosine_cycles": {"lr_schedule": "cosine_with_restarts"},
    "target_kl": {"kl_control": "adaptive"},
    "kl_horizon": {"kl_control": "adaptive"},
}


@pytest.mark.parametrize("alias", ALIASES)
def test_every_alias_takes_effect_and_cannot_stand_beside_our_name(alias: str) -> None:
    ours = ALIASES[alias]
    needed = NEEDED.get(ours, {})
    # the identity has the settings of the estimator beside those of the stage
    assert VALUES[ours] != identity(PPOConfig())[ours]
    assert identity(PPOConfig(**needed, **{alias: VALUES[ours]}))[ours] == VALUES[ours]
    with pytest.raises(ValidationError, match=f"({alias} and {ours}|{ours} and {alias}) are two names"):
        PPOConfig(**needed, **{alias: VALUES[ours], ours: VALUES[ours]})


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_switch_takes_effect(switch: str) -> None:
    ours, on, off = SWITCHES[switch]
    assert getattr(PPOConfig(**{switch: True}), ours) == on
    assert getattr(PPOConfig(**{switch: False}), ours) == (off or PPOConfig.model_fields[ours].default)
    with pytest.raises(ValidationError, match="true or false"):
        PPOConfig(**{switch: "yes"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.01),
        ("batch_size", 12),
        ("token_limit", 500),
        ("checkpoint_interval", 50),
        ("num_epochs", 4.0),
        ("ppo_epochs", 5),
        ("total_episodes", 960),
    ],
)
def test_published_names_that_are_ours(name: str, value: Any) -> None:
    plain, changed = PPOConfig(), PPOConfig(**{name: value})
    assert getattr(changed, name) == value
    assert identity(changed) != identity(plain)


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("temperature", 0.7, 0.7),
        ("top_k", 50, 50),
        ("top_k", 0, None),
        ("top_k", 0.0, None),
        ("top_k", -1, None),
        ("top_p", 0.9, 0.9),
        ("top_p", 1.0, None),
        ("min_p", 0.1, 0.1),
        ("min_p", 0.0, None),
        ("repetition_penalty", 1.2, 1.2),
        ("max_new_tokens", 20, 20),
        ("min_new_tokens", 2, 2),
    ],
)
def test_generation_kwargs_are_settings_of_the_section(name: str, value: Any, field: Any) -> None:
    assert getattr(RLOOConfig(generation_kwargs={"do_sample": True, name: value}), name) == field
    assert getattr(RLOOConfig(**{name: value}), name) == field
    with pytest.raises(ValidationError, match=f"{name} and generation_kwargs.{name} are two names"):
        RLOOConfig(**{name: value}, generation_kwargs={name: value})


def test_all_that_generation_kwargs_may_hold_is_tested_above() -> None:
    tested = test_generation_kwargs_are_settings_of_the_section.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert {name for name, _, _ in tested} == set(GENERATION)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"generation_kwargs": {"temprature": 1}},
            "generation_kwargs.temprature: unknown; did you mean 'temp",
        ),
        ({"generation_kwargs": {"do_sample": False}}, "learns from samples"),
        ({"generation_kwargs": {"min_length": 5}}, "counts the prompt too; set min_new_tokens"),
        ({"generation_kwargs": {"pad_token_id": 0}}, "padding is masked"),
        ({"generation_kwargs": [1]}, "expected a mapping"),
        ({"generation_kwargs": {"max_new_tokens": 9}, "response_length": 9}, "response_length .*two names"),
        ({"output_max_length": 9, "response_length": 9}, "output_max_length and response_length are two"),
        ({"init_kl_coef": 0.1, "beta": 0.1}, "two names for kl_coef"),
        ({"adap_kl_ctrl": True, "kl_control": "adaptive"}, "two names for kl_control"),
        ({"output_min_length": 9, "output_max_length": 8}, "min_new_tokens 9 is more than"),
        ({"mini_batch_size": 16}, "write rollout_batch_size and batch_size"),
        ({"whiten_rewards": True}, "whiten_advantages"),
        ({"early_stopping": True}, "stop_kl"),
        ({"num_mini_batches": 2}, "rollout_batch_size / num_mini_batches"),
    ],
)
def test_what_says_it_twice_or_means_something_else_is_refused(given: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PPOConfig(**given)


def test_min_length_of_the_old_quickstart_was_off() -> None:
    assert PPOConfig(generation_kwargs={"min_length": -1, "top_p": 1.0}) == PPOConfig()


@pytest.mark.parametrize(
    ("given", "batch", "micro", "rollout"),
    [
        ({"per_device_train_batch_size": 8}, 8, 8, 8),
        ({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 4}, 32, 8, 32),
        ({"batch_size": 32, "gradient_accumulation_steps": 4}, 32, 8, 96),
        ({"batch_size": 32, "per_device_train_batch_size": 8}, 32, 8, 96),
        ({"batch_size": 32, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 4}, 32, 8, 96),
        ({"micro_batch_size": 8, "gradient_accumulation_steps": 3}, 24, 8, 24),
        ({"per_device_train_batch_size": 8, "ppo_batch_size": 64}, 8, 8, 64),
    ],
)
def test_names_of_one_device_become_global(given: Any, batch: int, micro: int, rollout: int) -> None:
    config = PPOConfig(**given)
    assert (config.batch_size, config.micro_batch_size, config.rollout_batch_size) == (batch, micro, rollout)
    assert identity(config) == identity(PPOConfig(batch_size=batch, rollout_batch_size=rollout))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"batch_size": 32, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 3},
            "batch_size 32 contradicts per_device_train_batch_size 8 x gradient_accumulation_steps 3",
        ),
        ({"batch_size": 30, "per_device_train_batch_size": 8}, "contradicts per_device"),
        ({"batch_size": 4, "per_device_train_batch_size": 8}, "contradicts per_device"),
        ({"batch_size": 30, "gradient_accumulation_steps": 4}, "not a multiple of gradient_acc"),
        ({"gradient_accumulation_steps": 4}, "set batch_size or per_device_train_batch_size"),
        ({"micro_batch_size": 4, "per_device_train_batch_size": 4}, "two names for micro_batch_size"),
        ({"per_device_train_batch_size": 0}, "at least 1"),
        ({"per_device_train_batch_size": True}, "whole number"),
    ],
)
def test_batch_sizes_that_contradict_each_other_are_refused(given: Any, said: str) -> None:
    for kind in (PPOConfig, SFTConfig):
        with pytest.raises(ValidationError, match=said):
            kind(**given)


def test_a_name_belongs_to_the_sections_that_have_the_setting() -> None:
    assert DPOConfig(beta=0.4).beta == 0.4, "DPO's own"
    assert SFTConfig(per_device_train_batch_size=4).batch_size == 4
    for given in ({"rloo_k": 4}, {"generation_kwargs": {}}, {"mini_batch_size": 4}):
        with pytest.raises(ValidationError) as error:
            SFTConfig(**given)  # type: ignore[arg-type]
        assert error.value.errors()[0]["type"] == "extra_forbidden"
        assert error.value.errors()[0]["loc"] == (next(iter(given)),), "under the name it was given"


def test_a_translated_config_can_be_read_again() -> None:
    config = RLOOConfig(per_device_train_batch_size=8, rloo_k=4, generation_kwargs={"top_k": 0})
    assert RLOOConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize("kind", [PPOConfig, SFTConfig])
def test_the_learning_rate_follows_the_tokens(kind: type[TrainingConfig]) -> None:
    """Steps or tokens, whichever is further; a mutation that drops either moves a number."""
    from tempering.training.schedule import learning_rate_factor
    from tempering.training.trainer import TokenTrainer

    def factor(config: TrainingConfig, steps: int, tokens: int) -> float:
        run: Any = SimpleNamespace(config=config, state=SimpleNamespace(max_steps=100), tokens=tokens)
        return learning_rate_factor(config, TokenTrainer.progress(run, steps))

    limited = kind(token_limit=1000, lr_schedule="linear", warmup_fraction=0.0)
    assert factor(limited, 10, 250) == pytest.approx(0.75, abs=1e-6)
    assert factor(limited, 60, 250) == pytest.approx(0.40, abs=1e-6)
    assert factor(limited, 10, 1000) == 0
    free = kind(lr_schedule="linear", warmup_fraction=0.0)
    assert factor(free, 10, 250) == pytest.approx(0.90, abs=1e-6)
