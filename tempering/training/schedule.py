"""Learning-rate schedules as functions of the share of the run that is done.

Where a run ends at a token limit its number of steps is unknown, so progress is the largest of
steps / step limit and tokens / token limit; both are 0 at the start and 1 at the end.
"""

import math

from tempering.training.config import TrainingConfig


def learning_rate_factor(config: TrainingConfig, progress: float) -> float:
    """The factor on the peak learning rate at `progress` in [0, 1]."""
    progress = min(max(progress, 0.0), 1.0)
    if progress < config.warmup_fraction:
        return progress / config.warmup_fraction
    if config.lr_schedule == "constant":
        return 1.0
    rest = (progress - config.warmup_fraction) / (1 - config.warmup_fraction)
    return 0.5 * (1 + math.cos(math.pi * rest)) if config.lr_schedule == "cosine" else 1 - rest
