"""rloo: REINFORCE leave-one-out; siblings of a prompt are each other's baseline."""

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact, SampleArtifact
from tempering.onpolicy.config import RLOOConfig
from tempering.stage import Summary, stage


@stage("rloo", version=2, makes=ModelArtifact, trains=True)
def rloo(
    out: Draft,
    config: RLOOConfig,
    *,
    model: ModelArtifact,
    sample: SampleArtifact,
    reward_model: ModelArtifact | None = None,
) -> Summary:
    """Train `model` on its own completions of the sample's prompts."""
    from tempering.onpolicy.run import on_policy

    return on_policy(out, config, model, sample, reward_model)
