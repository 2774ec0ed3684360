"""LoRA by PEFT, on a frozen base, for every stage that trains.

One rule for chains: an adapter never leaves its stage unmerged. A stage that trained one is followed by
`merge[STAGE]` (see `merging`), and every later stage uses the merged model, so adapters never stack by
accident. The reference policy is the model with its adapter switched off: no second copy in memory.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempering.artifacts.kinds import ModelArtifact
from tempering.errors import ConfigError
from tempering.model_config import LoraConfig
from tempering.models.loading import load_causal_lm, load_scorer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def trainable_lm(model: ModelArtifact, adapter: LoraConfig | None, seed: int) -> Any:
    """The causal LM of `model`, ready for training: all of it, or a fresh adapter on it."""
    weights = adapter.base_weights if adapter else "fp32"
    lm = load_causal_lm(model.model_dir, weights=weights, trust_remote_code=model.trusts_remote_code)
    return add_adapter(lm, adapter, seed)


def trainable_scorer(model: ModelArtifact, adapter: LoraConfig | None, seed: int) -> Any:
    """A reward model, ready for training: a fresh score head on `model`, and an adapter if configured."""
    weights = adapter.base_weights if adapter else "fp32"
    scorer = load_scorer(
        model.model_dir, new_head=True, seed=seed, weights=weights, trust_remote_code=model.trusts_remote_code
    )
    return add_adapter(scorer, adapter, seed, "SEQ_CLS")


def add_adapter(
    model: "PreTrainedModel", config: LoraConfig | None, seed: int, task_type: str | None = "CAUSAL_LM"
) -> Any:
    """`model` with a fresh adapter initialised from `seed`; `model` itself if `config` is None.

    Args:
        task_type: PEFT's: CAUSAL_LM, SEQ_CLS (the score head is trained and saved), None for a bare body.

    Raises:
        ConfigError: a target matches no module, or one whose weight is another layer's too.
    """
    if config is None:
        return model
    from peft import get_peft_model, prepare_model_for_kbit_training
    from transformers import set_seed

    if config.base_weights == "nf4":
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    set_seed(seed)
    _check_targets(model, config)
    try:
        adapted = get_peft_model(model, peft_config(config, task_type))
    except ValueError as error:
        raise _no_target(model, config, error) from None
    _refuse_tied(adapted, config)
    # PEFT would write the base's local path beside the weights; the manifest already names the base.
    adapted.peft_config["default"].base_model_name_or_path = ""
    return adapted


def peft_config(config: LoraConfig, task_type: str | None) -> Any:
    """PEFT's own config."""
    from peft import LoraConfig as PeftLoraConfig

    return PeftLoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        bias="none",
        target_modules=config.target_modules,
        use_dora=config.dora,
        use_rslora=config.rslora,
        task_type=task_type,
        modules_to_save=["score"] if task_type == "SEQ_CLS" else None,
    )


def _check_targets(model: "PreTrainedModel", config: LoraConfig) -> None:
    """PEFT is content with one match in total, so a typo beside a good name would go unnoticed."""
    if isinstance(config.target_modules, str):
        return
    names = [name for name, _ in model.named_modules()]
    for target in config.target_modules:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            raise _no_target(model, config, ValueError(f"no module is called {target!r}"))


def _refuse_tied(adapted: Any, config: LoraConfig) -> None:
    """An adapter on a weight that two layers share changes one of them: merged, it would change both."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    # Every layer by the weight it holds, under the names it had without the adapter.
    layers: dict[str, Any] = dict(adapted.base_model.model.named_modules(remove_duplicate=False))
    names: dict[int, set[str]] = {}
    for name, part in layers.items():
        weight = getattr(part, "weight", None)
        if weight is not None and not isinstance(part, BaseTunerLayer):
            names.setdefault(id(weight), set()).add(name.removesuffix(".base_layer"))
    adapters = {name for name, part in layers.items() if isinstance(part, BaseTunerLayer)}
    tied = sorted(
        {name for shared in names.values() if len(shared) > 1 and shared & adapters for name in shared}
    )
    if tied:
        raise ConfigError(
            f"adapter.target_modules {config.target_modules!r}: {' and '.join(tied)} are one weight (tied)",
            expected="layers whose weight is theirs alone: merging would change the others with it",
            fix=f"leave {' and '.join(sorted(adapters.intersection(tied)))} out of target_modules, "
            "or use a model with tie_word_embeddings: false",
        )


def _no_target(model: "PreTrainedModel", config: LoraConfig, error: ValueError) -> ConfigError:
    names = sorted({name.rsplit(".", 1)[-1] for name, part in model.named_modules() if _adaptable(part)})
    return ConfigError(
        f"adapter.target_modules {config.target_modules!r}: {str(error).splitlines()[0]}",
        expected=f"all-linear, or some of {names}",
        fix="correct the adapter's target_modules",
    )


def _adaptable(module: Any) -> bool:
    """A layer with a matrix of its own."""
    weight = getattr(module, "weight", None)
    return weight is not None and getattr(weight, "ndim", 0) == 2


def load_adapter(base: "PreTrainedModel", folder: Path) -> Any:
    """`base` with the trained adapter of `folder` on it, in eval mode."""
    from peft import PeftModel

    return PeftModel.from_pretrained(base, str(folder)).eval()


def is_adapter(folder: Path) -> bool:
    """Whether a model folder has only an adapter."""
    return (folder / "adapter_config.json").exists()
