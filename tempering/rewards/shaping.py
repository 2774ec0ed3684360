"""Scores prepared for learning: normalised by running statistics, scaled, clipped.

The statistics cover all scores of the run so far, merged rollout by rollout (Chan, Golub and
LeVeque 1979) in double precision; they are part of a checkpoint.
"""

from typing import Literal

import torch
from torch import Tensor

RESOLUTION = 1e-6
"""Scores are fp32: they are equal where they differ by no more than this share of their size, or of 1."""


class ScoreShaping:
    """Callable: scores (B,) of a complete rollout -> shaped scores (B,); NaN stays NaN and does not count.

    Args:
        normalization: scale divides by the running standard deviation; whiten subtracts the mean first.
        scale: factor after that.
        clip: largest absolute value after that; None: any.
    """

    def __init__(
        self, normalization: Literal["none", "scale", "whiten"], scale: float, clip: float | None
    ) -> None:
        self.normalization, self.scale, self.clip = normalization, scale, clip
        self.count, self.mean, self.squares = 0.0, 0.0, 0.0  # squares: sum of squared deviations

    def __call__(self, scores: Tensor) -> Tensor:
        shaped = scores.double()
        self._add(shaped[~shaped.isnan()])
        if self.normalization != "none" and self.count:
            if self.normalization == "whiten":
                shaped = shaped - self.mean
            shaped = shaped / (self.std + 1e-8)
        shaped = shaped * self.scale
        if self.clip is not None:
            shaped = shaped.clamp(-self.clip, self.clip)
        return shaped.to(scores.dtype)

    @property
    def std(self) -> float:
        """Standard deviation of all scores so far; 1 while they are all equal, up to rounding."""
        std = float((self.squares / self.count) ** 0.5) if self.count else 0.0
        return std if std > RESOLUTION * max(1.0, abs(self.mean)) else 1.0

    def _add(self, scores: Tensor) -> None:
        count = len(scores)
        if not count:
            return
        mean = float(scores.mean())
        squares = float(torch.sum((scores - mean) ** 2))
        distance, total = mean - self.mean, self.count + count
        self.squares += squares + distance**2 * self.count * count / total
        self.mean += distance * count / total
        self.count = total

    def state(self) -> dict[str, float]:
        """The statistics, for a checkpoint."""
        return {"count": self.count, "mean": self.mean, "squares": self.squares}

    def restore(self, state: dict[str, float]) -> None:
        """Continue from what `state` returned."""
        self.count, self.mean, self.squares = state["count"], state["mean"], state["squares"]
