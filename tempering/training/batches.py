"""Batch sizes by the names of transformers, which count for one device, as the global ones of ours.

`batch_size` = per device x accumulation, for one process: what it is becomes part of the identity before
anybody knows how many processes there will be, and then it stays that size, shared by all of them.
"""

from typing import Any

PER_DEVICE, STEPS = "per_device_train_batch_size", "gradient_accumulation_steps"


def with_global_batch(given: dict[Any, Any], samples: bool) -> dict[Any, Any]:
    """A section with `batch_size` and `micro_batch_size` in the place of the names of one device.

    Args:
        samples: whether the section samples; in recipes with these names a rollout is then one optimizer
            step, so `rollout_batch_size` follows where nothing else is said about it or `batch_size`.

    Raises:
        ValueError: the numbers contradict each other, or do not say enough.
    """
    made = {name: value for name, value in given.items() if name not in (PER_DEVICE, STEPS)}
    per_device, steps = _whole(given, PER_DEVICE), _whole(given, STEPS)
    micro, batch = _whole(given, "micro_batch_size"), _whole(given, "batch_size")
    if per_device and micro:
        raise ValueError(f"{PER_DEVICE} and micro_batch_size are two names for micro_batch_size: set one")
    micro = per_device or micro or _share(batch, steps)
    if micro is None:
        return made
    if batch is None:
        batch = micro * (steps or 1)
        if samples:
            made.setdefault("rollout_batch_size", batch)
    named = PER_DEVICE if per_device else "micro_batch_size"
    if batch != micro * (steps or batch // micro):
        times = f" x {STEPS} {steps}" if steps else ""
        raise ValueError(
            f"batch_size {batch} contradicts {named} {micro}{times}: make them agree, or leave one out"
        )
    return {**made, "batch_size": batch, "micro_batch_size": micro}


def _share(batch: int | None, steps: int | None) -> int | None:
    if steps is None:
        return None
    if batch is None:
        raise ValueError(f"{STEPS} cuts a batch into parts: set batch_size or {PER_DEVICE} beside it")
    if batch % steps:
        raise ValueError(f"batch_size {batch} is not a multiple of {STEPS} {steps}")
    return batch // steps


def _whole(given: dict[Any, Any], name: str) -> int | None:
    value = given.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")
    return value
