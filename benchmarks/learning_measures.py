"""The figures of one seed: held-out scores against SFT, KL, tokens, seconds, and how gold rose in training.

PPO and RLOO leave every completion of their training behind; its gold score is computed afterwards. DPO
samples nothing while it trains, so its curve has a point for each checkpoint: held-out prompts, completed.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from tempering.artifacts.kinds import Artifact, EvaluationArtifact, ModelArtifact
from tempering.artifacts.names import CHECKPOINT
from tempering.artifacts.tables import read_rows
from tempering.report.pairing import differences
from tempering.world import gold_score

METHODS = ("ppo", "rloo", "dpo")
LEVELS = (0.7, 0.75, 0.8, 0.85, 0.9)
WINDOW = 3  # rollouts of 48 or 96 completions that a running mean is taken over
BENCHMARK = "stories"

Point = dict[str, float]
"""tokens, seconds, gold, and where measured kl and score"""


def figures(learned: Mapping[str, Artifact], exact: Mapping[str, Artifact]) -> dict[str, Any]:
    """Methods with the learned reward (`ppo`, `rloo`, `dpo`) and with the exact one (`ppo gold`, ...)."""
    sft = learned["sft"]
    assert isinstance(sft, ModelArtifact)
    evaluations = {
        name: artifact
        for name in ("sft", *METHODS)
        if isinstance(artifact := learned[f"evaluate[{name}]"], EvaluationArtifact)
    }
    curves = {name: on_policy_curve(learned[name]) for name in METHODS if name != "dpo"}
    curves["dpo"] = checkpoint_curve(learned["dpo"], evaluations["sft"])
    with_gold = {f"{name} gold": exact[name] for name in METHODS if name in exact}
    curves |= {name: on_policy_curve(artifact) for name, artifact in with_gold.items()}
    made = {name: learned[name] for name in METHODS} | with_gold
    methods: dict[str, Any] = {}
    for name, artifact in made.items():
        assert isinstance(artifact, ModelArtifact)
        methods[name] = {
            "tokens": artifact.manifest.tokens,
            "seconds": artifact.manifest.seconds,
            "seconds_to": {str(level): seconds_to(curves[name], level) for level in LEVELS},
            "best_running_gold": max(running_gold(curves[name]), default=None),
            **held_out(name, artifact, sft, evaluations),
        }
    base = {metric: mean_of(evaluations["sft"], metric) for metric in ("gold_score", "reward")}
    return {"sft": base, "methods": methods, "curves": curves}


# -- held-out prompts ------------------------------------------------------------------------


def held_out(
    name: str, model: ModelArtifact, sft: ModelArtifact, evaluations: Mapping[str, EvaluationArtifact]
) -> dict[str, Any]:
    """Gold, learned reward, both paired with SFT's on the same prompts, and KL to SFT."""
    if name not in evaluations:  # the runs with the exact reward: gold and KL alone
        rows = completed(model.model_dir, prompts_of(evaluations["sft"]))
        return {"gold": fmean(row["gold"] for row in rows), "kl": kl(model, sft, rows)}
    rows = completions_of(evaluations[name])
    found: dict[str, Any] = {
        "gold": mean_of(evaluations[name], "gold_score"),
        "reward": mean_of(evaluations[name], "reward"),
        "kl": kl(model, sft, rows),
    }
    for metric, short in (("gold_score", "gold"), ("reward", "reward")):
        paired = differences(evaluations, {name: "sft"}, BENCHMARK, metric, "higher")[name]
        found[f"{short}_gain"] = {
            "mean": paired.mean,
            "low": paired.low,
            "high": paired.high,
            "n": paired.n,
        }
    return found


def completions_of(evaluation: EvaluationArtifact) -> list[dict[str, Any]]:
    """Held-out prompts with the model's answers."""
    rows = read_rows(evaluation.path / "metadata" / "completions.parquet")
    return [row for row in rows if row["benchmark"] == BENCHMARK]


def prompts_of(evaluation: EvaluationArtifact) -> list[str]:
    """The held-out prompts."""
    return [row["prompt"] for row in completions_of(evaluation)]


def mean_of(evaluation: EvaluationArtifact, metric: str) -> float:
    """A mean over the held-out prompts."""
    rows = read_rows(evaluation.path / "metadata" / "metrics.parquet")
    return next(row["value"] for row in rows if row["benchmark"] == BENCHMARK and row["metric"] == metric)


def kl(model: ModelArtifact, sft: ModelArtifact, rows: Sequence[dict[str, Any]]) -> float:
    """Mean of log p(answer) - log p_SFT(answer) over the model's own answers, in nats a completion.

    Answers are tokenised again from their text, which may join tokens that were sampled apart.
    """
    policy, start = language_model(model.model_dir), language_model(sft.model_dir)
    pairs = []
    for row in rows:
        messages = [{"role": "user", "content": row["prompt"]}]
        prompt, answer = policy.pair(messages, [{"role": "assistant", "content": row["completion"] or " "}])
        pairs.append((prompt, answer if row["ended"] else answer[:-1]))
    ours, theirs = policy.logprobs(pairs), start.logprobs(pairs)
    return fmean(sum(a) - sum(b) for a, b in zip(ours, theirs, strict=True))


def language_model(folder: Path) -> Any:
    """A model that completes and compares."""
    from tempering.generation.language_model import LanguageModel

    return LanguageModel(folder, "chat", "cpu", 128)


def completed(folder: Path, prompts: Sequence[str]) -> list[dict[str, Any]]:
    """Answers of the model in `folder` with their gold scores."""
    from tempering.generation.sampling import Sampling

    model = language_model(folder)
    ids = [model.prompt([{"role": "user", "content": prompt}]) for prompt in prompts]
    answers = model.complete(ids, Sampling(48), 0)
    return [
        {
            "prompt": prompt,
            "completion": text,
            "ended": ended,
            "gold": gold_score(prompt, text, ended).total,
        }
        for prompt, (text, ended) in zip(prompts, answers, strict=True)
    ]


# -- over the course of training -------------------------------------------------------------


def on_policy_curve(artifact: Artifact) -> list[Point]:
    """A point for each rollout."""
    gold: defaultdict[int, list[float]] = defaultdict(list)
    for row in read_rows(artifact.path / "metadata" / "generated_outputs.parquet"):
        gold[row["step"]].append(gold_score(row["prompt"], row["completion"], row["ended"]).total)
    stats = {row["step"]: row for row in read_rows(artifact.path / "metadata" / "training_stats.parquet")}
    return [
        {
            "tokens": stats[step]["tokens"],
            "seconds": stats[step]["seconds"],
            "gold": fmean(scores),
            "kl": stats[step]["kl"],
            "score": stats[step]["score"],
        }
        for step, scores in sorted(gold.items())
    ]


def checkpoint_curve(artifact: Artifact, evaluation: EvaluationArtifact) -> list[Point]:
    """A point for each checkpoint: 300 held-out prompts, completed by its weights."""
    stats = read_rows(artifact.path / "metadata" / "training_stats.parquet")
    points = []
    for folder, tokens in checkpoints(artifact.path / "checkpoints"):
        row = next((row for row in stats if row["tokens"] >= tokens), stats[-1])
        found = completed(folder, prompts_of(evaluation))
        points.append(
            {"tokens": row["tokens"], "seconds": row["seconds"], "gold": fmean(one["gold"] for one in found)}
        )
    return sorted(points, key=lambda point: point["tokens"])


def checkpoints(folder: Path) -> Iterator[tuple[Path, int]]:
    """Checkpoint folders with the tokens in their names."""
    for one in sorted(folder.iterdir()):
        if CHECKPOINT.fullmatch(one.name) and (said := re.search(r"_(\d+)([KM]?)_tokens", one.name)):
            yield one, int(said[1]) * {"": 1, "K": 1000, "M": 1_000_000}[said[2]]


def running_gold(curve: Sequence[Point]) -> list[float]:
    """Mean gold of the last `WINDOW` rollouts at each."""
    gold = [point["gold"] for point in curve]
    return [fmean(gold[max(0, end - WINDOW) : end]) for end in range(1, len(gold) + 1)]


def seconds_to(curve: Sequence[Point], level: float) -> float | None:
    """Seconds of training until the running mean of gold reached `level`; None: it never did."""
    for point, running in zip(curve, running_gold(curve), strict=True):
        if running >= level:
            return point["seconds"]
    return None
