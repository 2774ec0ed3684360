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
    """Tokenise what the limits ask for, of both parts, and say what each source gave and lost.

    Args:
        model: whose loss is the difficulty, for a curriculum by loss.
    """
    from tempering.data.rows import RowType
    from tempering.data.sample.make import make_sample
    from tempering.data.tokenizers import load_tokenizer
    from tempering.models.checks import check_language_model, check_tokenizer

    if model is not None:
        check_tokenizer(model, tokenizer.digest, tokenizer.id)
        check_language_model(model)
    made = make_sample(
        config,
        load_tokenizer(tokenizer.tokenizer_dir),
        {name: RowType(datasets[name].row_type) for name in config.datasets},
        {name: datasets[name].path / "rows" for name in config.datasets},
        out.rows_dir,
        out.metadata_dir / "rejected.parquet",
        losses=lambda rows: _losses(out, rows, model),
        progress=lambda tokens, limit: out.progress(tokens, limit, unit="tokens"),
    )
    for warning in made.warnings:
        out.warn(warning)
    out.write_table("sources", made.sources())
    if made.difficulty is not None:
        out.write_table("curriculum", {"difficulty": made.difficulty})
    train, held_out = made.mixes["train"], made.mixes["eval"]
    out.name_tokens, out.tokens = config.token_limit, train.tokens
    out.details |= {"row_type": str(made.row_type), "tokenizer": tokenizer.digest}
    out.details |= {"prompt_format": config.prompt_format, "ordered": config.curriculum is not None}
    rows = {"rows": train.rows, "eval_rows": held_out.rows}
    return {"tokens": train.tokens, **rows, "eval_tokens": held_out.tokens}


def _losses(out: Draft, rows: Iterable[Any], model: ModelArtifact | None) -> "np.ndarray":
    from tempering.generation.difficulty import losses
    from tempering.models.device import prepare_device

    assert model is not None, "the graph gives a curriculum by loss its model"
    return losses(model.model_dir, rows, prepare_device(out), trust_remote_code=model.trusts_remote_code)
