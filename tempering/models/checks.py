"""What a stage requires of a model: complete weights, and the tokenizer of its sample."""

from tempering.artifacts.kinds import ModelArtifact
from tempering.errors import ArtifactError


def check_tokenizer(model: ModelArtifact, tokenizer: object, what: str) -> None:
    """Refuse a model whose token ids mean something different from those of `what`.

    Args:
        tokenizer: digest of the tokenizer that `what` was made with.
    """
    if model.details.get("tokenizer") != tokenizer:
        raise ArtifactError(
            f"{model.id} and {what} were made with different tokenizers",
            expected="token ids that mean the same to both",
            fix="set `tokenizer: {kind: existing, name_or_path: ...}` to the model, and run again",
        )


def check_language_model(model: ModelArtifact) -> None:
    """Refuse anything but a complete causal language model."""
    if model.details.get("head", "causal_lm") != "causal_lm":
        raise ArtifactError(
            f"{model.id} is a reward model",
            expected="a causal language model",
            fix="name a stage that makes one, e.g. sft",
        )
    if model.details.get("adapter"):
        raise ArtifactError(
            f"{model.id} has only an adapter",
            expected="a whole model",
            fix="use the artifact of its merge stage",
        )
