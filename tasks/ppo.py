"""ppo: proximal policy optimisation with a value model."""

from collections.abc import Mapping

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact, SampleArtifact
from tempering.artifacts.stage import Summary, stage
from tempering.onpolicy.config import PPOConfig


@stage("ppo", version=3, makes=ModelArtifact, label="PPO", trains=True, aligns=True, color=4, parallel=True)
def ppo(
    out: Draft,
    config: PPOConfig,
    *,
    model: ModelArtifact,
    sample: SampleArtifact,
    reward_models: Mapping[str, ModelArtifact],
) -> Summary:
    """Train `model` on its own completions of the sample's prompts."""
    from tempering.onpolicy.run import on_policy

    return on_policy(out, config, model, sample, reward_models)
