"""What old recipes say inside a training section and what is a matter of the whole pipeline here.

`save_base_dir` and `log_with` are settings of `runtime`. `data_path`, `query_min_length` and
`query_max_length` make a sample of the section's own: it stays one sample a stage, with its own fingerprint.
Works on the tree of settings, before it is validated; running it twice changes nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tempering.artifacts.stage import Stage
from tempering.errors import ConfigError
from tempering.training.aliases import OF_PROMPTS, RUN_WIDE

Tree = dict[str, Any]
_DEFAULT_SAMPLE = "prompts"
_HOW_PROMPTS_ARE_READ = (
    "prompt_format",
    "token_format",
    "max_length",
    "max_prompt_length",
    "max_rejected_fraction",
    "seed",
)


def desugared(tree: Tree, sections: Mapping[str, Stage]) -> Tree:
    """The tree with those settings where they belong; `sections` are the training sections with their kinds.

    Raises:
        ConfigError: one thing is set under two names.
    """
    tree = dict(tree)
    _to_runtime(tree, sections)
    for name in [name for name, kind in sections.items() if "reward_models" in kind.roles]:
        asked = _taken_out(tree, name, OF_PROMPTS)
        if asked:
            _own_sample(tree, name, asked)
    return tree


def _taken_out(tree: Tree, section: str, names: Iterable[str]) -> Tree:
    """Takes `names` out of a section and gives those that are set; null sets nothing."""
    given = tree.get(section)
    if not isinstance(given, dict):
        return {}
    there = {name: given[name] for name in names if name in given}
    if there:
        tree[section] = {name: value for name, value in given.items() if name not in there}
    return {name: value for name, value in there.items() if value is not None}


def _to_runtime(tree: Tree, sections: Iterable[str]) -> None:
    found = _taken_out(tree, "runtime", RUN_WIDE)
    asked = {f"runtime.{name}": (name, value) for name, value in found.items()}
    for section in sections:
        found = _taken_out(tree, section, RUN_WIDE)
        asked |= {f"{section}.{name}": (name, value) for name, value in found.items()}
    if not asked:
        return
    runtime = tree.get("runtime") or {}
    if not isinstance(runtime, dict):
        raise ConfigError(f"runtime is {runtime!r}", expected="a mapping of settings")
    said = {name: f"runtime.{name}" for name, value in runtime.items() if value is not None}
    for full, (name, value) in asked.items():
        ours = RUN_WIDE[name]
        if ours in said:
            raise _twice(said[ours], full, f"runtime.{ours}")
        said[ours] = full
        runtime = {**runtime, ours: value}
    tree["runtime"] = runtime


def _own_sample(tree: Tree, name: str, asked: Tree) -> None:
    """`samples.NAME_prompts` with what the section asks of its prompts."""
    samples, made = dict(tree.get("samples") or {}), f"{name}_prompts"
    if made in samples:
        raise ConfigError(
            f"{name}.{next(iter(asked))} makes a sample {made}, and samples.{made} is there already",
            fix=f"take {', '.join(asked)} out of {name} and set them there, or call that sample otherwise",
        )
    if "data_path" in asked:
        base = _of_path(tree, name, asked, samples.get(_DEFAULT_SAMPLE))
    else:
        base = _copy(tree, name, asked, samples)
    bounds = {key: value for key, value in asked.items() if key != "data_path"}
    tree["samples"] = {**samples, made: {**base, **bounds}}
    tree[name] = {**tree[name], "sample": made}


def _of_path(tree: Tree, name: str, asked: Tree, like: Any) -> Tree:
    """A data set of the files, and a sample of it that reads prompts as `samples.prompts` does."""
    if tree[name].get("sample") is not None:
        raise _twice(f"{name}.sample", f"{name}.data_path", "the prompts")
    datasets, data = dict(tree.get("datasets") or {}), f"{name}_data"
    if data in datasets:
        raise ConfigError(
            f"{name}.data_path makes a data set {data}, and datasets.{data} is there already",
            fix="call that one otherwise",
        )
    # Nothing is held out: no stage evaluates on a rollout's prompts.
    tree["datasets"] = {**datasets, data: {"kind": "auto", "path": asked["data_path"], "eval_fraction": 0}}
    kept = {key: like[key] for key in _HOW_PROMPTS_ARE_READ if key in like} if isinstance(like, dict) else {}
    return {**kept, "datasets": {data: 1}, "row_type": "prompt"}


def _copy(tree: Tree, name: str, asked: Tree, samples: Tree) -> Tree:
    """The section's sample, to be bounded otherwise for this section alone."""
    source = tree[name].get("sample", _DEFAULT_SAMPLE)
    base = samples.get(source)
    if not isinstance(base, dict):
        raise ConfigError(
            f"{name}.{next(iter(asked))} bounds the prompts of sample {source!r}, which is not there",
            expected=f"one of: {', '.join(samples) or 'none'}",
            fix=f"set {name}.sample, or {name}.data_path",
        )
    for key in asked:
        if base.get(key) is not None:
            raise _twice(f"samples.{source}.{key}", f"{name}.{key}", key)
    return {**base, "row_type": "prompt"}


def _twice(one: str, other: str, what: str) -> ConfigError:
    return ConfigError(f"{one} and {other} are two names for {what}", fix="set one of them")
