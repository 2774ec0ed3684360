"""adopt[NAME]: bring an external model into the store, complete and checked."""

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact
from tempering.artifacts.stage import Summary, stage
from tempering.model_config import AdoptConfig


@stage("adopt", version=1, makes=ModelArtifact)
def adopt(out: Draft, config: AdoptConfig) -> Summary:
    """Make a Hugging Face folder or Hub model an artifact that records where it came from."""
    from tempering.exchange.adopt import adopt_model
    from tempering.generation.probe import refuse_unserved

    return adopt_model(out, config, refuse_unserved)
