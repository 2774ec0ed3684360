"""Names that older recipes and other libraries use for our settings: one table, read before validation.

Only names with the same meaning are here; a name with another meaning is refused, with what to write instead.
Setting one thing under two names is an error, even where both agree: the next person changes one of them.
"""

import difflib
from collections.abc import Container, Iterator
from typing import Any

from tempering.training.batches import PER_DEVICE, STEPS, with_global_batch

ALIASES = {
    "lr": "learning_rate",
    "scheduler": "lr_schedule",
    "lr_scheduler": "lr_schedule",
    "lr_scheduler_type": "lr_schedule",
    "num_cycles": "cosine_cycles",
    "warmup_ratio": "warmup_fraction",
    "num_train_epochs": "num_epochs",
    "epochs": "num_epochs",
    "output_min_length": "min_new_tokens",
    "output_max_length": "max_new_tokens",
    "response_length": "max_new_tokens",
    "max_completion_length": "max_new_tokens",
    "ppo_batch_size": "rollout_batch_size",
    "generation_batch_size": "rollout_batch_size",
    "rloo_k": "num_completions",
    "num_generations": "num_completions",
    "num_ppo_epochs": "ppo_epochs",
    "num_iterations": "ppo_epochs",
    "init_kl_coef": "kl_coef",
    "beta": "kl_coef",
    "kl_target": "target_kl",
    "target": "target_kl",
    "horizon": "kl_horizon",
    "cliprange": "clip_range",
    "epsilon": "clip_range",
    "cliprange_value": "value_clip_range",
    "vf_coef": "value_coef",
    "lam": "gae_lambda",
}
"""Other name -> ours, in every section that has ours and no setting of that very name (as `dpo.beta`)."""
SWITCHES: dict[str, tuple[str, str | None, str | None]] = {
    "bf16": ("precision", "bf16", None),  # bf16: false says nothing about fp16
    "fp16": ("precision", "fp16", None),
    "adap_kl_ctrl": ("kl_control", "adaptive", "fixed"),
}
"""A recipe's switch -> our setting, and its values for true and false; None: sets nothing."""
RUN_WIDE = {"save_base_dir": "store", "log_with": "log_with"}
"""Settings of old recipes' training sections -> of `runtime`; see flows/old_names.py."""
OF_PROMPTS = ("data_path", "query_min_length", "query_max_length")
"""Settings that describe the prompts of old on-policy recipes: they make a sample, see flows/old_names.py."""
GENERATION = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "max_new_tokens",
    "min_new_tokens",
)
"""What `generation_kwargs` may hold: transformers and we use the same names."""

_SCHEDULES = {"constant_with_warmup": "constant"}  # ours warms up where warmup_fraction says so
_OFF: dict[str, tuple[float, ...]] = {"top_k": (0, -1), "top_p": (1,), "min_p": (0,)}
_TELLTALE = "rollout_batch_size"  # only sections that sample have it
_REFUSED = {
    "mini_batch_size": "TRL before 0.12 calls the rollout batch_size, and mini_batch_size x "
    "gradient_accumulation_steps is one optimizer step; write rollout_batch_size and batch_size",
    "num_mini_batches": "set batch_size to rollout_batch_size / num_mini_batches",
    "whiten_rewards": "rewards are not whitened here; whiten_advantages is about the advantages, "
    "score_normalization about the scores",
    "early_stopping": "set stop_kl to the KL that ends a rollout's updates; target_kl steers the adaptive "
    "coefficient",
    "kl_penalty": "set kl_estimator: k1 is TRL's `kl`; `abs`, `mse` and `full` do not exist here",
}
"""Names in on-policy recipes without an equivalent here -> what to write."""
_NOT_GENERATION = {
    "max_length": "it counts the prompt too; set max_new_tokens",
    "min_length": "it counts the prompt too; set min_new_tokens",
    "pad_token_id": "padding is masked, whatever token it is; remove it",
    "eos_token_id": "the model's own end tokens are used; remove it",
}


def has_precision(section: Any) -> bool:
    """Whether a training section sets its precision, under any name."""
    return isinstance(section, dict) and bool({"precision", "bf16", "fp16"} & section.keys())


def translated(section: Any, fields: Container[str]) -> Any:
    """A training section with our names only.

    Args:
        fields: the settings of its class.

    Raises:
        ValueError: a setting has two names, names contradict each other, or a switch is not true or false.
    """
    if not isinstance(section, dict):
        return section
    # Every setting under our name, and the name that the section used for it.
    settings: dict[Any, Any] = {}
    origins: dict[Any, str] = {}
    for name, our_name, value in _meanings(section, fields):
        if our_name in origins:
            raise ValueError(f"{origins[our_name]} and {name} are two names for {our_name}: set one")
        origins[our_name] = name
        settings[our_name] = value
    # Values that other libraries write differently.
    schedule = settings.get("lr_schedule")
    if isinstance(schedule, str) and schedule in _SCHEDULES:
        settings["lr_schedule"] = _SCHEDULES[schedule]
    for name, off_values in _OFF.items():
        value = settings.get(name)
        if name in fields and not isinstance(value, bool) and value in off_values:
            settings[name] = None
    # Per-device batch sizes become global ones.
    has_device_names = bool({PER_DEVICE, STEPS} & settings.keys())
    return with_global_batch(settings, _TELLTALE in fields) if has_device_names else settings


def _meanings(section: dict[Any, Any], fields: Container[str]) -> Iterator[tuple[str, Any, Any]]:
    """`(name in the section, our name, value)` of every setting; pydantic refuses unknown names."""
    for name, value in section.items():
        our_name = ALIASES.get(name, name)
        if value is None and our_name != name and our_name in fields and name not in fields:
            continue  # a base file's other name, switched off
        if name in fields:
            yield name, name, value
        elif name in SWITCHES and SWITCHES[name][0] in fields:
            setting, choice = _switched(name, value)
            if choice is not None:
                yield name, setting, choice
        elif _TELLTALE in fields and name == "generation_kwargs":
            yield from _generation(value)
        elif _TELLTALE in fields and name in _REFUSED:
            raise ValueError(f"{name}: {_REFUSED[name]}")
        else:
            yield str(name), our_name if our_name in fields else name, value


def _switched(name: str, value: Any) -> tuple[str, str | None]:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; expected true or false")
    setting, on, off = SWITCHES[name]
    return setting, on if value else off


def _generation(kwargs: Any) -> Iterator[tuple[str, str, Any]]:
    """The settings inside `generation_kwargs`, which are settings of the section itself."""
    if kwargs is not None and not isinstance(kwargs, dict):
        raise ValueError(f"generation_kwargs is {kwargs!r}; expected a mapping such as {{temperature: 0.7}}")
    for name, value in (kwargs or {}).items():
        if name == "do_sample":
            if value is not True:
                raise ValueError(
                    f"generation_kwargs.do_sample is {value!r}: on-policy training learns from samples; "
                    "greedy decoding has no alternatives to learn from"
                )
        elif name in GENERATION:
            yield f"generation_kwargs.{name}", name, value
        elif name != "min_length" or value not in (0, -1):  # these two: off
            raise ValueError(f"generation_kwargs.{name}: {_NOT_GENERATION.get(name) or _nearest(name)}")


def _nearest(name: Any) -> str:
    near = difflib.get_close_matches(str(name), GENERATION, n=1)
    return f"unknown; did you mean {near[0]!r}?" if near else f"unknown; it may hold {', '.join(GENERATION)}"
