"""Over-optimisation: how a proxy and the gold score move with the distance from where a policy began.

Gao et al. 2022 (https://arxiv.org/abs/2210.10760) draw both over √KL to the initial policy, for training and
for best-of-n beside it: the proxy keeps rising, gold rises, turns and falls. Here are the points of both
curves, and the turning point. The peak of a noisy curve always lies a little above its end: so the peak is
chosen on one half of the rows and the fall after it measured on the other.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempering.artifacts.kinds import ModelArtifact
from tempering.artifacts.tables import read_rows
from tempering.evaluation.bootstrap import COMPARED, Numbers, interval, mean_interval, resamples

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """One point: proxy and gold of each row (NaN: not scored), KL in nats per completion."""

    proxy: Numbers
    gold: Numbers
    kl: float
    tokens: int | None = None
    checkpoint: str = ""
    best_of: int | None = None
    """Of best-of-n: completions that the best one is chosen from."""


@dataclass(frozen=True)
class TurningPoint:
    """Where gold is highest before it falls while the proxy rises; `low` and `high` are 95% intervals.

    `fall` is how much gold loses from there to the last point, `rise` what the proxy gains.
    """

    place: int
    checkpoint: str
    tokens: int | None
    sqrt_kl: float
    sqrt_kl_low: float
    sqrt_kl_high: float
    fall: float
    fall_low: float
    fall_high: float
    rise: float
    rise_low: float
    rise_high: float

    def row(self) -> dict[str, Any]:
        """As a row of a table."""
        return asdict(self)


def point_rows(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Rows of overoptimisation.parquet: proxy and gold with their intervals over the distance.

    `turns` marks the turning point, in one row at most.
    """
    turning = turning_point(samples)
    return [
        {
            "best_of": sample.best_of,
            "checkpoint": sample.checkpoint,
            "tokens": sample.tokens,
            "kl": sample.kl,
            "sqrt_kl": math.sqrt(max(0.0, sample.kl)),
            **_mean("proxy", sample.proxy),
            **_mean("gold", sample.gold),
            "rows": int(_scored(sample).sum()),
            "turns": turning is not None and place == turning.place,
        }
        for place, sample in enumerate(samples)
    ]


def turning_point(samples: Sequence[Sample]) -> TurningPoint | None:
    """Where gold turns; None where its fall, or the proxy's rise after it, is within its interval.

    Args:
        samples: in the order of the training (or of n); row i of each is of the same prompt, where there are
            the same prompts at each point.
    """
    if len(samples) < 2:
        return None
    proxy, gold = _aligned(samples)
    if proxy.shape[1] < 4:
        return None
    rows = np.arange(gold.shape[1])
    peak = int(gold.mean(axis=1).argmax())

    # Each row's fall is from the peak that the rows of the other half have.
    peaks = np.where(rows % 2 == 0, gold[:, 1::2].mean(axis=1).argmax(), gold[:, ::2].mean(axis=1).argmax())
    fall, fall_low, fall_high = _difference(gold[peaks, rows] - gold[-1])
    rise, rise_low, rise_high = _difference(proxy[-1] - proxy[peaks, rows])
    if peak == len(samples) - 1 or fall_low <= 0 or rise_low <= 0:
        return None

    # Where the peak lies in resamples of the rows.
    distances = np.sqrt([max(0.0, sample.kl) for sample in samples])
    peaks_drawn = [gold[:, draw].mean(axis=-1).argmax(axis=0) for draw in resamples(len(rows))]
    low, high = interval(distances[np.concatenate(peaks_drawn)])
    where = float(distances[peak])
    around = min(where, low), max(where, high)
    changes = (fall, fall_low, fall_high, rise, rise_low, rise_high)
    return TurningPoint(peak, samples[peak].checkpoint, samples[peak].tokens, where, *around, *changes)


def best_of_n_kl(n: int) -> float:
    """KL of best-of-n to the policy it samples from, in nats: log n - (n - 1) / n.

    Exact where no two completions are equal (Stiennon et al. 2020, https://arxiv.org/abs/2009.01325, appendix
    G.3); with completions that repeat the KL is smaller.
    """
    return math.log(n) - (n - 1) / n


def best_of_n(proxy: Numbers, gold: Numbers, n: int) -> float:
    """Mean gold of the best of n by proxy, over all ways to choose n of these N completions.

    Unbiased (Nakano et al. 2021, https://arxiv.org/abs/2112.09332, appendix I): the completion of rank i is
    the best of a choice with chance C(i - 1, n - 1) / C(N, n). Equal proxies share their chances.
    """
    if n > len(proxy):
        raise ValueError(f"best of {n} of {len(proxy)} completions")
    total = math.comb(len(proxy), n)
    chances = np.array([math.comb(rank, n - 1) / total for rank in range(len(proxy))])
    _, group = np.unique(proxy, return_inverse=True)  # groups of equal proxies, ascending
    order = np.argsort(group, kind="stable")
    shared = np.bincount(group[order], weights=chances) / np.bincount(group)
    return float((shared[group] * gold).sum())


def checkpoint_samples(
    scores: Sequence[Row], stats: Sequence[Row], proxy: str = "reward", gold: str = "gold_score"
) -> list[Sample]:
    """The points of a training: rows of `checkpoint_scores`, and KL from the stage's own `training_stats`.

    Args:
        scores: of one benchmark, which measured both metrics at every checkpoint.
        stats: rows with `tokens` and `kl`; a checkpoint's KL is the mean of the three rollouts around it.
        proxy, gold: the names of the two metrics; gold may be a second judge's, held out from the training.
    """
    logged = {int(row["tokens"]): float(row["kl"]) for row in stats if row.get("kl") is not None}
    points = dict.fromkeys((int(row["tokens"]), str(row["checkpoint"])) for row in scores)
    samples = []
    for tokens, checkpoint in sorted(points, key=lambda point: (point[0], point[1] == "")):
        values: dict[str, dict[int, float]] = {proxy: {}, gold: {}}
        for row in scores:
            if (row["tokens"], row["checkpoint"]) == (tokens, checkpoint) and row["metric"] in values:
                values[row["metric"]][row["row"]] = math.nan if row["value"] is None else row["value"]
        places = sorted(values[proxy].keys() & values[gold].keys())
        proxies, golds = (np.array([values[metric][place] for place in places]) for metric in (proxy, gold))
        if places and logged:
            nearest = sorted(logged, key=lambda logged_tokens: abs(logged_tokens - tokens))[:3]
            kl = float(np.mean([logged[place] for place in nearest]))
            samples.append(Sample(proxies, golds, kl, tokens, checkpoint))
    return samples


def training_rows(model: ModelArtifact, scores: Iterable[Row]) -> list[dict[str, Any]]:
    """Rows of overoptimisation.parquet of a training: for each benchmark that measured reward and gold.

    Gold is the world's exact score, or where that was not measured the score of a second judge.

    Args:
        model: the artifact with the checkpoints; a stage that logs no KL (SFT, DPO) has no such curve.
        scores: of `checkpoint_scores`.
    """
    if "metadata/training_stats.parquet" not in model.manifest.files:
        return []
    stats = read_rows(model.path / "metadata" / "training_stats.parquet")
    benchmarks: dict[str, list[Row]] = {}
    for row in scores:
        benchmarks.setdefault(row["benchmark"], []).append(row)
    return [
        {"benchmark": name, "gold_metric": gold, **row}
        for name, rows in benchmarks.items()
        for gold in [_gold_of(rows)]
        for row in point_rows(checkpoint_samples(rows, stats, gold=gold))
    ]


def _gold_of(scores: Iterable[Row]) -> str:
    return "gold_score" if any(row["metric"] == "gold_score" for row in scores) else "judge_score"


def _aligned(samples: Sequence[Sample]) -> tuple[Numbers, Numbers]:
    """Proxy and gold as (points, rows): the rows that were scored at every point."""
    count = min((len(sample.gold) for sample in samples), default=0)
    scored = (
        np.array([_scored(sample)[:count] for sample in samples]).reshape(len(samples), count).all(axis=0)
    )
    proxy, gold = (
        np.array([values[:count][scored] for values in part]).reshape(len(samples), -1)
        for part in ([sample.proxy for sample in samples], [sample.gold for sample in samples])
    )
    return proxy, gold


def _scored(sample: Sample) -> NDArray[np.bool_]:
    return ~(np.isnan(sample.proxy) | np.isnan(sample.gold))


def _mean(name: str, values: Numbers) -> dict[str, float]:
    numbers = values[~np.isnan(values)]
    low, high = mean_interval(numbers)
    return {name: float(numbers.mean()), f"{name}_low": low, f"{name}_high": high}


def _difference(values: Numbers) -> tuple[float, float, float]:
    """The mean of differences over rows and its 95% interval."""
    mean = float(values.mean())
    if not values.std():
        return mean, mean, mean
    return mean, *mean_interval(values, count=COMPARED)
