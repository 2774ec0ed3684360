"""LoRA by PEFT, and merging it back.

One rule for chains: an adapter never leaves its stage unmerged. A stage that trained one is
followed by `merge[STAGE]`, and every later stage uses the merged model; so adapters do not
stack by accident, and a merged model must give the adapter's logits (checked on real rows).
"""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempering.artifacts.kinds import ModelArtifact
from tempering.data.shards import iter_rows
from tempering.errors import ArtifactError, ConfigError
from tempering.model_config import LoraConfig, MergeConfig
from tempering.models.loading import load_causal_lm, load_scorer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def peft_config(config: LoraConfig, task_type: str) -> Any:
    """PEFT's own config; `task_type` is CAUSAL_LM or SEQ_CLS (whose score head is trained and saved)."""
    from peft import LoraConfig as PeftLoraConfig

    return PeftLoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        bias="none",
        target_modules=config.target_modules,
        task_type=task_type,
        modules_to_save=["score"] if task_type == "SEQ_CLS" else None,
    )


def add_adapter(
    model: "PreTrainedModel", config: LoraConfig | None, seed: int, task_type: str = "CAUSAL_LM"
) -> Any:
    """`model` with a fresh adapter, initialised from `seed`, or `model` itself where there is none to add."""
    if config is None:
        return model
    from peft import get_peft_model
    from transformers import set_seed

    set_seed(seed)
    try:
        return get_peft_model(model, peft_config(config, task_type))
    except ValueError as error:
        names = sorted({name.rsplit(".", 1)[-1] for name, _ in model.named_modules() if name})
        raise ConfigError(
            f"adapter.target_modules {config.target_modules!r}: {error}",
            expected=f"all-linear, or some of {names}",
            fix="correct the adapter's target_modules",
        ) from None


def load_adapter(base: "PreTrainedModel", folder: Path) -> Any:
    """`base` with the trained adapter of `folder` on it, in eval mode."""
    from peft import PeftModel

    return PeftModel.from_pretrained(base, str(folder)).eval()


def is_adapter(folder: Path) -> bool:
    """Whether a model folder holds an adapter only."""
    return (folder / "adapter_config.json").exists()


def merge_adapter(
    base: ModelArtifact, adapter: ModelArtifact, head: str, rows: Path, config: MergeConfig
) -> tuple["PreTrainedModel", list[dict[str, float]]]:
    """`base` with `adapter` folded in, and the largest difference of logits on each compared row.

    Raises:
        ArtifactError: `adapter` holds none, was trained on another base, or the logits differ by
            more than `config.tolerance`.
    """
    import torch

    if not is_adapter(adapter.model_dir):
        raise ArtifactError(
            f"{adapter.id} holds no adapter", expected="the artifact of a stage with `adapter:`"
        )
    trained_on = adapter.manifest.inputs["model"]
    if trained_on.payload_digest != base.payload_digest:
        raise ArtifactError(
            f"{adapter.id} was trained on {trained_on.id}, not on {base.id}",
            expected="the same base model",
            fix="merge into the model that it was trained on",
        )
    start = (
        load_causal_lm(base.model_dir) if head == "causal_lm" else load_scorer(base.model_dir, new_head=True)
    )
    model = load_adapter(start, adapter.model_dir)
    columns = ("input_ids", "prompt_ids", "chosen_ids")
    batches = [
        torch.tensor([[token for name in columns for token in row.get(name) or []]])
        for row in islice(iter_rows(rows), config.rows)
    ]
    with torch.no_grad():
        before = [model(input_ids=ids).logits.float() for ids in batches]
        merged = model.merge_and_unload()
        after = [merged(input_ids=ids).logits.float() for ids in batches]
    found = [
        {"row": row, "difference": float((a - b).abs().max())}
        for row, (a, b) in enumerate(zip(before, after, strict=True))
    ]
    worst = max(row["difference"] for row in found)
    if not worst <= config.tolerance:
        raise ArtifactError(
            f"merging {adapter.id} changes the logits by {worst:.2g}",
            expected=f"at most {config.tolerance:.2g}",
            fix="raise merge.tolerance if that is fine",
        )
    return merged, found
