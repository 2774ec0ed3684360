"""dataset[NAME]: foreign files, or the story world, to checked rows in two parts."""

from dataclasses import asdict

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import DatasetArtifact
from tempering.data.builders.base import BuilderConfig
from tempering.stage import Summary, stage


@stage("dataset", version=1, makes=DatasetArtifact)
def dataset(out: Draft, config: BuilderConfig) -> Summary:
    """Normalise, check and split one data set; every rejected row is listed with file and line."""
    from tempering.data.parts import build_parts, count_reasons
    from tempering.data.schemas import rejected_schema, row_schema, to_table

    parts = build_parts(config)
    schema = row_schema(parts.row_type, [*parts.train, *parts.eval])
    out.write_rows("train", to_table(parts.train, schema))
    out.write_rows("eval", to_table(parts.eval, schema))
    out.write_table("summary", parts.summary())
    out.write_table("rejected", to_table([asdict(item) for item in parts.rejected], rejected_schema()))
    for reason, count in count_reasons(parts.rejected).most_common():
        out.log(f"{count} rows: {reason}")
    out.details["row_type"] = str(parts.row_type)
    dropped = sum(not item.kept for item in parts.rejected)
    return {"rows": len(parts.train), "eval_rows": len(parts.eval), "rejected": dropped}
