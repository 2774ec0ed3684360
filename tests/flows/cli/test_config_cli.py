"""`temper config`: what it prints is read off the classes, and docs/reference.md is what it prints."""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
from pydantic import Field

from flows.cli.config_markdown import reference
from flows.cli.config_sections import Section, Setting, find, sections_of, setting_of
from flows.cli.main import main
from flows.config import PipelineConfig
from tempering.config import Config, runtime_field
from tempering.errors import ConfigError
from tests.flows.conftest import ROOT
from tests.test_config_fields import config_classes


class Common(Config):
    """What all shapes share.

    Not in the summary.
    """

    colour: Literal["red", "blue"] | None = Field(None, description="its colour | or none")
    weight: float = Field(1.0, gt=0, le=2, description="in kilos")


class Circle(Common):
    """Round."""

    kind: Literal["circle"] = "circle"
    weight: float = Field(0.5, gt=0, description="in kilos")


class Square(Common):
    """With corners."""

    kind: Literal["square"]
    sides: list[int] = runtime_field([1, 2], min_length=1, description="four of them")


Shape = Annotated[Circle | Square, Field(discriminator="kind")]


class Box(Config):
    """A box of shapes."""

    shapes: Mapping[str, Annotated[Circle | Square, Field(discriminator="kind")]] = Field(
        description="by name"
    )
    lid: Circle = Field(default_factory=Circle, description="on top")
    label: str | None = Field(None, description="what is written on it")


@pytest.mark.parametrize(
    ("cls", "name", "words", "bound", "default"),
    [
        (Common, "colour", "red, blue or null", "", "null"),
        (Common, "weight", "float", "> 0, ≤ 2", "1.0"),
        (Square, "sides", "list of int", "length ≥ 1", "[1, 2]"),
        (Box, "shapes", "name → mapping with kind", "", "required"),
        (Box, "lid", "mapping", "", "kind: circle"),
    ],
)
def test_a_field_in_words(cls: type[Config], name: str, words: str, bound: str, default: str) -> None:
    setting = setting_of(name, cls.model_fields[name])
    assert (setting.kind, setting.bound, setting.default) == (words, bound, default)
    assert setting.runtime is (name == "sides")


def test_sections_of_a_toy() -> None:
    assert [section.path for section in sections_of(Box)] == [
        "shapes",
        "shapes.circle",
        "shapes.square",
        "lid",
    ]
    shapes = find(Box, "shapes")
    assert isinstance(shapes, Section)
    assert list(shapes.members) == ["circle", "square"]
    assert [setting.name for setting in shapes.settings] == ["colour"], "weights differ"
    square = find(Box, "shapes.square")
    assert isinstance(square, Section)
    assert [setting.name for setting in square.settings] == ["sides", "colour", "weight"], "its own first"
    weight = find(Box, "shapes.circle.weight")
    assert isinstance(weight, Setting)
    assert weight.default == "0.5"


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("shapes.circel", "temper config shapes.circle"),
        ("shapes.mine.weight", "temper config lid.weight"),
        ("shapes.mine.square", "temper config shapes.square"),
        ("weight", "temper config shapes.circle.weight"),
        ("nothing", "lists the sections"),
    ],
)
def test_an_unknown_path_gets_the_nearest(path: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find(Box, path)
    assert hint in str(caught.value)


def test_a_page_of_a_toy() -> None:
    page = reference(Box)
    assert "| `colour` | red, blue or null | null | its colour \\| or none |" in page
    assert "[`circle`](#shapescircle)" in page
    assert "`shapes` | name → [mapping with kind](#shapes)" in page
    assert "`lid` | [mapping](#shapescircle)" in page, "listed once"
    assert "## lid" not in page
    assert page.count("### Common") == 1
    assert page.count("`colour`") == 1
    assert "*(runtime)*" in page.partition("`sides`")[2].partition("\n")[0]


def test_the_reference_is_what_the_classes_say() -> None:
    page = reference(PipelineConfig)
    assert (ROOT / "docs/reference.md").read_text(encoding="utf-8") == page, (
        "docs/reference.md is old: temper config --markdown > docs/reference.md"
    )
    for cls in config_classes(PipelineConfig):
        for name, field in cls.model_fields.items():
            assert name == "kind" or field.description in page.replace("\\|", "|"), f"{cls.__name__}.{name}"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("datasets", ["squad", "hh", "dataset_fraction"]),
        ("datasets.squad", ["corruptions", "encoding"]),
        ("ppo", ["learning_rate", "0.0003", "micro_batch_size *"]),
        ("ppo.reward", ["mixture", "teacher"]),
        ("ppo.reward.teacher.endpoint", ["base_url"]),
        ("dpo.label_smoothing", ["≥ 0, < 0.5"]),
        ("pretrain.architecture", ["lstm", "kgram"]),
        ("ppo.engine", ["vllm"]),
        ("evaluate.benchmarks", ["minimal_pairs"]),
        ("tokenizer", ["existing"]),
    ],
)
def test_a_section_on_the_terminal(path: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", path]) == 0
    printed = capsys.readouterr().out
    assert [word for word in words if word not in printed] == []
    assert main(["config", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["description"]


def test_sections_and_mistakes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config"]) == 0
    assert "datasets …" in capsys.readouterr().out
    assert main(["config", "ppo.learning_rat"]) == 2
    assert "fix: temper config ppo.learning_rate" in capsys.readouterr().err
    assert main(["config", "PPO"]) == 2
    assert "fix: temper config ppo\n" in capsys.readouterr().err
    assert main(["config", "rloo.clip_range"]) == 2
    assert "fix: temper config rloo.estimator.rloo.clip_range or" in capsys.readouterr().err
    assert main(["config", "ppo.kind"]) == 0
    assert "the kind of stage" in capsys.readouterr().out


def test_it_needs_neither_torch_nor_prefect() -> None:
    code = (
        "import sys; from flows.cli.main import main;"
        "main(['config', 'ppo']); main(['config', '--markdown']);"
        "print(sorted({'torch', 'prefect', 'transformers', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"
