"""Turn an architecture of our config into the Hugging Face config of a new model, without weights.

The shape comes from a preset or from another model's config.json; vocabulary and special tokens come from
the tokenizer; `overrides` come last. Settings that the model type does not know are refused.
"""

import difflib
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from tempering.errors import ConfigError
from tempering.model_config import Architecture, TransformerConfig
from tempering.unserved import UNSERVED

_LENGTH = 512  # positions of a preset, where the config does not say
_NOT_SHAPE = {
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "auto_map",
    "quantization_config",
}
_OTHER_NAMES = {"intermediate_size": "n_inner"}  # GPT-2 has its own name, and no alias for it


def special_tokens(tokenizer: Any) -> dict[str, int | None]:
    """The ids that a Hugging Face config names."""
    return {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}


def hf_config(architecture: Architecture, vocab_size: int, special: dict[str, int | None]) -> Any:
    """The config of a new model.

    Args:
        special: `bos_token_id`, `eos_token_id` and `pad_token_id` of the tokenizer.

    Raises:
        ConfigError: an unknown architecture, not a causal language model, or an unknown setting.
    """
    import tempering.models  # noqa: F401  registers our own families

    # The shape: borrowed from a model, or a preset.
    if isinstance(architecture, TransformerConfig) and architecture.name_or_path is not None:
        settings = _borrowed(architecture)
    else:
        settings = {**architecture.preset_settings(), "tie_word_embeddings": True}
        settings["max_position_embeddings"] = _LENGTH
    if architecture.max_position_embeddings:
        settings["max_position_embeddings"] = architecture.max_position_embeddings
    defaults = _type_of(settings)
    # Refuse unknown overrides; drop preset settings that this type does not have.
    for name in architecture.overrides:
        if not hasattr(defaults, name):
            raise _no_setting(defaults, name)
    if architecture.kind != "transformer" or architecture.name_or_path is None:
        settings = _for_type(defaults, settings)
    # The tokenizer decides the vocabulary, the user has the last word.
    settings |= {"vocab_size": vocab_size, **special, **architecture.overrides}
    if hasattr(defaults, "num_key_value_heads") and "num_attention_heads" in settings:
        # The default of some types fits only their own number of heads.
        settings.setdefault("num_key_value_heads", settings["num_attention_heads"])
    return _config_of_type(defaults, settings)


def cannot_build(model_type: str, error: object) -> ConfigError:
    """The error for settings that do not fit together."""
    return ConfigError(
        f"cannot build a {model_type!r} model: {error}",
        expected="settings that fit together",
        fix="correct pretrain.architecture in the config",
    )


def _borrowed(architecture: TransformerConfig) -> dict[str, Any]:
    """The settings in the config.json of the model whose shape is borrowed, without derived ones."""
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
    """A config of the model type that `settings` name, with that type's defaults."""
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

    model_type = settings.get("model_type", "llama")
    if model_type not in CONFIG_MAPPING:
        raise _no_language_model(model_type, "there is no model type", "")
    if model_type in UNSERVED:
        raise _no_language_model(model_type, "a model of type", f" {UNSERVED[model_type]}")
    try:
        defaults = CONFIG_MAPPING[model_type]()
    except (StrictDataclassError, ValueError, TypeError) as error:
        raise cannot_build(model_type, str(error.__cause__ or error)) from None
    if type(defaults) not in MODEL_FOR_CAUSAL_LM_MAPPING or defaults.is_encoder_decoder:
        raise _no_language_model(model_type, "no causal language model is", "")
    return defaults


def _for_type(defaults: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """The preset's settings that the type of `defaults` has, under its own names."""
    renamed = {
        name if hasattr(defaults, name) else _OTHER_NAMES.get(name, name): settings[name] for name in settings
    }
    return {name: value for name, value in renamed.items() if hasattr(defaults, name)}


def _config_of_type(defaults: Any, settings: dict[str, Any]) -> Any:
    """A config of the class of `defaults`, under the names that class uses."""
    aliases: dict[str, str] = getattr(defaults, "attribute_map", {})
    renamed = {aliases.get(name, name): value for name, value in settings.items() if name != "model_type"}
    try:
        return type(defaults)(**renamed)
    except (StrictDataclassError, ValueError, TypeError, ZeroDivisionError) as error:
        raise cannot_build(defaults.model_type, str(error.__cause__ or error)) from None


def _no_language_model(model_type: str, problem: str, reason: str) -> ConfigError:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    others = sorted({*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES} - {model_type, *UNSERVED})
    near = difflib.get_close_matches(model_type, others, n=3)
    return ConfigError(
        f"architecture.model_type: {problem} {model_type!r}{reason}",
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
