"""Numbers with 95% intervals.

Shares of yes/no outcomes get Wilson's score interval (1927), other means a bootstrap over rows (see
`tempering.evaluation.bootstrap`). `n` is the number of rows.
"""

import math
from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tempering.evaluation.bootstrap import mean_interval

Z95 = 1.959964


@dataclass(frozen=True)
class Metric:
    """One measured number. `better` is `higher` or `lower`; `baseline` is what guessing gives.

    `metric` is a name, or `NAME[PART]` of some of the rows; `convention` names how it was scored.
    """

    metric: str
    value: float
    low: float
    high: float
    n: int
    benchmark: str
    better: str = "higher"
    baseline: float | None = None
    convention: str = "honest"

    def row(self, model: str) -> dict[str, Any]:
        """As a row of metrics.parquet."""
        return {"model": model, **asdict(self)}


def is_part(metric: str, beside: Container[str]) -> bool:
    """Whether it is `METRIC[PART]` of a METRIC beside it; the harness's `acc[task]` is of all rows."""
    whole, _, part = metric.partition("[")
    return bool(part) and whole in beside


def wilson(successes: float, n: float) -> tuple[float, float]:
    """Wilson's 95% interval of a share."""
    if n == 0:
        return math.nan, math.nan
    share, z2 = successes / n, Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # Rounding must not put the share itself outside.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def mean_metric(
    name: str,
    values: Sequence[float | None],
    benchmark: str,
    *,
    weights: Sequence[float] | None = None,
    share: bool = False,
    **more: Any,
) -> Metric:
    """Mean of `values` (None and NaN left out) with its interval; yes/no values get Wilson's.

    Args:
        weights: what each value counts; the interval is then a bootstrap over rows with their weights.
        share: weighted values are yes or no; where all are alike, which a bootstrap takes for certain, the
            interval is Wilson's for as many rows as the weights are worth (Kish 1965: (Σw)² / Σw²).
    """
    counted = {
        place: float(value)
        for place, value in enumerate(values)
        if value is not None and not math.isnan(value)
    }
    numbers = [*counted.values()]
    if weights is not None and numbers:
        shares = [weights[place] for place in counted]
        value = float(np.average(numbers, weights=shares))
        low, high = mean_interval(numbers, shares)
        if share and {*numbers} in ({0.0}, {1.0}):
            worth = sum(shares) ** 2 / sum(weight**2 for weight in shares)
            low, high = wilson(value * worth, worth)
        return Metric(name, value, low, high, len(numbers), benchmark, **more)
    value = sum(numbers) / len(numbers) if numbers else math.nan
    yes_no = all(item in (0.0, 1.0) for item in numbers)
    low, high = wilson(sum(numbers), len(numbers)) if yes_no else mean_interval(numbers)
    return Metric(name, value, low, high, len(numbers), benchmark, **more)
