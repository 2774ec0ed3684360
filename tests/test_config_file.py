"""A config's file at the door: what is no YAML, no file, or more than a config can be is a message."""

import os
import time
from pathlib import Path

import pytest

from flows.cli.main import _parse
from tempering.config_file import apply_override, load, merge
from tempering.errors import ConfigError
from tempering.yaml_text import MOST_BYTES


def bomb(first: str, rest: str) -> str:
    """Eight values, each made of eight times the one before it."""
    pairs = zip("abcdefgh", "bcdefghi", strict=True)
    lines = [f"{name}: &{name} {rest % ', '.join([f'*{below}'] * 8)}" for below, name in pairs]
    return "\n".join([f"a: &a {first}", *lines])


LAUGHS = bomb("[x, x, x, x]", "[%s]")
MERGED = bomb("{x: 1, y: 2}", "{<<: [%s]}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sft: &a {b: *a}", "stands for what it is part of (line 1, column 6)"),
        ("sft: &a [*a]", "stands for what it is part of"),
        (LAUGHS, "more than 200,000 values (line "),
        (MERGED, "more than 200,000 values (line "),
        ("a: " + "[" * 900, "nested too deeply"),
        ("a: " + "{b: " * 60 + "1" + "}" * 60, "nested more than 40 deep"),
        ("a: 2026-13-45", "month must be in 1..12"),
        ("a: !!int x", "no such value"),
        ("a: !!timestamp x", "no such value"),
        ("a: " + "9" * 5000, "no such value"),
        ("? [a]\n: b", "a key is a list or a mapping (line 1, column 3)"),
        ("a: {b: 1, b: 2}", "b is set twice (line 1, column 11)"),
        ("a:\n\tb: 1", "'\\t'"),
        ("a: \0", "#x0000"),
        ("a: !!python/name:os.system", "python/name"),
        ("#" * (MOST_BYTES + 1), "a config has at most 200,000"),
        ("- a", "holds list"),
        ("", "holds NoneType"),
        ("extends: [" + "b.yaml, " * 101 + "]", "extends more than 100 files"),
    ],
)
def test_what_is_no_config(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "b.yaml").write_text("seed: 0\n")
    (tmp_path / "a.yaml").write_text(text, "utf-8")
    start = time.monotonic()
    with pytest.raises(ConfigError) as error:
        load(tmp_path / "a.yaml")
    assert message in str(error.value)
    assert time.monotonic() - start < 5


def test_an_alias_may_stand_in_several_places(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n")
    assert load(tmp_path / "a.yaml") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place, message in {
        tmp_path / "pipe": "a pipe or a device",
        Path("/dev/zero"): "a pipe or a device",
        tmp_path: "directory",
        tmp_path / ("a" * 300): "name too long",
        tmp_path / "a\0b": "null",
    }.items():
        with pytest.raises(ConfigError) as error:
            load(place)
        assert message in str(error.value).lower()


def test_an_override_is_read_with_the_same_care() -> None:
    for override in ("a=&a [*a]", "a=2026-13-45", "a=[", ".".join("a" * 31) + "=1"):
        with pytest.raises(ConfigError):
            apply_override({}, override)


def test_a_word_with_a_slash_before_the_equals_sign_is_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lr=0.01.yaml").write_text("seed: 0")
    for path in ("lr=0.01.yaml", "runs/lr=0.01/pipeline.yaml", "./a=b"):
        args = _parse(["plan", path, "seed=1", "a.path=b/c"])
        assert (args.config, args.overrides) == (path, ["seed=1", "a.path=b/c"])
    long = f"a={'x' * 5000}"
    assert _parse(["plan", long]).overrides == [long]


@pytest.mark.parametrize(
    ("name", "base", "over"),
    [
        ("rloo", {"max_steps": 3}, {"kind": "rloo"}),
        ("rloo", {"kind": "rloo", "max_steps": 3}, {}),
        ("architecture", {"preset": "micro"}, {"kind": "transformer"}),
        ("architecture", {"kind": "transformer", "preset": "micro"}, {"model_type": "gpt2"}),
        ("adapter", {"rank": 4}, {"kind": "lora", "alpha": 8}),
    ],
)
def test_a_kind_that_is_written_out_replaces_nothing(name: str, base: object, over: object) -> None:
    assert isinstance(base, dict)
    assert isinstance(over, dict)
    assert merge({name: base}, {name: over}) == {name: base | over}


def test_another_kind_replaces_whole() -> None:
    assert merge({"architecture": {"preset": "micro"}}, {"architecture": {"kind": "lstm"}}) == {
        "architecture": {"kind": "lstm"}
    }
