"""Names that older recipes and other libraries use for our settings: one table, read before validation.

Setting a thing under two names is an error, even where both agree: the next person changes one of them.
"""

from typing import Any

ALIASES = {
    "lr": "learning_rate",
    "scheduler": "lr_schedule",
    "lr_scheduler": "lr_schedule",
    "lr_scheduler_type": "lr_schedule",
    "num_cycles": "cosine_cycles",
    "warmup_ratio": "warmup_fraction",
    "num_train_epochs": "num_epochs",
    "epochs": "num_epochs",
}
"""other name -> ours"""
FLAGS = {"bf16": "bf16", "fp16": "fp16"}
"""A switch of a recipe -> the `precision` that it asks for."""
_SCHEDULES = {"constant_with_warmup": "constant"}  # ours warms up where warmup_fraction says so


def has_precision(section: Any) -> bool:
    """Whether a training section says how it computes, under any name."""
    return isinstance(section, dict) and bool({"precision", *FLAGS} & section.keys())


def translated(given: Any) -> Any:
    """A training section with our names only.

    Raises:
        ValueError: a setting is named twice, or a switch is no true or false.
    """
    if not isinstance(given, dict):
        return given
    made: dict[Any, Any] = {}
    said: dict[str, str] = {}
    for name, value in given.items():
        ours, meant = _meaning(name, value)
        if meant is None and name in FLAGS:
            continue  # bf16: false says nothing about fp16
        if ours in said:
            raise ValueError(f"{said[ours]} and {name} are two names for {ours}: set one")
        said[ours] = str(name)
        made[ours] = meant
    if made.get("lr_schedule") in _SCHEDULES:
        made["lr_schedule"] = _SCHEDULES[made["lr_schedule"]]
    return made


def _meaning(name: Any, value: Any) -> tuple[str, Any]:
    if name not in FLAGS:
        return ALIASES.get(name, name), value
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; expected true or false")
    return "precision", FLAGS[name] if value else None
