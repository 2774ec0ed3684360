"""Folding an adapter into its base, and proving that nothing changed.

The logits of base and adapter on real rows are compared with those of the merged model, read back from
disk in the dtype it was written in: what later stages and users will load. bf16 keeps 8 bits of a weight,
so its tolerance is wider, and stated.
"""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from tempering.artifacts.kinds import ModelArtifact
from tempering.data.shards import iter_rows
from tempering.errors import ArtifactError
from tempering.model_config import MergeConfig
from tempering.models.adapters import is_adapter, load_adapter
from tempering.models.loading import DTYPES, load_causal_lm, load_scorer

_COLUMNS = ("input_ids", "prompt_ids", "chosen_ids")


def merge_adapter(
    base: ModelArtifact,
    adapter: ModelArtifact,
    rows: Path,
    config: MergeConfig,
    save: Callable[[Any], Path],
) -> list[dict[str, float]]:
    """Fold `adapter` into `base` and write it by `save`, which returns the folder it wrote to.

    Returns:
        a row per compared sequence: `difference` (the largest between its logits), `scale` (largest logit).

    Raises:
        ArtifactError: `adapter` holds none, was trained on another base, or the logits differ by
            more than the tolerance of `config`.
    """
    import torch

    # The base with its adapter, as it was trained.
    check_base(base, adapter)
    load = load_scorer if adapter.details.get("head") == "score" else load_causal_lm
    trust = base.trusts_remote_code
    fresh: dict[str, Any] = {"new_head": True} if load is load_scorer else {}
    model = load_adapter(load(base.model_dir, trust_remote_code=trust, **fresh), adapter.model_dir)
    batches = [
        torch.tensor([[token for name in _COLUMNS for token in row.get(name) or []]])
        for row in islice(iter_rows(rows), config.rows)
    ]
    # The same rows before merging and after reading the merged weights back.
    before = _logits(model, batches)
    folder = save(model.merge_and_unload().to(DTYPES[config.dtype]))
    del model
    after = _logits(load(folder, weights=config.dtype, trust_remote_code=trust), batches)
    differences = [
        {"row": row, "difference": float((a - b).abs().max()), "scale": float(a.abs().max())}
        for row, (a, b) in enumerate(zip(before, after, strict=True))
    ]
    # Not max(): fp16 may give NaN, which is neither larger nor smaller than the tolerance.
    excessive = [row["difference"] for row in differences if not row["difference"] <= config.allowed]
    if excessive:
        raise ArtifactError(
            f"merging {adapter.id} in {config.dtype} changes the logits by {excessive[0]:.2g}",
            expected=f"at most {config.allowed:.2g}",
            fix="merge in fp32, or raise merge.tolerance if that is acceptable",
        )
    return differences


def check_base(base: ModelArtifact, adapter: ModelArtifact) -> None:
    """Refuse an artifact without an adapter, or one that was trained on another model.

    Raises:
        ArtifactError: naming both.
    """
    if not is_adapter(adapter.model_dir):
        raise ArtifactError(
            f"{adapter.id} has no adapter", expected="the artifact of a stage with `adapter:`"
        )
    trained_on = adapter.manifest.inputs["model"]
    if trained_on.payload_digest != base.payload_digest:
        raise ArtifactError(
            f"{adapter.id} was trained on {trained_on.id}, not on {base.id}",
            expected="the same base model",
            fix="merge it into the model that it was trained on",
        )


def _logits(model: Any, batches: list[Any]) -> list[Any]:
    import torch

    with torch.no_grad():
        return [model(input_ids=ids).logits.float() for ids in batches]
