"""The kept checkpoints of a model, as models: with them an evaluation is a curve over the tokens of training.

Which checkpoints there are is known only after the training, so they are no stages of their own: the stage
that measures a model measures them too. A checkpoint of an adapter is merged into its base for as long as it
is measured, since a benchmark may open the model's folder by itself.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tempering.artifacts.draft import Draft, checkpoints_in
from tempering.artifacts.kinds import ModelArtifact
from tempering.artifacts.names import checkpoint_tokens
from tempering.evaluation.benchmarks.base import Row
from tempering.evaluation.findings import Findings, tables_of

_MERGED = ".tmp-merged"  # a commit drops `.tmp-*`


@dataclass(frozen=True)
class Point:
    """A model of a training on its way: a checkpoint, or (`checkpoint` is "") the finished model."""

    model: ModelArtifact
    tokens: int

    @property
    def checkpoint(self) -> str:
        """The folder's name."""
        return self.model.checkpoint or ""

    @property
    def place(self) -> Row:
        """The columns that say where on the curve a row belongs."""
        return {"checkpoint": self.checkpoint, "tokens": self.tokens}


def kept_checkpoints(trained: ModelArtifact) -> list[Point]:
    """The checkpoints of an artifact, by tokens; without the one that is the finished model."""
    if trained.checkpoint is not None:  # it is one itself
        return []
    points = [
        Point(replace(trained, checkpoint=folder.name), _tokens(folder))
        for folder in checkpoints_in(trained.path)
    ]
    return [point for point in points if point.tokens < trained.manifest.tokens]


def _tokens(folder: Path) -> int:
    """The exact count where the checkpoint holds it, else the threshold in its name."""
    state = folder / "trainer_state.json"
    exact = json.loads(state.read_text("utf-8")).get("num_input_tokens_seen") if state.is_file() else None
    return int(exact or checkpoint_tokens(folder.name) or 0)


@contextmanager
def whole(model: ModelArtifact, base: ModelArtifact | None, out: Draft) -> Iterator[ModelArtifact]:
    """The model, or where it is an adapter on `base` both merged, in a folder that is removed afterwards."""
    from tempering.models.adapters import is_adapter

    if not is_adapter(model.model_dir):
        yield model
        return
    assert base is not None, "the graph names the base of an adapter"
    place = out.path / _MERGED
    try:
        _merge(model, base, place)
        yield replace(model, path=place)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _merge(model: ModelArtifact, base: ModelArtifact, place: Path) -> None:
    from tempering.data.tokenizers import load_tokenizer
    from tempering.models.adapters import load_adapter
    from tempering.models.loading import load_causal_lm, load_scorer, save_model

    trust = base.trusts_remote_code
    if model.details.get("head") == "score":
        weights = load_scorer(base.model_dir, trust_remote_code=trust, new_head=True)
    else:
        weights = load_causal_lm(base.model_dir, trust_remote_code=trust)
    merged = load_adapter(weights, model.model_dir).merge_and_unload()
    folder = place / ("model" if model.checkpoint is None else f"checkpoints/{model.checkpoint}")
    folder.mkdir(parents=True)
    save_model(merged, load_tokenizer(model.model_dir), folder)


def curve_tables(name: str, points: Sequence[tuple[Point, Iterable[Findings]]]) -> dict[str, list[Row]]:
    """Table -> rows with their place on the curve: metrics, and of checkpoints the scores and completions.

    Args:
        name: the model's, as in `metrics`.
    """
    tables: dict[str, list[Row]] = {"checkpoints": [], "checkpoint_scores": [], "checkpoint_completions": []}
    for point, findings in points:
        metrics = [metric.row(name) for finding in findings for metric in finding.metrics]
        tables["checkpoints"] += [{**row, **point.place} for row in metrics]
        rows = tables_of(findings) if point.checkpoint else {}
        for table in ("scores", "completions"):
            tables[f"checkpoint_{table}"] += [{**row, **point.place} for row in rows.get(table, [])]
    return tables
