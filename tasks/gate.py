"""gate[MODEL]: whether a model is good enough for what is made from it."""

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import EvaluationArtifact, GateArtifact
from tempering.artifacts.stage import Summary, stage
from tempering.evaluation.gates import GateConfig, check_gate


@stage("gate", version=1, makes=GateArtifact)
def gate(out: Draft, config: GateConfig, *, evaluation: EvaluationArtifact) -> Summary:
    """Compare the measured numbers with the conditions; one that does not hold fails the stage."""
    from tempering.artifacts.tables import read_rows

    rows = check_gate(config, read_rows(evaluation.path / "metadata" / "metrics.parquet"))
    out.write_table("gate", rows)
    return {row["metric"]: row["value"] for row in rows}
