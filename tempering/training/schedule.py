"""Learning-rate schedules as functions of the finished share of the run.

A run that ends at a token limit has an unknown number of steps, so progress is the larger of steps / step
limit and tokens / token limit, from 0 to 1. The shapes are transformers', stretched over a million virtual
steps.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from tempering.training.config import TrainingConfig

_STEPS = 1_000_000


def learning_rate_factor(config: TrainingConfig, progress: float) -> float:
    """The factor on the peak learning rate at `progress` in [0, 1]."""
    name = "constant_with_warmup" if config.lr_schedule == "constant" else config.lr_schedule
    warmup = round(config.warmup_fraction * _STEPS)
    shape = _shape(name, warmup, tuple(sorted(_settings(config, warmup).items())))
    return float(shape(min(max(progress, 0.0), 1.0) * _STEPS))


def _settings(config: TrainingConfig, warmup: int) -> dict[str, Any]:
    """The schedule's settings besides warm-up and length, by transformers' names."""
    match config.lr_schedule:
        case "cosine_with_restarts":
            return {"num_cycles": config.cosine_cycles}
        case "cosine_with_min_lr":
            return {"min_lr_rate": config.min_lr_fraction}
        case "polynomial":
            return {"lr_end": config.min_lr_fraction * _PEAK}
        case "warmup_stable_decay":
            decay = round(config.decay_fraction * (_STEPS - warmup))
            return {"num_decay_steps": decay, "min_lr_ratio": config.min_lr_fraction}
    return {}


_PEAK = 1.0  # learning rate of the stand-in optimizer; factors do not depend on it


@lru_cache(maxsize=32)
def _shape(name: str, warmup: int, settings: tuple[tuple[str, Any], ...]) -> Callable[[float], float]:
    """The factor as a function of the virtual step."""
    import torch
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=_PEAK)
    schedule = get_scheduler(name, optimizer, warmup, _STEPS, dict(settings))
    return schedule.lr_lambdas[0]  # type: ignore[no-any-return]
