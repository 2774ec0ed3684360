"""tokenizer: train a byte-level BPE on data sets, or complete an existing tokenizer."""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import DatasetArtifact, ModelArtifact, TokenizerArtifact
from tempering.artifacts.stage import Summary, stage
from tempering.data.tokenizers import ExistingTokenizerConfig, TokenizerBase, TrainTokenizerConfig

_MEASURED_TEXTS = 2_000


@stage("tokenizer", version=2, makes=TokenizerArtifact)
def tokenizer(
    out: Draft,
    config: TokenizerBase,
    *,
    datasets: Mapping[str, DatasetArtifact] = MappingProxyType({}),
    base: TokenizerArtifact | ModelArtifact | None = None,
) -> Summary:
    """Train or load the tokenizer, and measure it on the first texts of the data sets it was trained on."""
    from tempering.data.rows import RowType, texts
    from tempering.data.shards import iter_rows
    from tempering.data.tokenizer_repair import missing_pieces
    from tempering.data.tokenizers import (
        load_tokenizer,
        on_all_cores,
        save_tokenizer,
        tokenizer_digest,
        tokenizer_stats,
        train_tokenizer,
    )

    def training_texts() -> Iterator[str]:
        for name in sorted(datasets):
            for row in iter_rows(datasets[name].rows_path("train")):
                yield from texts(RowType(datasets[name].row_type), row)

    if isinstance(config, TrainTokenizerConfig):
        with on_all_cores():
            tokenizer = train_tokenizer(training_texts(), config)
    # An existing one is loaded, pinned to the planned commit, and gets the pieces that it lacks.
    else:
        assert isinstance(config, ExistingTokenizerConfig), f"no tokenizer of kind {config.kind}"
        folder = _folder(base)
        pinned = dict(config.external_revisions()).get(f"hub:{config.name_or_path}", config.revision)
        tokenizer = load_tokenizer(config.name_or_path, pinned) if folder is None else load_tokenizer(folder)
        out.details["added"] = missing_pieces(tokenizer)
        for line in out.details["added"]:
            out.warn(f"{config.name_or_path}: {line}")
    # The digest lets every later stage check that models and samples have the same tokenizer.
    save_tokenizer(tokenizer, out.tokenizer_dir)
    out.details["digest"] = tokenizer_digest(tokenizer)
    stats = tokenizer_stats(tokenizer, islice(training_texts(), _MEASURED_TEXTS))
    out.write_table("tokenizer_stats", [stats])
    return {**stats, "vocab_size": len(tokenizer)}


def _folder(base: TokenizerArtifact | ModelArtifact | None) -> Path | None:
    if isinstance(base, ModelArtifact):
        return base.model_dir
    return base.tokenizer_dir if base is not None else None
