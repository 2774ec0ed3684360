"""Making, loading and saving models and tokenizers: safetensors in a plain Hugging Face folder.

Everything reads local folders; a Hub name goes through the same calls. Remote code is never
run. `save_model` leaves files world-readable and a tokenizer class that transformers 4 reads.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempering.data.tokenizers import save_tokenizer
from tempering.errors import ArtifactError
from tempering.model_config import PRESETS, Architecture, TransformerConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def new_model(config: Architecture, tokenizer: "PreTrainedTokenizerBase", seed: int) -> "PreTrainedModel":
    """A freshly initialised causal LM whose vocabulary is the tokenizer's."""
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    settings: dict[str, Any] = {
        **PRESETS[config.preset],
        "max_position_embeddings": config.max_position_embeddings,
        "vocab_size": len(tokenizer),
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **config.overrides,
    }
    preset_type = settings.pop("model_type", "llama")
    model_type = (config.model_type if isinstance(config, TransformerConfig) else config.kind) or preset_type
    set_seed(seed)
    try:
        known = AutoConfig.for_model(model_type)
        unknown = [key for key in config.overrides if not hasattr(known, key)]
        if unknown:
            raise ValueError(f"it has no setting {unknown[0]!r}")
        hf_config = AutoConfig.for_model(model_type, **settings)
        model = AutoModelForCausalLM.from_config(hf_config)
    except ValueError as error:
        raise ArtifactError(
            f"cannot build a {model_type!r} model: {error}",
            expected="a causal language model type of transformers, with settings it knows",
            fix="correct model.architecture in the config",
        ) from None
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def load_causal_lm(folder: str | Path) -> "PreTrainedModel":
    """A causal LM in fp32, in eval mode.

    Raises:
        ArtifactError: the folder's weights do not fill the model (missing or unexpected keys).
    """
    from transformers import AutoModelForCausalLM

    return _load(AutoModelForCausalLM, folder, allowed_missing=())


def load_scorer(folder: str | Path, *, new_head: bool = False, seed: int = 0) -> "PreTrainedModel":
    """A sequence classifier with one output: the reward model.

    Args:
        folder: a reward model, or with `new_head` a causal LM to put a fresh head on.
        new_head: allow a missing score head, initialised from `seed`; otherwise that is an error,
            since a silently re-initialised head gives random rewards.
    """
    from transformers import AutoModelForSequenceClassification, set_seed

    set_seed(seed)
    allowed = ("score.",) if new_head else ()
    return _load(AutoModelForSequenceClassification, folder, allowed_missing=allowed, num_labels=1)


def _load(
    auto: Any, folder: str | Path, *, allowed_missing: tuple[str, ...], **kwargs: Any
) -> "PreTrainedModel":
    import torch

    model, loaded = auto.from_pretrained(
        str(folder), dtype=torch.float32, output_loading_info=True, trust_remote_code=False, **kwargs
    )
    missing = [key for key in loaded["missing_keys"] if not key.startswith(allowed_missing or ("\0",))]
    head = {"lm_head.weight", "score.weight", "score.bias"}  # another head's weights may be left over
    unexpected = [key for key in loaded["unexpected_keys"] if key not in head]
    if missing or unexpected or loaded.get("mismatched_keys"):
        raise ArtifactError(
            f"{folder}: weights do not fit the model: missing {missing[:5]}, unexpected {unexpected[:5]}",
            expected=f"the weights of a {type(model).__name__}",
            fix="give a folder of that kind; a reward model comes from the reward_model stage",
        )
    return model.eval()


def save_model(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Write model and tokenizer as safetensors in Hugging Face layout."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    save_tokenizer(tokenizer, folder)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o644)


def parameter_count(model: "PreTrainedModel") -> int:
    """Distinct parameters, trainable or not."""
    return sum(parameter.numel() for parameter in model.parameters())


def load_weights(model: Any, folder: Path) -> None:
    """Put the weights of a checkpoint folder (full model or adapter) into `model`, in place."""
    from safetensors.torch import load_file

    if hasattr(model, "peft_config"):
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, load_file(folder / "adapter_model.safetensors"))
        return
    weights: dict[str, Any] = {}
    for part in sorted(folder.glob("model*.safetensors")):
        weights.update(load_file(part))
    missing, unexpected = model.load_state_dict(weights, strict=False)
    tied = set(model._tied_weights_keys or ())  # stored once, under the other name
    if set(missing) - tied or unexpected:
        raise ArtifactError(
            f"{folder}: missing {missing[:5]}, unexpected {unexpected[:5]}",
            expected="the weights of this model",
            fix="remove this checkpoint and run again",
        )
