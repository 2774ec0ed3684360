"""rloo: REINFORCE leave-one-out; siblings of a prompt are each other's baseline."""

from collections.abc import Mapping

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact, SampleArtifact
from tempering.artifacts.stage import Summary, stage
from tempering.onpolicy.config import RLOOConfig


@stage("rloo", version=3, makes=ModelArtifact, label="RLOO", trains=True, aligns=True, color=5, parallel=True)
def rloo(
    out: Draft,
    config: RLOOConfig,
    *,
    model: ModelArtifact,
    sample: SampleArtifact,
    reward_models: Mapping[str, ModelArtifact],
) -> Summary:
    """Train `model` on its own completions of the sample's prompts."""
    from tempering.onpolicy.run import on_policy

    return on_policy(out, config, model, sample, reward_models)
