"""sample[NAME]: data sets mixed by weight, tokenised, cut to a token limit, in random or learning order."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import DatasetArtifact, ModelArtifact, SampleArtifact, TokenizerArtifact
from tempering.artifacts.stage import Summary, stage
from tempering.data.sample.config import SampleConfig

if TYPE_CHECKING:
    import numpy as np


@stage("sample", version=2, makes=SampleArtifact)
def sample(
    out: Draft,
    config: SampleConfig,
    *,
    tokenizer: TokenizerArtifact,
    datasets: Mapping[str, DatasetArtifact],
    model: ModelArtifact | None = None,
) -> Summary:
    """Tokenise both parts up to their limits, and record what each source contributed and lost.

    Args:
        model: for a curriculum by loss: its loss on a row is the row's difficulty.

    Raises:
        ArtifactError: `model` has another tokenizer, or is not a language model.
    """
    from tempering.data.rows import RowType
    from tempering.data.sample.make import make_sample
    from tempering.data.tokenizers import load_tokenizer
    from tempering.models.checks import check_language_model, check_tokenizer

    if model is not None:
        check_tokenizer(model, tokenizer.digest, tokenizer.id)
        check_language_model(model)
    # The rows go to `rows/`, rejected ones to `metadata/`.
    sample = make_sample(
        config,
        load_tokenizer(tokenizer.tokenizer_dir),
        {name: RowType(datasets[name].row_type) for name in config.datasets},
        {name: datasets[name].path / "rows" for name in config.datasets},
        out.rows_dir,
        out.metadata_dir / "rejected.parquet",
        losses=lambda rows: _losses(out, rows, model),
        progress=lambda tokens, limit: out.progress(tokens, limit, unit="tokens"),
    )
    # What each source contributed, and what a person should know.
    for warning in sample.warnings:
        out.warn(warning)
    out.write_table("sources", sample.sources())
    if sample.difficulty is not None:
        out.write_table("curriculum", {"difficulty": sample.difficulty})
    # What later stages must know: what the rows are for, and how prompts were rendered.
    train, held_out = sample.mixes["train"], sample.mixes["eval"]
    out.name_tokens, out.tokens = config.token_limit, train.tokens
    out.details |= {"row_type": str(sample.row_type), "tokenizer": tokenizer.digest}
    out.details |= {"prompt_format": config.prompt_format, "ordered": config.curriculum is not None}
    rows = {"rows": train.rows, "eval_rows": held_out.rows}
    return {"tokens": train.tokens, **rows, "eval_tokens": held_out.tokens}


def _losses(out: Draft, rows: Iterable[Any], model: ModelArtifact | None) -> "np.ndarray":
    from tempering.generation.difficulty import losses
    from tempering.models.device import prepare_device

    assert model is not None, "the graph gives a curriculum by loss its model"
    return losses(model.model_dir, rows, prepare_device(out), trust_remote_code=model.trusts_remote_code)
