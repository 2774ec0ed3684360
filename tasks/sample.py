"""sample[NAME]: data sets mixed by weight, tokenised, and cut to a token limit."""

from collections.abc import Mapping

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import DatasetArtifact, SampleArtifact, TokenizerArtifact
from tempering.data.sampling import SampleConfig
from tempering.errors import DataError
from tempering.stage import Summary, stage


@stage("sample", version=1, makes=SampleArtifact)
def sample(
    out: Draft, config: SampleConfig, *, tokenizer: TokenizerArtifact, datasets: Mapping[str, DatasetArtifact]
) -> Summary:
    """Tokenise what the limits ask for, of both parts, and say what each source gave and lost."""
    from tempering.artifacts.tables import read_rows
    from tempering.data.encode import Encoder
    from tempering.data.rows import RowType
    from tempering.data.sampling import Source, check_rejected, common_row_type, mix
    from tempering.data.schemas import to_table, token_schema
    from tempering.data.tokenizers import load_tokenizer

    types = {name: RowType(datasets[name].row_type) for name in config.datasets}
    target = common_row_type(config, types)
    loaded = load_tokenizer(tokenizer.tokenizer_dir)
    encoder = Encoder(loaded, target, config.max_length, config.max_prompt_length, config.prompt_format)
    parts = {}
    for part, limit in (("train", config.token_limit), ("eval", config.eval_token_limit)):
        sources = [
            Source(name, types[name], read_rows(datasets[name].rows_path(part)), weight)
            for name, weight in sorted(config.datasets.items())
        ]
        parts[part] = mix(sources, encoder, limit, config.seed)
        check_rejected(parts[part], config.max_rejected_fraction)
        for warning in parts[part].warnings:
            out.warn(f"{part}: {warning}")
    if not any(mixed.rows for mixed in parts.values()):
        raise DataError(
            "the data sets of this sample hold no rows", fix="check their `eval_fraction` and `max_rows`"
        )
    schema = token_schema(target, [row for mixed in parts.values() for row in mixed.rows])
    for part, mixed in parts.items():
        out.write_rows(part, to_table(mixed.rows, schema))
    out.write_table(
        "sources", [source.summary(part) for part, mixed in parts.items() for source in mixed.sources]
    )
    out.name_tokens = config.token_limit
    out.tokens = parts["train"].tokens
    out.details |= {"row_type": str(target), "tokenizer": tokenizer.payload_digest}
    out.details["prompt_format"] = config.prompt_format
    rows = {"rows": len(parts["train"].rows), "eval_rows": len(parts["eval"].rows)}
    return {"tokens": out.tokens, **rows, "eval_tokens": parts["eval"].tokens}
