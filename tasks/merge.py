"""merge[STAGE]: fold a stage's adapter into its base model; the logits must stay the same."""

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact, SampleArtifact
from tempering.model_config import MergeConfig
from tempering.stage import Summary, stage


@stage("merge", version=1, makes=ModelArtifact)
def merge(
    out: Draft, config: MergeConfig, *, adapter: ModelArtifact, base: ModelArtifact, sample: SampleArtifact
) -> Summary:
    """The whole model of `base` and `adapter`; fails when its logits on rows of `sample` differ."""
    from tempering.data.tokenizers import load_tokenizer
    from tempering.models.adapters import merge_adapter
    from tempering.models.device import prepare_device
    from tempering.training.run import save_trained

    prepare_device(out)
    head = str(adapter.details.get("head", "causal_lm"))
    tokenizer = load_tokenizer(adapter.model_dir)
    merged, differences = merge_adapter(base, adapter, head, sample.rows_path("train"), config)
    out.write_table("merge", differences)
    out.tokens = adapter.manifest.tokens or 0
    kept: dict[str, object] = {
        key: adapter.details[key] for key in ("tokenizer", "prompt_format", "head") if key in adapter.details
    }
    save_trained(merged, tokenizer, out, kept)
    return {"largest_difference": max(row["difference"] for row in differences), "rows": len(differences)}
