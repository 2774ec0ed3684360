"""Reading configs: numbers as people write them, and fields that came later."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import Field

from flows.reasons import differences, in_words
from tempering.config import Config, added_field, identity
from tempering.config_file import apply_override, load
from tempering.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("4E3", 4000.0),
        ("-2.5e2", -250.0),
        (".5e1", 5.0),
        ("1.e+2", 100.0),
        ('"1e5"', "1e5"),
        ("'1e-4'", "1e-4"),
        ("3e", "3e"),
        ("1e5x", "1e5x"),
        ("deadbee1e5", "deadbee1e5"),
        ("0.1", 0.1),
        ("7", 7),
    ],
)
def test_a_number_is_a_number_unless_it_is_quoted(tmp_path: Path, text: str, value: object) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"inner: {{here: {text}}}\nlisted: [{text}]\n", "utf-8")
    tree = load(file)
    assert tree == {"inner": {"here": value}, "listed": [value]}
    assert type(tree["listed"][0]) is type(value)
    apply_override(tree, f"inner.here={text}")
    assert tree["inner"]["here"] == value


class Before(Config):
    rate: float = Field(0.1, description="x")


class After(Before):
    clip: float | None = added_field(None, description="x")


def test_an_added_field_is_in_the_identity_only_where_it_was_set() -> None:
    assert identity(After()) == identity(Before()) == {"rate": 0.1}
    assert identity(After(clip=None)) == identity(Before())
    assert identity(After(clip=0.5)) == {"rate": 0.1, "clip": 0.5}


class Mended(Before):
    version: ClassVar[int] = 2


class Whole(Config):
    parts: tuple[Before, ...] = Field((), description="x")


def test_a_mended_class_has_another_identity_wherever_it_is_used() -> None:
    assert identity(Mended()) == {"rate": 0.1, "version": 2}
    parts = identity(Whole(parts=(Before(), Mended())))["parts"]
    assert parts == [{"rate": 0.1}, {"rate": 0.1, "version": 2}]


def test_a_plan_calls_the_version_before_the_first_raise_1() -> None:
    old, new = (identity(Whole(parts=(part,))) for part in (Before(), Mended()))
    assert list(differences(old, new)) == [("parts.0.version", 1, 2)]


def test_the_plan_names_two_modules_and_counts_the_rest() -> None:
    def why(kind: str, field: str) -> dict[str, Any]:
        return {"kind": kind, "field": field, "old": 1, "new": 2}

    many = [why("config", "beta"), *(why("code", name) for name in ("a", "b", "c", "d"))]
    assert in_words(many) == ["beta 1 → 2", "note: its code has changed since: a, b and 2 more modules"]
    assert in_words([why("code", "a")]) == ["note: its code has changed since: a"]


def test_a_setting_is_named_as_an_override_names_it() -> None:
    """Mutations: the kind within the path; pydantic's words; null as a benchmark."""
    from tempering.evaluation.config import EvaluateConfig
    from tempering.validation import validate

    pairs = {"kind": "minimal_pairs", "dataset": "x", "max_rows": 0}
    tree: dict[str, Any] = {"benchmarks": {"ok": pairs, "gone": None}}
    with pytest.raises(ConfigError) as error:
        validate(EvaluateConfig, tree, "t.yaml")
    place = "t.yaml: benchmarks.ok.max_rows"
    assert error.value.found == f"{place}: found 0: expected greater than or equal to 1"
    pairs["max_rows"] = 1
    assert list(validate(EvaluateConfig, tree, "t.yaml").benchmarks) == ["ok"]
