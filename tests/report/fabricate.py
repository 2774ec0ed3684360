"""Small fabricated artifacts of a whole run, with the numbers that the tests name."""

import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import (
    Artifact,
    DatasetArtifact,
    EvaluationArtifact,
    ModelArtifact,
    SampleArtifact,
)
from tempering.artifacts.manifest import CodeState, InputRef, Manifest
from tempering.evaluation.benchmarks import BENCHMARKS
from tempering.evaluation.findings import Findings, tables_of
from tempering.report.compare import Side
from tempering.report.page import Contents

Row = dict[str, Any]
ROWS = 200
GOLD = {"pretrain": 0.42, "sft": 0.71, "dpo": 0.74, "ppo": 0.86, "rloo": 0.90}
PARENTS = {"sft": "pretrain", "reward_model": "sft", "dpo": "sft", "ppo": "sft", "rloo": "sft"}
KINDS = {"stories": "completions", "text": "perplexity", "grammar": "minimal_pairs", "pairs": "preferences"}
EVALUATED = {"benchmarks": {name: {"kind": kind} for name, kind in KINDS.items()}}
"""The config of every evaluation here, as far as a report reads it."""
VERSIONS = {"tempering": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"}


def artifact(
    kind: type[Artifact],
    folder: Path,
    stage: str,
    tables: Mapping[str, Any] | None = None,
    *,
    parent: Artifact | None = None,
    **more: Any,
) -> Any:
    """An artifact of `kind` with metadata tables; `more` goes into its manifest."""
    draft = Draft(folder / stage.replace("[", "_").replace("]", ""))
    for name, rows in (tables or {}).items():
        draft.write_table(name, rows)
    values = {
        "stage": stage,
        "kind": kind.kind,
        "id": f"{stage}/toy__2026-11-21__10-15-30__3f9c1a2b",
        "fingerprint": f"3f9c1a2b-{stage}",
        "inputs": {"model": parent.ref} if parent else {},
        "code": CodeState(commit="c0ffee", dirty=True),
        "versions": VERSIONS,
        "device": "cpu",
        "seed": 1,
        "created": "2026-11-21T10:15:30+00:00",
    }
    return kind(draft.path, Manifest(**values | more))


def stats(stage: str, steps: int = 240) -> list[Row]:
    """A training log that looks like one."""
    rng = random.Random(stage)
    rows = []
    for step in range(1, steps + 1):
        done = step / steps
        row: Row = {"step": step, "tokens": step * 4000, "seconds": step * 0.2, "learning_rate": 1e-3}
        if stage in ("ppo", "rloo"):
            row |= {
                "loss": rng.gauss(0, 0.05),
                "score": 3 * (1 - math.exp(-3 * done)) + rng.gauss(0, 0.25),
                "kl": 9 * done + rng.gauss(0, 0.6),
                "entropy": 1.4 - 0.8 * done + rng.gauss(0, 0.04),
                "completion_length": 38 - 6 * done + rng.gauss(0, 1),
                "ended_share": min(1, 0.8 + 0.2 * done),
            }
            if stage == "ppo":
                row["explained_variance"] = 0.7 * done + rng.gauss(0, 0.1)
        else:
            row["loss"] = 1.2 + 4 * math.exp(-6 * done) + rng.gauss(0, 0.08)
        rows.append(row)
    return rows


def evaluation_tables(stage: str, prompts: int = ROWS) -> dict[str, list[Row]]:
    """What `evaluate` writes, with the gold mean of `GOLD`."""
    found = {name: Findings(name, BENCHMARKS[kind].model_construct()) for name, kind in KINDS.items()}
    rng = random.Random(stage)
    if stage == "reward_model":
        found["pairs"].add("accuracy", [float(rng.random() < 0.87) for _ in range(prompts)])
    else:
        level = GOLD.get(stage, 0.5)
        gold = [min(1.0, max(0.0, level + random.Random(row).gauss(0, 0.1))) for row in range(prompts)]
        gold = [min(1.0, max(0.0, value + rng.gauss(0, 0.05))) for value in gold]
        found["stories"].add("gold_score", gold, baseline=0.5)
        found["stories"].add("reward", [4 * value - 2 for value in gold])
        found["stories"].add("ended_share", [float(rng.random() < 0.6 + level / 3) for _ in gold])
        found["text"].add("loss", [2.2 - level + rng.gauss(0, 0.2) for _ in gold])
        found["grammar"].add("accuracy", [float(rng.random() < 0.9) for _ in gold])
        completions = [_completion(row, level, value) for row, value in enumerate(gold)]
        found["stories"].keep("completions", completions)
    metrics = [metric.row(stage) for findings in found.values() for metric in findings.metrics]
    return {"metrics": metrics, **tables_of(found.values())}


def _completion(row: int, level: float, gold: float) -> Row:
    from tempering.world.stories import Flaws, draw_flaws, tell
    from tempering.world.words import instruction, sample_combo

    combo = sample_combo(random.Random(row), "test")
    rng = random.Random(f"{row} {level}")
    flaws = draw_flaws(rng, {1: 1, 2: 2, 3: 2}) if rng.random() > level else Flaws()
    prompt, text = instruction(combo), tell(rng, combo, flaws)
    return {
        "prompt": prompt,
        "completion": text,
        "ended": gold > 0.4,
        "gold": gold,
        "perfect": gold > 0.97,
        "reward": 4 * gold - 2,
    }


def contents(folder: Path, *, stages: tuple[str, ...] = (), **more: Any) -> Contents:
    """A whole run: `stages` (all by default) with models, evaluations, samples and data sets."""
    stages = stages or ("pretrain", "sft", "reward_model", "dpo", "ppo", "rloo")
    models: dict[str, ModelArtifact] = {}
    for rank, stage in enumerate(stages):
        models[stage] = artifact(
            ModelArtifact,
            folder,
            stage,
            {"training_stats": stats(stage)},
            parent=models.get(PARENTS.get(stage, "")),
            tokens=960_000 // (1 + rank),
            seconds=310.0 - 40 * rank,
            config={"learning_rate": 1e-3, "batch_size": 32, "reward": {"kind": "model"}},
        )
    evaluations = {
        stage: artifact(
            EvaluationArtifact,
            folder,
            f"evaluate[{stage}]",
            evaluation_tables(stage),
            seconds=9.0,
            config=EVALUATED,
        )
        for stage in stages
    }
    return Contents(evaluations, models, {"sft": sample(folder)}, {"stories": dataset(folder)}, **more)


def dataset(folder: Path) -> DatasetArtifact:
    """A data set with one rejected row."""
    tables = {
        "summary": [
            {"part": "train", "rows": 12345, "characters": 2_000_000},
            {"part": "eval", "rows": 600, "characters": 90_000},
            {"part": "rejected", "rows": 1, "characters": 0},
        ],
        "rejected": [{"file": "a.jsonl", "line": 3, "reason": "empty text", "excerpt": "", "kept": False}],
    }
    made: DatasetArtifact = artifact(
        DatasetArtifact, folder, "dataset[stories]", tables, details={"row_type": "text"}, seconds=1.5
    )
    return made


def sample(folder: Path) -> SampleArtifact:
    """A sample from one data set."""
    rows = [
        {"source": "stories", "part": part, "rows": 900, "tokens": 45_600, "truncated": 2, "rejected": 0}
        for part in ("train", "eval")
    ]
    made: SampleArtifact = artifact(SampleArtifact, folder, "sample[sft]", {"sources": rows}, seconds=2.0)
    return made


def input_ref(name: str) -> InputRef:
    """A reference to an artifact that is not there."""
    return InputRef(id=name, payload_digest="0", fingerprint="0")


def side(folder: Path, stage: str, name: str, **more: Any) -> Side:
    """One side of a comparison, with one model."""
    evaluation = artifact(
        EvaluationArtifact,
        folder,
        f"evaluate[{stage}]",
        evaluation_tables(stage, 60),
        config=EVALUATED,
        **more,
    )
    return Side(name, {"dpo": {"beta": 0.1}}, {"dpo": evaluation}, "temper run a.yaml")
