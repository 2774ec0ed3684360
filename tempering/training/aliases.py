"""Names that older recipes and other libraries use for our settings: one table, read before validation.

Only names of the same meaning are here; one whose meaning differs is refused with what to write instead.
Setting a thing under two names is an error, even where both agree: the next person changes one of them.
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
"""other name -> ours, in every section that has ours and has no setting of that very name (`dpo.beta`)"""
SWITCHES: dict[str, tuple[str, str | None, str | None]] = {
    "bf16": ("precision", "bf16", None),  # bf16: false says nothing about fp16
    "fp16": ("precision", "fp16", None),
    "adap_kl_ctrl": ("kl_control", "adaptive", "fixed"),
}
"""A switch of a recipe -> our setting, and what true and false ask for; None: nothing."""
RUN_WIDE = {"save_base_dir": "store", "log_with": "log_with"}
"""What old recipes say beside the training settings -> the setting of `runtime`; see flows/old_names.py."""
OF_PROMPTS = ("data_path", "query_min_length", "query_max_length")
"""What old on-policy recipes say about their prompts; they make a sample, see flows/old_names.py."""
GENERATION = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "max_new_tokens", "min_new_tokens",
)  # fmt: skip
"""What `generation_kwargs` may hold, by the names of transformers, which are ours."""

_SCHEDULES = {"constant_with_warmup": "constant"}  # ours warms up where warmup_fraction says so
_OFF: dict[str, tuple[float, ...]] = {"top_k": (0, -1), "top_p": (1,), "min_p": (0,)}
_TELLTALE = "rollout_batch_size"  # only sections that sample have it
_REFUSED = {
    "mini_batch_size": "TRL before 0.12 calls the rollout batch_size, and mini_batch_size x "
    "gradient_accumulation_steps an optimizer step; write rollout_batch_size and batch_size",
    "num_mini_batches": "set batch_size to rollout_batch_size / num_mini_batches",
    "whiten_rewards": "rewards are not whitened here; whiten_advantages is about the advantages, "
    "score_normalization about the scores",
    "early_stopping": "set stop_kl to the KL that ends a rollout's updates; target_kl steers the adaptive "
    "coefficient",
    "kl_penalty": "set kl_estimator: k1 is TRL's `kl`; `abs`, `mse` and `full` are not there",
}
"""Names of on-policy recipes that have no equal here -> what to write."""
_NOT_GENERATION = {
    "max_length": "it counts the prompt too; set max_new_tokens",
    "min_length": "it counts the prompt too; set min_new_tokens",
    "pad_token_id": "padding is masked, whatever token it is; take it out",
    "eos_token_id": "the model's own end tokens are used; take it out",
}


def has_precision(section: Any) -> bool:
    """Whether a training section says how it computes, under any name."""
    return isinstance(section, dict) and bool({"precision", "bf16", "fp16"} & section.keys())


def translated(given: Any, fields: Container[str]) -> Any:
    """A training section with our names only.

    Args:
        fields: the settings of its class.

    Raises:
        ValueError: a setting is named twice, names contradict each other, or a value is none of a switch.
    """
    if not isinstance(given, dict):
        return given
    made: dict[Any, Any] = {}
    said: dict[Any, str] = {}
    for name, ours, value in _meanings(given, fields):
        if ours in said:
            raise ValueError(f"{said[ours]} and {name} are two names for {ours}: set one")
        said[ours] = name
        made[ours] = value
    if made.get("lr_schedule") in _SCHEDULES:
        made["lr_schedule"] = _SCHEDULES[made["lr_schedule"]]
    for name, values in _OFF.items():
        if name in fields and name in made and not isinstance(made[name], bool) and made[name] in values:
            made[name] = None
    return with_global_batch(made, _TELLTALE in fields) if {PER_DEVICE, STEPS} & made.keys() else made


def _meanings(given: dict[Any, Any], fields: Container[str]) -> Iterator[tuple[str, Any, Any]]:
    """`(name as given, our name, value)` of every setting; an unknown name stays as it is, for pydantic."""
    for name, value in given.items():
        ours = ALIASES.get(name, name)
        if value is None and ours != name and ours in fields and name not in fields:
            continue  # a base file's other name, switched off
        if name in fields:
            yield name, name, value
        elif name in SWITCHES and SWITCHES[name][0] in fields:
            setting, meant = _switched(name, value)
            if meant is not None:
                yield name, setting, meant
        elif _TELLTALE in fields and name == "generation_kwargs":
            yield from _generation(value)
        elif _TELLTALE in fields and name in _REFUSED:
            raise ValueError(f"{name}: {_REFUSED[name]}")
        else:
            yield str(name), ours if ours in fields else name, value


def _switched(name: str, value: Any) -> tuple[str, str | None]:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is {value!r}; expected true or false")
    setting, on, off = SWITCHES[name]
    return setting, on if value else off


def _generation(given: Any) -> Iterator[tuple[str, str, Any]]:
    """The settings inside `generation_kwargs`, which are settings of the section itself."""
    if given is not None and not isinstance(given, dict):
        raise ValueError(f"generation_kwargs is {given!r}; expected a mapping such as {{temperature: 0.7}}")
    for name, value in (given or {}).items():
        if name == "do_sample":
            if value is not True:
                raise ValueError(
                    f"generation_kwargs.do_sample is {value!r}: on-policy training learns from samples; "
                    "the likeliest answer alone has no alternatives to learn from"
                )
        elif name in GENERATION:
            yield f"generation_kwargs.{name}", name, value
        elif name != "min_length" or value not in (0, -1):  # these two: off
            raise ValueError(f"generation_kwargs.{name}: {_NOT_GENERATION.get(name) or _nearest(name)}")


def _nearest(name: Any) -> str:
    near = difflib.get_close_matches(str(name), GENERATION, n=1)
    return f"unknown; did you mean {near[0]!r}?" if near else f"unknown; it may hold {', '.join(GENERATION)}"
