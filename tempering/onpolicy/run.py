"""Setting up the on-policy trainer from artifacts; PPO and RLOO differ by their config alone."""

import os
from collections.abc import Mapping
from typing import Any

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact, SampleArtifact
from tempering.artifacts.tables import read_rows
from tempering.data.tokenizers import load_tokenizer
from tempering.errors import ConfigError, DataError
from tempering.generation.engines.build import build_engine
from tempering.models.adapters import trainable_lm
from tempering.models.device import prepare_device
from tempering.models.loading import stop_ids
from tempering.onpolicy.algorithm import RolloutMaker
from tempering.onpolicy.config import OnPolicyConfig
from tempering.onpolicy.prompts import Prompts
from tempering.onpolicy.reward_gate import check_reward_models
from tempering.onpolicy.trainer import OnPolicyTrainer, most_rollouts
from tempering.onpolicy.value import ValueHead, ValueModel
from tempering.rewards.build import build_rewards
from tempering.rewards.config import learned
from tempering.training.run import check_inputs, inherited, last_rows, save_trained, token_budget


def on_policy(
    out: Draft,
    config: OnPolicyConfig,
    model: ModelArtifact,
    sample: SampleArtifact,
    reward_models: Mapping[str, ModelArtifact],
) -> dict[str, float | int | str]:
    """Train `model` on its own completions of the sample's prompts.

    Args:
        reward_models: the models that components of the reward name, by the component.

    Returns:
        the mean score, KL and length of the last rollouts.
    """
    # Everything that can be refused, before the rollouts begin.
    device = prepare_device(out)
    check_inputs(model, sample, config.sample_rows)
    check_processes(config)
    check_reward_models(config, reward_models)
    tokenizer = load_tokenizer(model.model_dir)
    policy = trainable_lm(model, config.adapter, out.seed).to(device)
    rows = read_rows(sample.rows_path("train"))
    check_lengths(rows, policy, config, sample)
    out.name_tokens = token_budget(config, sample)
    # What samples, scores and compares completions.
    steps = config.max_steps or 1 << 62
    rollouts = min(most_rollouts(config, len(rows)), -(-steps // config.steps_per_rollout))
    completions = rollouts * config.rollout_batch_size
    rewards = build_rewards(config.reward, reward_models, device, out, completions)
    stops, pad = stop_ids(policy, tokenizer), tokenizer.pad_token_id
    maker = RolloutMaker(
        config,
        prompts=Prompts(rows, out.seed, ordered=bool(sample.details.get("ordered"))),
        engine=build_engine(config.engine, policy, stops, pad, config.sampling()),
        reward=rewards,
        tokenizer=tokenizer,
        reference=None if config.adapter else trainable_lm(model, None, out.seed),
        seed=out.seed,
    )
    # What learns from them.
    trainer = OnPolicyTrainer(
        policy=policy,
        value=value_model(config, model, reward_models, policy),
        maker=maker,
        tokenizer=tokenizer,
        config=config,
        out=out,
    )
    trainer.train_or_resume()
    rewards.close()
    # One process writes the model; all of them read the summary, so they wait for it.
    if trainer.writes:
        save_trained(policy, tokenizer, out, {**inherited(sample, model), "head": "causal_lm"})
    names = ("score", "kl", "completion_length", "ended_share")
    trainer.wait()
    summary = last_rows(out.metadata_dir / "training_stats.parquet", names)
    return {**summary, "steps": trainer.state.global_step}


def check_processes(config: OnPolicyConfig) -> None:
    """Refuse processes that cannot take whole prompts each."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    prompts = config.rollout_batch_size // config.num_completions
    if prompts % processes:
        raise ConfigError(
            f"{prompts} prompts per rollout cannot be shared by {processes} processes",
            expected=f"rollout_batch_size / num_completions to be a multiple of {processes}",
            fix="change rollout_batch_size or runtime.processes",
        )


def check_lengths(
    rows: list[dict[str, Any]], policy: Any, config: OnPolicyConfig, sample: SampleArtifact
) -> None:
    """Refuse an empty sample, and prompts that leave no room for a completion."""
    if not rows:
        raise DataError(f"{sample.id} has no training rows", expected="prompts", fix="check its data sets")
    room = getattr(policy.config.get_text_config(), "max_position_embeddings", None)
    longest = max(len(row["input_ids"]) for row in rows)
    if room and longest + config.max_new_tokens > room:
        raise ConfigError(
            f"the longest prompt has {longest} tokens; with max_new_tokens {config.max_new_tokens} "
            f"that is more than the model's {room} positions",
            expected="prompt and completion to fit",
            fix="lower max_new_tokens, or the sample's max_prompt_length",
        )


def value_model(
    config: OnPolicyConfig, model: ModelArtifact, reward_models: Mapping[str, ModelArtifact], policy: Any
) -> ValueModel | ValueHead | None:
    """PPO's value model, or its head on the policy's trunk; the other estimators have none."""
    settings = config.estimator.value_model
    if settings is None:
        return None
    # A head alone, on the policy's trunk.
    if settings.value_trunk == "shared":
        head: ValueHead = ValueHead(policy.config.get_text_config().hidden_size).to(policy.device)
        return head
    # Or a trunk of its own; it reads token ids, so the tokenizer must be the policy's.
    source = model
    if settings.value_init == "reward_model":
        source = reward_models[learned(config.reward)[0]]
    if source.details.get("tokenizer") != model.details.get("tokenizer"):
        raise ConfigError(
            f"{settings.value_init} has another tokenizer than the policy",
            expected="a value model that reads the policy's tokens",
            fix="set value_init: policy",
        )
    value: ValueModel = ValueModel.from_folder(
        source.model_dir, config.adapter, seed=config.seed, trust_remote_code=source.trusts_remote_code
    )
    return value
