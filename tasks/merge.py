"""merge[STAGE]: fold a stage's adapter into its base model; the logits must stay the same."""

from pathlib import Path
from typing import Any

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact, SampleArtifact
from tempering.artifacts.stage import Summary, stage
from tempering.model_config import MergeConfig

_INHERITED = ("tokenizer", "prompt_format", "head", "trust_remote_code", "held_out_accuracy", "held_out_rows")


@stage("merge", version=2, makes=ModelArtifact, label="Merged")
def merge(
    out: Draft, config: MergeConfig, *, adapter: ModelArtifact, base: ModelArtifact, sample: SampleArtifact
) -> Summary:
    """Merge `adapter` into `base`; fails if the logits on rows of `sample` differ from the adapter's."""
    from tempering.data.tokenizers import load_tokenizer
    from tempering.models.device import prepare_device
    from tempering.models.merging import merge_adapter
    from tempering.training.run import save_trained

    prepare_device(out)
    tokenizer = load_tokenizer(adapter.model_dir)
    details: dict[str, object] = {key: adapter.details[key] for key in _INHERITED if key in adapter.details}

    def save(merged: Any) -> Path:
        save_trained(merged, tokenizer, out, details)
        return out.model_dir

    # The saved model is loaded again and compared with base and adapter, row by row.
    differences = merge_adapter(base, adapter, sample.rows_path("train"), config, save)
    out.write_table("merge", differences)
    out.tokens = adapter.manifest.tokens or 0
    worst = max(row["difference"] for row in differences)
    return {"largest_difference": worst, "tolerance": config.allowed, "rows": len(differences)}
