"""A local language model that is asked questions: a teacher, or a judge."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tempering.artifacts.kinds import ModelArtifact
    from tempering.generation.language_model import LanguageModel


def open_speaker(model: "ModelArtifact", device: Any) -> "LanguageModel":
    """A complete causal LM with a tokenizer that can pad, in the prompt format it was trained on.

    Raises:
        ArtifactError: it is a reward model, or an adapter alone.
    """
    from tempering.data.tokenizers import load_tokenizer
    from tempering.generation.language_model import LanguageModel, completed
    from tempering.models.checks import check_language_model
    from tempering.models.find import Source, open_language_model

    check_language_model(model)
    source = Source(model.id, model.model_dir, model)
    tokenizer = completed(load_tokenizer(model.model_dir), source)
    return LanguageModel(
        model.model_dir,
        source.prompt_format(tokenizer),
        device,
        model=open_language_model(source),
        tokenizer=tokenizer,
    )
