"""Reading `benchmarks.overoptimisation`'s runs: when gold turns, and what each cheap signal said by then.

A signal is a number per rollout that needs no gold. An alarm is its running mean above a threshold.
Thresholds are chosen on all runs but one and tried on that one: the fewest wrong verdicts on the others.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from statistics import fmean, median
from typing import Any

import numpy as np

from tempering.artifacts.kinds import Artifact, ModelArtifact
from tempering.evaluation.overoptimisation import Sample, TurningPoint, point_rows, turning_point
from tempering.rewards.learned import LearnedReward
from tempering.world import gold_score

WINDOW = 5
"""Rollouts in a running mean, and at a point of the curve: 480 completions."""
SCORED = 16
"""Completions of a rollout that the ensemble scores."""
SIGNALS = {
    "kl": "KL to SFT, nats per completion",
    "entropy": "entropy lost, share of the start's",
    "length": "change of length, share of the start's",
    "spread": "spread of rewards lost, share of the start's",
    "disagreement": "disagreement of three reward models, times the start's",
    "gap": "reward gained above the two other reward models'",
}


@dataclass(frozen=True)
class Run:
    """One training, a value per rollout in each list; `points` are its windows."""

    about: dict[str, Any]
    tokens: list[int]
    signals: dict[str, list[float]]
    points: list[Sample] = field(repr=False)

    @cached_property
    def turning(self) -> TurningPoint | None:
        """Where gold turns, if it falls while the proxy rises."""
        return turning_point(self.points)

    @property
    def end(self) -> int:
        """The rollouts in which an alarm is in time: until gold is below its start again; else all."""
        if self.turning is None:
            return len(self.tokens)
        golds = [float(point.gold.mean()) for point in self.points]
        later = range(self.turning.place + 1, len(golds))
        gone = next((place for place in later if golds[place] < golds[0]), len(golds) - 1)
        return (gone + 1) * WINDOW

    def running(self, signal: str) -> list[float]:
        """The running mean over the last rollouts, relative to the run's start where the signal is."""
        values = self.signals[signal]
        return [fmean(values[max(0, end - WINDOW) : end]) for end in range(1, len(values) + 1)]

    def extreme(self, signal: str) -> float:
        """The highest running mean while an alarm is in time."""
        return max(self.running(signal)[: self.end])

    def alarm(self, signal: str, threshold: float) -> int | None:
        """The tokens at which the signal first passes a threshold."""
        passed = (at for at, value in enumerate(self.running(signal)) if value > threshold)
        place = next(passed, None)
        return None if place is None else self.tokens[place]

    def summary(self) -> dict[str, Any]:
        """For the JSON file."""
        turning = None if self.turning is None else self.turning.row()
        signals = {name: [round(value, 4) for value in self.running(name)] for name in self.signals}
        curve = {"points": point_rows(self.points), "tokens": self.tokens, "signals": signals}
        return {**self.about, "turning": turning, **curve}


def read_run(about: dict[str, Any], policy: Artifact, members: Sequence[Artifact]) -> Run:
    """A run from its stage's own tables; the gold score of every completion is computed here."""
    outputs = policy.read("generated_outputs")
    stats = policy.read("training_stats").drop_duplicates("tokens", keep="first").set_index("tokens")
    outputs["gold"] = [
        gold_score(*item).total
        for item in zip(outputs["prompt"], outputs["completion"], outputs["ended"], strict=True)
    ]
    rollouts = [rollout for _, rollout in outputs.groupby("step", sort=True)]
    tokens = [int(rollout["tokens"].iloc[0]) for rollout in rollouts]

    # The logged signals, and those of the ensemble.
    logged = {name: [float(stats[name].loc[at]) for at in tokens] for name in ("kl", "entropy")}
    lengths, spreads = (
        [float(value) for value in column]
        for column in zip(
            *((rollout["length"].mean(), rollout["score"].std()) for rollout in rollouts), strict=True
        )
    )
    signals = {
        "kl": logged["kl"],
        "entropy": [1 - value for value in _times_start(logged["entropy"])],
        "length": [abs(value - 1) for value in _times_start(lengths)],
        "spread": [1 - value for value in _times_start(spreads)],
        **_ensemble(rollouts, members),
    }
    return Run(about, tokens, signals, _points(rollouts))


def tables(runs: Sequence[Run]) -> str:
    """Each run, then each signal."""
    return "\n\n".join([runs_table(runs), signals_table(runs)])


def runs_table(runs: Sequence[Run]) -> str:
    """Where each run's gold turns, and what it loses."""
    lines = [
        "| run | tokens | KL at the end | proxy, start → end | gold, start → peak → end "
        "| turns at √KL (95%) | at tokens | gold lost (95%) |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for run in runs:
        name = "{method}, {reward_model} pairs, `kl_coef` {kl_coef:g}, seed {seed}".format(**run.about)
        proxy, gold = (
            [float(np.mean(getattr(point, name))) for point in run.points] for name in ("proxy", "gold")
        )
        turning = run.turning
        turn = (
            ["never", "", ""]
            if turning is None
            else [
                f"{turning.sqrt_kl:.1f} ({turning.sqrt_kl_low:.1f} to {turning.sqrt_kl_high:.1f})",
                f"{turning.tokens:,}",
                f"{turning.fall:.3f} ({turning.fall_low:.3f} to {turning.fall_high:.3f})",
            ]
        )
        cells = [name, f"{run.tokens[-1]:,}", f"{run.points[-1].kl:.1f}", f"{proxy[0]:.2f} → {proxy[-1]:.2f}"]
        cells += [f"{gold[0]:.3f} → {max(gold):.3f} → {gold[-1]:.3f}", *turn]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def signals_table(runs: Sequence[Run]) -> str:
    """How well each signal tells runs that turn from those that do not, before gold has fallen."""
    turn, hold = [run for run in runs if run.turning], [run for run in runs if not run.turning]
    lines = [
        f"| signal | AUC | warned in time, of {len(turn)} | of these before the peak "
        f"| cried wolf, of {len(hold)} | thresholds | tokens from the peak to the alarm, median |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for signal, label in SIGNALS.items():
        verdicts = [(run, threshold(signal, [other for other in runs if other is not run])) for run in runs]
        raised = [run for run, limit in verdicts if run.extreme(signal) > limit]
        lags = [
            alarm - run.turning.tokens
            for run, limit in verdicts
            if run in raised and run.turning and run.turning.tokens
            if (alarm := run.alarm(signal, limit)) is not None
        ]
        limits = [limit for _, limit in verdicts]
        lines.append(
            f"| {label} | {_auc(signal, turn, hold)} | {sum(run in raised for run in turn)} "
            f"| {sum(lag <= 0 for lag in lags)} | {sum(run in raised for run in hold)} "
            f"| {min(limits):.2f} to {max(limits):.2f} | {f'{median(lags):,.0f}' if lags else ''} |"
        )
    return "\n".join(lines)


def threshold(signal: str, runs: Sequence[Run]) -> float:
    """Between two runs' values: where the fewest runs are on the wrong side, and the gap is the widest."""
    values = sorted({run.extreme(signal) for run in runs})

    def cost(gap: tuple[float, float]) -> tuple[int, float]:
        middle = sum(gap) / 2
        wrong = sum((run.extreme(signal) > middle) != (run.turning is not None) for run in runs)
        return wrong, gap[0] - gap[1]

    return sum(min(pairwise(values), key=cost)) / 2


def _auc(signal: str, turn: Sequence[Run], hold: Sequence[Run]) -> str:
    pairs = [(one.extreme(signal), other.extreme(signal)) for one in turn for other in hold]
    points = [1.0 if high > low else 0.5 if high == low else 0.0 for high, low in pairs]
    return f"{fmean(points):.2f}" if points else ""


def _points(rollouts: list[Any]) -> list[Sample]:
    """The curve: windows of rollouts; an unfinished one at the end is left out."""
    points = []
    for start in range(0, len(rollouts) - WINDOW + 1, WINDOW):
        window = rollouts[start : start + WINDOW]
        proxy, gold = (
            np.concatenate([part[name].to_numpy() for part in window]) for name in ("score", "gold")
        )
        kl = float(np.mean([part["kl"].mean() for part in window]))
        points.append(Sample(proxy, gold, kl, int(window[-1]["tokens"].iloc[0])))
    return points


def _ensemble(rollouts: list[Any], members: Sequence[Artifact]) -> dict[str, list[float]]:
    """Spread of the models' scores of one completion, and the lead of the one that is trained on.

    Scores of different reward models have different origins: each is counted from its mean at the start.
    """
    models = [LearnedReward.of(member, "cpu") for member in members if isinstance(member, ModelArtifact)]
    scores = np.array(
        [_scores(rollout.head(SCORED), models) for rollout in rollouts]
    )  # (rollouts, models, rows)
    scores -= scores[:WINDOW].mean(axis=(0, 2), keepdims=True)[0]
    disagreement = [float(value) for value in scores.std(axis=1).mean(axis=1)]
    gap = scores[:, 0] - scores[:, 1:].mean(axis=1)
    return {"disagreement": _times_start(disagreement), "gap": [float(value) for value in gap.mean(axis=1)]}


def _scores(rollout: Any, models: list[LearnedReward]) -> list[list[float]]:
    """The logged score of each completion, and the other models'."""
    texts, ended = rollout["completion"].tolist(), rollout["ended"].tolist()
    marks = re.compile(r"<\|\w+\|>")
    prompts = [[{"role": "user", "content": marks.sub("", prompt)}] for prompt in rollout["prompt"]]
    return [rollout["score"].tolist(), *(model(prompts, texts, ended=ended) for model in models)]


def _times_start(values: list[float]) -> list[float]:
    start = fmean(values[:WINDOW])
    return [value / start for value in values]
