"""Batch sizes under transformers' per-device names, as our global ones.

`batch_size` = per device x accumulation, for one process: it becomes part of the identity before anybody
knows how many processes there will be, and keeps that size however many share it.
"""

from typing import Any

PER_DEVICE, STEPS = "per_device_train_batch_size", "gradient_accumulation_steps"


def with_global_batch(section: dict[Any, Any], samples: bool) -> dict[Any, Any]:
    """A section with `batch_size` and `micro_batch_size` instead of the per-device names.

    Args:
        samples: whether the section samples. In recipes with these names a rollout is one optimizer step,
            so `rollout_batch_size` follows unless the section sets it or `batch_size`.

    Raises:
        ValueError: the numbers contradict each other, or do not determine the batch size.
    """
    settings = {name: value for name, value in section.items() if name not in (PER_DEVICE, STEPS)}
    per_device, steps = _positive(section, PER_DEVICE), _positive(section, STEPS)
    micro, batch = _positive(section, "micro_batch_size"), _positive(section, "batch_size")
    # The micro batch: under either name, else the share of one accumulation step.
    if per_device and micro:
        raise ValueError(f"{PER_DEVICE} and micro_batch_size are two names for micro_batch_size: set one")
    micro = per_device or micro or _share(batch, steps)
    if micro is None:
        return settings
    # The global batch, which must be a whole number of micro batches.
    if batch is None:
        batch = micro * (steps or 1)
        if samples:
            settings.setdefault("rollout_batch_size", batch)
    micro_name = PER_DEVICE if per_device else "micro_batch_size"
    if batch != micro * (steps or batch // micro):
        factor = f" x {STEPS} {steps}" if steps else ""
        raise ValueError(
            f"batch_size {batch} contradicts {micro_name} {micro}{factor}: make them agree, or leave one out"
        )
    return {**settings, "batch_size": batch, "micro_batch_size": micro}


def _share(batch: int | None, steps: int | None) -> int | None:
    if steps is None:
        return None
    if batch is None:
        raise ValueError(f"{STEPS} divides a batch: set batch_size or {PER_DEVICE} as well")
    if batch % steps:
        raise ValueError(f"batch_size {batch} is not a multiple of {STEPS} {steps}")
    return batch // steps


def _positive(section: dict[Any, Any], name: str) -> int | None:
    value = section.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")
    return value
