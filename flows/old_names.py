"""Settings that old recipes have in a training section and that belong elsewhere in a pipeline.

`save_base_dir` and `log_with` are settings of `runtime`. `data_path`, `query_min_length` and
`query_max_length` make the section a sample of its own: one sample per stage, with its own fingerprint.
This works on the tree of settings before validation; running it twice changes nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tempering.artifacts.stage import Stage
from tempering.errors import ConfigError
from tempering.training.aliases import OF_PROMPTS, RUN_WIDE

Tree = dict[str, Any]
_DEFAULT_SAMPLE = "prompts"
_READING_SETTINGS = (
    "prompt_format",
    "token_format",
    "max_length",
    "max_prompt_length",
    "max_rejected_fraction",
    "seed",
)


def desugared(tree: Tree, sections: Mapping[str, Stage]) -> Tree:
    """The tree with those settings moved; `sections` are the training sections with their kinds.

    Raises:
        ConfigError: one thing is set under two names.
    """
    tree = dict(tree)
    _to_runtime(tree, sections)
    for name in [name for name, kind in sections.items() if "reward_models" in kind.roles]:
        settings = _pop(tree, name, OF_PROMPTS)
        if settings:
            _own_sample(tree, name, settings)
    return tree


def _pop(tree: Tree, section: str, names: Iterable[str]) -> Tree:
    """Remove `names` from a section and return their values; null sets nothing."""
    before = tree.get(section)
    if not isinstance(before, dict):
        return {}
    values = {name: before[name] for name in names if name in before}
    if values:
        tree[section] = {name: value for name, value in before.items() if name not in values}
    return {name: value for name, value in values.items() if value is not None}


def _to_runtime(tree: Tree, sections: Iterable[str]) -> None:
    # Place -> old name and value, wherever a section says it.
    moves = {
        f"{section}.{name}": (name, value)
        for section in ["runtime", *sections]
        for name, value in _pop(tree, section, RUN_WIDE).items()
    }
    if not moves:
        return
    runtime = tree.get("runtime") or {}
    if not isinstance(runtime, dict):
        raise ConfigError(f"runtime is {runtime!r}", expected="a mapping of settings")
    # Our name -> the place that set it, so a second place is an error.
    places = {name: f"runtime.{name}" for name, value in runtime.items() if value is not None}
    for place, (name, value) in moves.items():
        our_name = RUN_WIDE[name]
        if our_name in places:
            raise _twice(places[our_name], place, f"runtime.{our_name}")
        places[our_name] = place
        runtime = {**runtime, our_name: value}
    tree["runtime"] = runtime


def _own_sample(tree: Tree, name: str, settings: Tree) -> None:
    """Add `samples.NAME_prompts` with the section's settings about prompts."""
    samples, sample = dict(tree.get("samples") or {}), f"{name}_prompts"
    if sample in samples:
        raise ConfigError(
            f"{name}.{next(iter(settings))} makes a sample {sample}, but samples.{sample} already exists",
            fix=f"move {', '.join(settings)} from {name} to that sample, or rename the sample",
        )
    if "data_path" in settings:
        base = _of_path(tree, name, settings, samples.get(_DEFAULT_SAMPLE))
    else:
        base = _copy(tree, name, settings, samples)
    bounds = {key: value for key, value in settings.items() if key != "data_path"}
    tree["samples"] = {**samples, sample: {**base, **bounds}}
    tree[name] = {**tree[name], "sample": sample}


def _of_path(tree: Tree, name: str, settings: Tree, like: Any) -> Tree:
    """Add a data set of the files; returns a sample of it that reads prompts as `samples.prompts` does."""
    if tree[name].get("sample") is not None:
        raise _twice(f"{name}.sample", f"{name}.data_path", "the prompts")
    datasets, dataset = dict(tree.get("datasets") or {}), f"{name}_data"
    if dataset in datasets:
        raise ConfigError(
            f"{name}.data_path makes a data set {dataset}, but datasets.{dataset} already exists",
            fix="rename that data set",
        )
    # Nothing is held out: no stage evaluates on a rollout's prompts.
    files = {"kind": "auto", "path": settings["data_path"], "eval_fraction": 0}
    tree["datasets"] = {**datasets, dataset: files}
    like = like if isinstance(like, dict) else {}
    reading = {key: like[key] for key in _READING_SETTINGS if key in like}
    return {**reading, "datasets": {dataset: 1}, "row_type": "prompt"}


def _copy(tree: Tree, name: str, settings: Tree, samples: Tree) -> Tree:
    """A copy of the section's sample, for bounds of its own."""
    source = tree[name].get("sample", _DEFAULT_SAMPLE)
    base = samples.get(source)
    if not isinstance(base, dict):
        raise ConfigError(
            f"{name}.{next(iter(settings))} bounds the prompts of sample {source!r}, which does not exist",
            expected=f"one of: {', '.join(samples) or 'none'}",
            fix=f"set {name}.sample, or {name}.data_path",
        )
    for key in settings:
        if base.get(key) is not None:
            raise _twice(f"samples.{source}.{key}", f"{name}.{key}", key)
    return {**base, "row_type": "prompt"}


def _twice(first: str, second: str, setting: str) -> ConfigError:
    return ConfigError(f"{first} and {second} are two names for {setting}", fix="set one of them")
