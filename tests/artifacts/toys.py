"""Two small stages for the store's tests: rows, and a "model" made of them."""

from pathlib import Path

from pydantic import Field

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import DatasetArtifact, ModelArtifact
from tempering.artifacts.stage import Summary, stage
from tempering.artifacts.tables import write_parquet
from tempering.config import Config, runtime_field


class RowsConfig(Config):
    text: str = "a"
    file: Path | None = None
    workers: int = runtime_field(1)

    def external_files(self) -> tuple[Path, ...]:
        return (self.file,) if self.file else ()


class FitConfig(Config):
    learning_rate: float = Field(1e-3, gt=0)
    seed: int = 0


@stage("rows", version=1, makes=DatasetArtifact)
def rows(out: Draft, config: RowsConfig) -> Summary:
    """One row."""
    out.name = "toy"
    out.details["row_type"] = "text"
    write_parquet(out.rows_dir / "train/00000.parquet", [{"text": config.text}])
    return {"rows": 1}


@stage("blob", version=1, makes=ModelArtifact)
def blob(out: Draft, config: RowsConfig) -> Summary:
    """A file, written without pyarrow: a child process of a test starts faster."""
    (out.model_dir / "model.safetensors").write_text(config.text)
    return {}


@stage("fit", version=1, makes=ModelArtifact, trains=True)
def fit(out: Draft, config: FitConfig, *, data: DatasetArtifact) -> Summary:
    """Weights that hold the text; a checkpoint on the way."""
    out.name, out.name_tokens, out.tokens = "toy", 300_000, 299_990
    weights = f"{config.learning_rate} {data.rows()['text'][0]}"
    (out.model_dir / "model.safetensors").write_text(weights)
    point = out.checkpoints_dir / "checkpoint_100K_tokens"
    point.mkdir(exist_ok=True)
    (point / "model.safetensors").write_text(f"half {weights}")
    (point / "optimizer.pt").write_text("state")
    out.write_table("training_stats", [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5, "kl": 0.1}])
    return {"loss": 0.5, "undefined": float("nan")}
