"""What all training stages do: check their inputs, train, and fill the artifact."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import ModelArtifact, SampleArtifact
from tempering.artifacts.tables import read_rows
from tempering.errors import ConfigError, DataError
from tempering.models.checks import check_language_model, check_tokenizer
from tempering.training.config import PretrainConfig, TrainingConfig


def check_inputs(model: ModelArtifact, sample: SampleArtifact, row_type: str) -> None:
    """Refuse nonsense before anything is computed.

    Raises:
        DataError: the sample holds rows of another type.
        ArtifactError: model and sample have different tokenizers, or the model is a bare adapter
            or a reward model.
    """
    if sample.row_type != row_type:
        raise DataError(
            f"{sample.id} holds {sample.row_type} rows",
            expected=f"{row_type} rows",
            fix="name another sample, or set its row_type",
        )
    check_tokenizer(model, sample.details.get("tokenizer"), sample.id)
    check_language_model(model)


def check_block(model: Any, config: PretrainConfig) -> None:
    """Refuse blocks that are longer than the model's positions."""
    room = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if room and config.block_size > room:
        raise ConfigError(
            f"pretrain.block_size is {config.block_size}, but the model has {room} positions",
            expected=f"at most {room}",
            fix="lower block_size, or raise architecture.max_position_embeddings",
        )


def token_budget(config: TrainingConfig, sample: SampleArtifact) -> int | None:
    """The token limit of a stage, else of its sample: part of the artifact's name."""
    limit: int | None = config.token_limit or sample.manifest.config.get("token_limit")
    return limit


def inherited(sample: SampleArtifact, model: ModelArtifact) -> dict[str, Any]:
    """Details that a model inherits from the sample it was trained on and from the model it started as."""
    details = {"tokenizer": sample.details["tokenizer"], "prompt_format": sample.details["prompt_format"]}
    return details | remote_code(model)


def remote_code(model: ModelArtifact | None) -> dict[str, Any]:
    """The mark of a model that brings its own code, for the models made from it."""
    return {"trust_remote_code": True} if model is not None and model.trusts_remote_code else {}


def train(
    trainer: Any, tokenizer: Any, out: Draft, details: Mapping[str, Any]
) -> dict[str, float | int | str]:
    """Train (or resume), measure on the held-out rows, and fill `model/` and `metadata/`.

    Args:
        details: facts for later stages, in addition to those noted here.

    Returns:
        headline metrics: held-out ones where the sample has an eval part.
    """
    trainer.train_or_resume()
    # Held-out metrics, all of them, where there are rows to measure on.
    metrics: dict[str, float] = {}
    if trainer.eval_dataset is not None:
        metrics = trainer.evaluate()
        out.write_table(
            "held_out", [{"metric": name, "value": float(value)} for name, value in metrics.items()]
        )
        if "eval_accuracy" in metrics:  # of a reward model, for those who will train on it
            accuracy, count = metrics["eval_accuracy"], len(trainer.eval_dataset)
            details = {**details, "held_out_accuracy": accuracy, "held_out_rows": count}
    save_trained(trainer.model, tokenizer, out, details)
    # The headline: held-out metrics first, then the last losses.
    steps: int = trainer.state.global_step
    summary: dict[str, float | int | str] = {
        label: round(metrics[name], 4) for name, label in _HELD_OUT.items() if name in metrics
    }
    return summary | last_rows(out.metadata_dir / "training_stats.parquet", ("loss",)) | {"steps": steps}


_HELD_OUT = {
    "eval_accuracy": "held_out_accuracy",
    "eval_rewards/accuracies": "held_out_accuracy",
    "eval_loss": "held_out_loss",
}


def last_rows(stats: Path, names: Sequence[str]) -> dict[str, float]:
    """Means of the columns `names` over the last tenth of the logged steps; without those that no row has."""
    rows = read_rows(stats)
    last = rows[-max(1, len(rows) // 10) :]
    columns = {name: [row[name] for row in last if row.get(name) is not None] for name in names}
    return {name: round(sum(values) / len(values), 4) for name, values in columns.items() if values}


def save_trained(model: Any, tokenizer: Any, out: Draft, details: Mapping[str, Any]) -> None:
    """Write `model/` and note in the details what later stages must know about it."""
    from tempering.models.loading import parameter_count, save_model

    save_model(model, tokenizer, out.model_dir)
    out.details |= {"parameters": parameter_count(model), "adapter": hasattr(model, "peft_config"), **details}
