"""From an architecture of our config to the Hugging Face config of a new model, without weights.

The shape comes from a preset or from another model's config.json; vocabulary and special tokens come from
the tokenizer; `overrides` are laid over all of it. What the model type does not know is refused.
"""

import difflib
from typing import Any

from tempering.errors import ConfigError
from tempering.model_config import Architecture, TransformerConfig

_LENGTH = 512  # positions of a preset, where the config does not say
_NOT_SHAPE = {
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "auto_map",
    "quantization_config",
}
_ELSEWHERE = {"intermediate_size": "n_inner"}  # GPT-2 has its own name, and no alias for it


def special_tokens(tokenizer: Any) -> dict[str, int | None]:
    """The ids that a Hugging Face config names."""
    return {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}


def hf_config(architecture: Architecture, vocab_size: int, special: dict[str, int | None]) -> Any:
    """The config of a new model.

    Args:
        special: `bos_token_id`, `eos_token_id` and `pad_token_id` of the tokenizer.

    Raises:
        ConfigError: no such architecture, no causal language model, or a setting that it does not have.
    """
    import tempering.models  # noqa: F401  registers our own families

    if isinstance(architecture, TransformerConfig) and architecture.name_or_path is not None:
        settings = _borrowed(architecture)
    else:
        settings = {**architecture.preset_settings(), "tie_word_embeddings": True}
        settings["max_position_embeddings"] = _LENGTH
    if architecture.max_position_embeddings:
        settings["max_position_embeddings"] = architecture.max_position_embeddings
    known = _type_of(settings)
    for name in architecture.overrides:
        if not hasattr(known, name):
            raise _no_setting(known, name)
    if architecture.kind != "transformer" or architecture.name_or_path is None:
        settings = _for_type(known, settings)
    settings |= {"vocab_size": vocab_size, **special, **architecture.overrides}
    if hasattr(known, "num_key_value_heads") and "num_attention_heads" in settings:
        # Some types come with a number that fits their own heads alone.
        settings.setdefault("num_key_value_heads", settings["num_attention_heads"])
    return _made(known, settings)


def cannot_build(model_type: str, error: object) -> ConfigError:
    """The refusal of settings that do not go together."""
    return ConfigError(
        f"cannot build a {model_type!r} model: {error}",
        expected="settings that fit together",
        fix="correct pretrain.architecture in the config",
    )


def _borrowed(architecture: TransformerConfig) -> dict[str, Any]:
    """What the config.json of the model that gives the shape says: only that, nothing worked out from it."""
    from transformers import PreTrainedConfig

    folder, revisions = architecture.local_shape(), architecture.external_revisions()
    try:
        settings, _ = PreTrainedConfig.get_config_dict(
            str(folder or architecture.name_or_path), revision=revisions[0][1] if revisions else "main"
        )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"architecture.name_or_path {architecture.name_or_path}: {str(error).splitlines()[0]}",
            expected="a model with a config.json",
            fix="use another model, or set model_type and overrides",
        ) from None
    return {name: settings[name] for name in settings if name not in _NOT_SHAPE and name[0] != "_"}


def _type_of(settings: dict[str, Any]) -> Any:
    """A config of the type that `settings` name, with that type's defaults."""
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

    model_type = settings.get("model_type", "llama")
    if model_type not in CONFIG_MAPPING:
        raise _no_language_model(model_type, "there is no model type")
    known = CONFIG_MAPPING[model_type]()
    if type(known) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise _no_language_model(model_type, "no causal language model is")
    if known.is_encoder_decoder or getattr(known, "is_decoder", True) is False:
        raise _no_language_model(model_type, "a model that reads in both directions is")
    return known


def _for_type(known: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """What of a preset's settings the type of `known` has, under its own names."""
    named = {
        name if hasattr(known, name) else _ELSEWHERE.get(name, name): settings[name] for name in settings
    }
    return {name: value for name, value in named.items() if hasattr(known, name)}


def _made(known: Any, settings: dict[str, Any]) -> Any:
    """A config of the class of `known`, under the names that class uses."""
    from huggingface_hub.errors import StrictDataclassError

    aliases: dict[str, str] = getattr(known, "attribute_map", {})
    named = {aliases.get(name, name): value for name, value in settings.items() if name != "model_type"}
    try:
        return type(known)(**named)
    except (StrictDataclassError, ValueError, TypeError, ZeroDivisionError) as error:
        raise cannot_build(known.model_type, str(error.__cause__ or error)) from None


def _no_language_model(model_type: str, what: str) -> ConfigError:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    others = sorted({*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES} - {model_type})
    near = difflib.get_close_matches(model_type, others, n=3)
    return ConfigError(
        f"architecture.model_type: {what} {model_type!r}",
        expected="a causal language model type of transformers"
        + (f", e.g. {', '.join(near)}" if near else ""),
        fix="correct pretrain.architecture.model_type; lstm and kgram are a `kind`",
    )


def _no_setting(shape: Any, name: str) -> ConfigError:
    near = difflib.get_close_matches(name, shape.to_dict(), n=1)
    return ConfigError(
        f"architecture.overrides: a {shape.model_type!r} model has no setting {name!r}",
        expected=f"did you mean {near[0]!r}?" if near else f"one of {', '.join(sorted(shape.to_dict()))}",
        fix="correct pretrain.architecture.overrides",
    )
