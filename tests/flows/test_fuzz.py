"""Any value in any place of a config is a plan or one message of ours: no traceback, and within seconds."""

import copy
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.config import PipelineConfig
from flows.options import Options
from flows.pipeline import plan_pipeline
from tempering.config_file import load
from tempering.errors import UserError

QUICK = Path(__file__).parents[2] / "configs/quickstart.yaml"
TEXTS = [
    "",
    " ",
    "\0",
    "x" * 300,
    "x/" * 3000,
    "../..",
    "a@latest",
    "@",
    "[",
    "{}",
    "%s{0}",
    "日本",
    "\ud800",
]
INTEGERS = [-1, 0, 1, 2**31, 2**63, 2**70, -(2**70), 10**4000]
FLOATS = [1e308, -0.5, float("nan"), float("inf")]
NESTED = [
    [],
    {},
    [None],
    [[]],
    [{}],
    {"": ""},
    {"kind": None},
    {"kind": []},
    {"a": {"b": {"c": [1]}}},
    {5: 5},
]
LIKELY = [
    {"kind": "rloo"},
    {"kind": "world", "rows": "corpus", "size": 5},
    ["sft"],
    ["sft", "sft"],
    "sft",
    "ppo",
]
NASTY: list[Any] = [None, True, False, b"x", *TEXTS, *INTEGERS, *FLOATS, *NESTED, *LIKELY]
LENGTH = {"kind": "rule", "rule": "length", "most": 9}
TEACHER = {"kind": "teacher", "endpoint": {"model": "m", "base_url": "http://x/v1", "retries": 1}}
MORE = {
    "models": {"base": "no/such"},
    "merge": {"dtype": "fp32"},
    "runtime": {"device": "cpu", "threads": 1, "store": None},
    "pretrain": {"model": None},
    "sft": {"adapter": {"rank": 4}},
    "ppo": {
        "reward": {"kind": "mixture", "components": {"a": {"kind": "rule", "rule": "length", "most": 9}}}
    },
    "rloo": {
        "reward": {"kind": "teacher", "endpoint": {"model": "m", "base_url": "http://x/v1", "retries": 1}}
    },
}


def places(tree: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from places(value, (*at, key))


def whole_tree() -> dict[str, Any]:
    """The quickstart with more of what a config can hold, and every setting that a section has."""
    tree = load(QUICK)
    for name, settings in MORE.items():
        tree[name] = {**(tree.get(name) or {}), **copy.deepcopy(settings)}
    for name, kind in PipelineConfig.stage_classes().items():
        for field, info in kind.model_fields.items():
            default = info.get_default(call_default_factory=True)
            if field not in ("kind", "resume") and isinstance(default, str | int | float):
                tree[name].setdefault(field, default)
    return tree


def changed(rng: random.Random, tree: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    tree = copy.deepcopy(tree)
    at = rng.choice([place for place in places(tree) if place])
    value = rng.choice(NASTY)
    inner: Any = tree
    for key in at[:-1]:
        inner = inner[key]
    if rng.random() < 0.15 and isinstance(inner, dict):  # another name for it
        inner[value if isinstance(value, str | int) else "x"] = inner.pop(at[-1])
    else:
        inner[at[-1]] = value
    return f"{'.'.join(map(str, at))} = {value!r}"[:200], tree


def as_yaml(tree: dict[str, Any]) -> str:
    """By libyaml, five times as fast; it cannot write half a surrogate pair."""
    try:
        return str(yaml.dump(tree, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)))
    except UnicodeEncodeError:
        return str(yaml.safe_dump(tree))


def outcome(tree: dict[str, Any], folder: Path) -> str:
    file = folder / "fuzz.yaml"
    file.write_text(as_yaml(tree), "utf-8")
    start = time.process_time()
    try:
        plan_pipeline(Options(str(file), store=str(folder / "store")))
        said = "planned"
    except UserError as error:
        said = str(error)
        assert len(said) < 5000, said
        said.encode("utf-8", "backslashreplace")
    assert time.process_time() - start < 2
    return said


def fuzz(seed: int, count: int, folder: Path) -> None:
    rng = random.Random(seed)
    tree = whole_tree()
    json.dumps(tree)
    for _ in range(count):
        what, other = changed(rng, tree)
        try:
            outcome(other, folder)
        except BaseException as error:
            raise AssertionError(f"{what}: {type(error).__name__}") from error


def test_a_sample_of_them(tmp_path: Path) -> None:
    fuzz(0, 40, tmp_path)


@pytest.mark.slow
def test_many_of_them(tmp_path: Path) -> None:
    fuzz(1, 300, tmp_path)
