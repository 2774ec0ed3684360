"""Toy stages for the flow's tests: they count, sleep, fail or wait to be killed, in milliseconds.

Importable by name, because a stage's process imports the module that defines it.
"""

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

from tempering.artifacts.atomic import publish_folder, write_atomic
from tempering.artifacts.draft import Draft, checkpoints_in
from tempering.artifacts.kinds import (
    DatasetArtifact,
    EvaluationArtifact,
    GateArtifact,
    ModelArtifact,
    ReportArtifact,
    SampleArtifact,
)
from tempering.artifacts.stage import Summary, stage
from tempering.artifacts.tables import write_parquet
from tempering.config import Config, runtime_field
from tempering.errors import DataError, StageStopped

HOSTILE = "<script>document.title='taken'</script> | **stars** <img src=x onerror=alert(1)> [link](http://x)"
"""What a model might answer, and a page must show as it is."""


class ToyData(Config):
    """Rows of numbers; `bad` stands for a malformed line."""

    rows: int = 10
    bad: bool = False


class ToySample(Config):
    """`limit` rows of it."""

    limit: int = 5


class ToyTrain(Config):
    """Counts steps, each of which changes `chain`; `crash` says how it ends, `wait_for` holds it, and
    `fails_while` makes it fail for as long as somebody does not remove the cause."""

    steps: int = 3
    learning_rate: float = 0.1
    crash: str = ""
    wait_for: str = runtime_field("", description="a file that must exist before the training ends")
    fails_while: str = runtime_field("", description="a file that makes the training fail while it exists")
    hold: str = runtime_field("", description="how to wait: sleep, spin or deaf")
    pace: float = runtime_field(0.0, description="seconds per step")
    save_every: int = runtime_field(1, description="steps between checkpoints")


class ToyEvaluate(Config):
    """Nothing to set."""


class ToyReport(Config):
    """Nothing to set."""


@stage("toy_data", version=1, makes=DatasetArtifact)
def toy_data(out: Draft, config: ToyData) -> Summary:
    if config.bad:
        raise DataError("rows.jsonl:3: not JSON", expected="one JSON object a line", fix="correct line 3")
    print("printed by a library")
    os.system("echo written by a shell")
    write_parquet(out.rows_dir / "train/00000.parquet", [{"number": number} for number in range(config.rows)])
    return {"rows": config.rows}


@stage("toy_sample", version=1, makes=SampleArtifact)
def toy_sample(out: Draft, config: ToySample, *, data: DatasetArtifact) -> Summary:
    write_parquet(out.rows_dir / "train/00000.parquet", data.rows().head(config.limit))
    out.tokens = config.limit
    return {"rows": config.limit}


@stage("toy_train", version=1, makes=ModelArtifact, trains=True)
def toy_train(
    out: Draft, config: ToyTrain, *, sample: SampleArtifact, model: ModelArtifact | None = None
) -> Summary:
    if out.on_device is not None:
        out.on_device()
    start = (model.model_dir / "weights").read_text() if model else ""
    checkpoint = next(reversed(checkpoints_in(out.path)), None)
    done, chain = (checkpoint / "state").read_text().split() if checkpoint else (0, start or "begin")
    out.resumed_from_tokens = int(done) * 100 if checkpoint else None
    with out.stoppable():
        for step in range(int(done) + 1, config.steps + 1):
            time.sleep(config.pace)
            chain = hashlib.sha256(f"{chain} {step} {config.learning_rate}".encode()).hexdigest()
            if step % config.save_every == 0:
                _save(out, step, chain)
            out.progress(step * 100, config.steps * 100, loss=1 / step)
            if config.crash == "tell":
                _tell(out)
            _end(out, config, step)
            if out.stop_asked:
                _save(out, step, chain)
                raise StageStopped(f"a checkpoint at step {step}")
    out.log("trained")
    (out.model_dir / "chain").write_text(chain)
    (out.model_dir / "weights").write_text(f"{start}/{config.steps}*{config.learning_rate}")
    out.tokens = config.steps * 100
    rows = [{"tokens": step * 100, "loss": 1 / step} for step in range(1, config.steps + 1)]
    out.write_table("training_stats", rows)
    return {"loss": 1 / config.steps}


def _tell(out: Draft) -> None:
    """Say all that the environment holds, in every way a library could."""
    everything = repr(sorted(os.environ.items()))
    print(everything)
    os.system("env")
    os.write(2, everything.encode())
    out.warn(everything)
    raise RuntimeError(everything)


def _save(out: Draft, step: int, chain: str) -> None:
    folder = out.checkpoints_dir / f".tmp-{step}"
    folder.mkdir(exist_ok=True)
    (folder / "state").write_text(f"{step} {chain}")
    publish_folder(folder, out.checkpoints_dir / f"checkpoint_{step * 100}_tokens")


def _end(out: Draft, config: ToyTrain, step: int) -> None:
    if config.crash == "raise":
        print("last words")
        raise RuntimeError("the loss is not a number")
    if config.crash == "network":
        raise RuntimeError("no answer") from ConnectionResetError("connection reset by peer")
    if config.crash == "kill":
        os.kill(os.getpid(), 9)
    if config.fails_while and step == 2 and Path(config.fails_while).exists():
        raise DataError(f"{config.fails_while} is in the way", expected="no such file", fix="remove it")
    if config.wait_for and step == 2:
        write_atomic(Path(config.wait_for + ".pid"), str(os.getpid()).encode())  # whole at once
        while not (Path(config.wait_for).exists() or (out.stop_asked and config.hold != "deaf")):
            if config.hold != "spin":
                time.sleep(0.02)


@stage("toy_evaluate", version=1, makes=EvaluationArtifact)
def toy_evaluate(out: Draft, config: ToyEvaluate, *, model: ModelArtifact) -> Summary:
    score = float(len((model.model_dir / "weights").read_text()))
    about = {"model": model.manifest.stage, "benchmark": "toys"}
    out.write_table("metrics", [
        {**about, "metric": "gold_score", "value": score, "low": score - 1, "high": score + 1, "n": 10},
        {**about, "metric": "undefined", "value": float("nan"), "low": None, "high": None, "n": 0},
    ])  # fmt: skip
    answer = {"benchmark": "toys", "gold": 0.5, "prompt": "say | <b>hello</b>", "completion": HOSTILE}
    out.write_table("completions", [answer])
    return {"gold_score": score}


@stage("toy_report", version=1, makes=ReportArtifact)
def toy_report(
    out: Draft,
    config: ToyReport,
    *,
    evaluations: Mapping[str, EvaluationArtifact],
    gates: Mapping[str, GateArtifact] | None = None,
) -> Summary:
    failures = out.details.get("failures", {})
    (out.path / "report.html").write_text(f"<p>{sorted(evaluations)} without {failures}</p>")
    return {"models": len(evaluations)}
