"""Proxy and gold over √KL: the turning point, best-of-n without bias, and its KL."""

import math
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tempering.artifacts.tables import write_parquet
from tempering.evaluation.overoptimisation import (
    Sample,
    best_of_n,
    best_of_n_kl,
    checkpoint_samples,
    point_rows,
    training_rows,
    turning_point,
)


def curve(golds: list[float], proxies: list[float], *, noise: float = 0.1, rows: int = 200) -> list[Sample]:
    """Points at √KL 0, 1, 2, ...; each row has its own level, and noise at each point."""
    generator = np.random.default_rng(0)
    level = generator.normal(0, 0.3, rows)
    return [
        Sample(
            proxy + level + generator.normal(0, noise, rows),
            gold + level + generator.normal(0, noise, rows),
            kl=float(place**2),
            tokens=1000 * place,
            checkpoint=f"checkpoint_{place}K_tokens",
        )
        for place, (gold, proxy) in enumerate(zip(golds, proxies, strict=True))
    ]


RISING = [0.0, 0.2, 0.4, 0.6, 0.8]


def test_gold_turns_while_the_proxy_rises() -> None:
    samples = curve([0.5, 0.7, 0.8, 0.6, 0.4], RISING)
    point = turning_point(samples)
    assert point is not None
    assert (point.place, point.tokens, point.checkpoint) == (2, 2000, "checkpoint_2K_tokens")
    assert point.sqrt_kl_low == point.sqrt_kl == point.sqrt_kl_high == 2.0
    assert point.fall_low < point.fall < point.fall_high
    assert point.fall == pytest.approx(0.4, abs=0.05)
    assert point.rise == pytest.approx(0.4, abs=0.05)
    rows = point_rows(samples)
    assert [row["turns"] for row in rows] == [False, False, True, False, False]
    assert [row["sqrt_kl"] for row in rows] == [0, 1, 2, 3, 4]
    assert all(row["gold_low"] < row["gold"] < row["gold_high"] for row in rows)


def test_a_flat_top_has_a_wide_interval() -> None:
    point = turning_point(curve([0.5, 0.8, 0.8, 0.8, 0.4], RISING, noise=0.5))
    assert point is not None
    assert point.sqrt_kl_high - point.sqrt_kl_low >= 1


@pytest.mark.parametrize(
    ("golds", "proxies"),
    [
        ([0.5, 0.6, 0.7, 0.8, 0.9], RISING),  # gold rises to the end
        ([0.5, 0.7, 0.8, 0.6, 0.4], [0.0, 0.4, 0.8, 0.6, 0.4]),  # the proxy falls as well: something broke
    ],
)
def test_no_turning_point(golds: list[float], proxies: list[float]) -> None:
    assert turning_point(curve(golds, proxies)) is None


def test_noise_has_no_turning_point() -> None:
    """The highest of 20 equal points is above the last one by chance: one run of 20 is marked, not 1 of 4."""
    seen = 0
    for seed in range(40):
        noise = np.random.default_rng(seed).normal(0, 1, (20, 2, 60))
        samples = [Sample(place + proxy, gold, float(place)) for place, (proxy, gold) in enumerate(noise)]
        seen += turning_point(samples) is not None
    assert seen <= 5


def test_best_of_n_is_the_mean_over_all_choices() -> None:
    proxy, gold = np.array([0.3, 0.9, 0.1, 0.5, 0.7]), np.array([1.0, 0.0, 4.0, 2.0, 3.0])
    for n in range(1, 6):
        best = [gold[max(chosen, key=lambda place: proxy[place])] for chosen in combinations(range(5), n)]
        assert best_of_n(proxy, gold, n) == pytest.approx(np.mean(best))
    assert best_of_n(proxy, gold, 5) == 0.0
    with pytest.raises(ValueError, match="best of 6 of 5"):
        best_of_n(proxy, gold, 6)


def test_equal_proxies_share_whatever_their_order() -> None:
    proxy, gold = np.array([1.0, 1.0, 0.0]), np.array([2.0, 4.0, 9.0])
    assert best_of_n(proxy, gold, 3) == best_of_n(proxy[::-1], gold[::-1], 3) == 3.0
    assert best_of_n(proxy, gold, 1) == 5.0


def test_the_kl_of_best_of_n_is_that_of_the_best_rank() -> None:
    """The best of n uniform numbers has the density n x^(n - 1): its KL to the uniform one by a fine sum."""
    middles = (np.arange(200_000) + 0.5) / 200_000
    for n in (1, 2, 4, 64):
        log_density = np.log(n) + (n - 1) * np.log(middles)
        assert best_of_n_kl(n) == pytest.approx((np.exp(log_density) * log_density).mean(), abs=1e-4)
    assert best_of_n_kl(2) == pytest.approx(math.log(2) - 0.5)


def test_points_come_from_the_tables_of_checkpoints() -> None:
    def score(checkpoint: str, tokens: int, metric: str, row: int, value: float | None) -> dict[str, Any]:
        return {"checkpoint": checkpoint, "tokens": tokens, "metric": metric, "row": row, "value": value}

    scores = [
        score(checkpoint, tokens, metric, row, None if (row, metric) == (2, "gold_score") else base + row)
        for checkpoint, tokens in (("", 300), ("checkpoint_100_tokens", 100))
        for metric, base in (("reward", 1.0), ("gold_score", 0.5), ("ended_share", 0.0))
        for row in range(3)
    ]
    stats = [{"tokens": 50 * step, "kl": 0.1 * step} for step in range(8)] + [{"tokens": 900, "kl": None}]
    first, last = checkpoint_samples(scores, stats)
    assert (first.checkpoint, first.tokens, last.checkpoint, last.tokens) == (
        "checkpoint_100_tokens",
        100,
        "",
        300,
    )
    assert [first.kl, last.kl] == pytest.approx([0.2, 0.6])
    assert first.proxy.tolist() == [1.0, 2.0, 3.0]
    assert first.gold.tolist() == pytest.approx([0.5, 1.5, math.nan], nan_ok=True)
    assert [row["rows"] for row in point_rows([first, last])] == [2, 2]


def test_gold_is_the_worlds_score_or_a_second_judges(tmp_path: Path) -> None:
    """Mutations: the judge's where the world's was measured; no curve without the world's."""
    name = "metadata/training_stats.parquet"
    write_parquet(tmp_path / name, [{"tokens": 10, "kl": 0.25}])
    model: Any = SimpleNamespace(path=tmp_path, manifest=SimpleNamespace(files=[name]))
    measured = {"world": ("reward", "gold_score", "judge_score"), "real": ("reward", "judge_score")}
    value = {"reward": 1.0, "gold_score": 0.5, "judge_score": 0.25}
    scores = [
        {"benchmark": key, "checkpoint": "", "tokens": 10, "row": 0, "metric": metric, "value": value[metric]}
        for key, metrics in {**measured, "neither": ("reward",)}.items()
        for metric in metrics
    ]
    rows = training_rows(model, scores)
    columns = ("benchmark", "gold_metric", "proxy", "gold", "sqrt_kl")
    assert [tuple(row[column] for column in columns) for row in rows] == [
        ("world", "gold_score", 1.0, 0.5, 0.5),
        ("real", "judge_score", 1.0, 0.25, 0.5),
    ]
