"""ppo: proximal policy optimisation with a value model."""

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact, SampleArtifact
from tempering.onpolicy.config import PPOConfig
from tempering.stage import Summary, stage


@stage("ppo", version=2, makes=ModelArtifact, trains=True)
def ppo(
    out: Draft,
    config: PPOConfig,
    *,
    model: ModelArtifact,
    sample: SampleArtifact,
    reward_model: ModelArtifact | None = None,
) -> Summary:
    """Train `model` on its own completions of the sample's prompts."""
    from tempering.onpolicy.run import on_policy

    return on_policy(out, config, model, sample, reward_model)
