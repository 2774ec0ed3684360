"""Setting up the on-policy trainer from artifacts; PPO and RLOO differ by their config alone."""

from typing import Any

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact, SampleArtifact
from tempering.artifacts.tables import read_rows
from tempering.data.tokenizers import load_tokenizer
from tempering.errors import ConfigError, DataError
from tempering.models.adapters import trainable_lm
from tempering.models.device import prepare_device
from tempering.models.loading import stop_ids
from tempering.onpolicy.collect import Collector, Prompts
from tempering.onpolicy.config import OnPolicyConfig, PPOConfig
from tempering.onpolicy.rollout import Decoder, Sampling
from tempering.onpolicy.trainer import OnPolicyTrainer
from tempering.onpolicy.value import ValueModel
from tempering.rewards.build import build_reward
from tempering.training.run import check_inputs, inherited, last_rows, save_trained, token_budget


def on_policy(
    out: Draft,
    config: OnPolicyConfig,
    model: ModelArtifact,
    sample: SampleArtifact,
    reward_model: ModelArtifact | None,
) -> dict[str, float | int | str]:
    """Train `model` on its own completions of the sample's prompts.

    Returns:
        the mean score, KL and length of the last rollouts.
    """
    device = prepare_device(out)
    check_inputs(model, sample, "prompt")
    tokenizer = load_tokenizer(model.model_dir)
    policy = trainable_lm(model, config.adapter, out.seed).to(device)
    rows = read_rows(sample.rows_path("train"))
    check_lengths(rows, policy, config, sample)
    out.name_tokens = token_budget(config, sample)
    trainer = OnPolicyTrainer(
        policy=policy,
        reference=None if config.adapter else trainable_lm(model, None, out.seed),
        value=value_model(config, model, reward_model),
        prompts=Prompts(rows, out.seed, ordered=bool(sample.details.get("ordered"))),
        collector=Collector(
            Decoder(policy, stop_ids(policy, tokenizer), tokenizer.pad_token_id),
            build_reward(config.reward, reward_model, device),
            tokenizer,
            Sampling(
                config.max_new_tokens, config.min_new_tokens, config.temperature, config.top_k, config.top_p
            ),
        ),
        tokenizer=tokenizer,
        config=config,
        out=out,
    )
    trainer.train_or_resume()
    save_trained(policy, tokenizer, out, {**inherited(sample, model), "head": "causal_lm"})
    names = ("score", "kl", "completion_length", "ended_share")
    summary = last_rows(out.metadata_dir / "training_stats.parquet", names)
    return {**summary, "steps": trainer.state.global_step}


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
    config: OnPolicyConfig, model: ModelArtifact, reward_model: ModelArtifact | None
) -> ValueModel | None:
    """PPO's value model with its own trunk; RLOO has none."""
    if not isinstance(config, PPOConfig):
        return None
    source = reward_model if config.value_init == "reward_model" else model
    assert source is not None, "the config makes sure of a reward model"
    if source.details.get("tokenizer") != model.details.get("tokenizer"):
        raise ConfigError(
            f"{config.value_init} has another tokenizer than the policy",
            expected="a value model that reads the policy's tokens",
            fix="set value_init: policy",
        )
    return ValueModel.from_folder(
        source.model_dir, config.adapter, seed=config.seed, trust_remote_code=source.trusts_remote_code
    )
