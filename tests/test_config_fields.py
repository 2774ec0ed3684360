"""Every configuration field has an effect: it changes a fingerprint, or it is declared a runtime field."""

import types
import typing
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from flows.config import PipelineConfig
from tempering.config import Config, identity, readers_of
from tempering.training.config import DPOConfig

MADE_UP = {
    "function": "tests.rewards.some_rewards:undecided",
    "target_modules": "q_proj",
    "path": "x.txt",
    "report_url": "http://x",
}


def config_classes(kind: type[BaseModel], seen: set[type[BaseModel]] | None = None) -> set[type[BaseModel]]:
    """Every config class that a pipeline can hold."""
    found = seen if seen is not None else set()
    if kind not in found:
        found.add(kind)
        sections = getattr(kind, "stage_classes", dict)()
        parts = [*sections.values(), *(field.annotation for field in kind.model_fields.values())]
        for part in parts:
            for inner in classes_in(part):
                config_classes(inner, found)
    return found


def classes_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in typing.get_args(annotation) for found in classes_in(part)]


def test_stages_are_among_them() -> None:
    names = {kind.__name__ for kind in config_classes(PipelineConfig)}
    assert {"PretrainConfig", "DPOConfig", "RLOOConfig", "TokenGAE", "TeacherReward"} <= names


def fields() -> Iterator[Any]:
    for kind in sorted(config_classes(PipelineConfig), key=lambda kind: kind.__name__):
        for name, field in kind.model_fields.items():
            if name != "kind":
                yield pytest.param(kind, name, field, id=f"{kind.__name__}.{name}")


@pytest.mark.parametrize(("kind", "name", "field"), list(fields()))
def test_field(kind: type[Config], name: str, field: FieldInfo) -> None:
    assert field.description, "a line that says meaning and unit"
    extra = field.json_schema_extra
    runtime = isinstance(extra, dict) and bool(extra.get("runtime"))
    rest: dict[str, Any] = dict.fromkeys(kind.model_fields)
    one = kind.model_construct(**rest | {name: field.get_default(call_default_factory=True)})
    other = kind.model_construct(**rest | {name: another_value(field, name)})
    assert (identity(one).get(name) == identity(other).get(name)) is runtime


def conditional() -> Iterator[Any]:
    """`(class, setting, choice)` of everything that is not always read."""
    for kind in sorted(config_classes(PipelineConfig), key=lambda kind: kind.__name__):
        for name, readers in readers_of(kind).items() if issubclass(kind, Config) else ():
            for choice in readers:
                yield pytest.param(kind, name, choice, id=f"{kind.__name__}.{name} by {choice}")


@pytest.mark.parametrize(("kind", "name", "choice"), list(conditional()))
def test_a_setting_that_nothing_reads_is_refused(
    kind: type[Config], name: str, choice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = kind.model_fields
    settings: dict[str, Any] = {
        n: field.get_default(call_default_factory=True) for n, field in fields.items()
    }

    def choose(place: str, reads: bool) -> None:
        value = next(
            value for value in values_of(kind, place) if (value in readers_of(kind)[name][place]) is reads
        )
        if place in fields:
            settings[place] = value
        else:
            monkeypatch.setattr(kind, place, value)

    def check(value: Any) -> None:
        kind.model_construct(**settings | {name: value})._everything_is_read()

    for place in readers_of(kind)[name]:
        choose(place, True)
    check(another_value(fields[name], name))
    choose(choice, False)
    check(settings[name])
    with pytest.raises(ValueError, match=f"^{name} is set, and "):
        check(another_value(fields[name], name))


def values_of(kind: type[Config], choice: str) -> tuple[Any, ...]:
    """Values of a choice: its default first; of text and properties one that is set, and none."""
    field = kind.model_fields.get(choice)
    if field is None:
        return ("something", None)
    default = field.get_default(call_default_factory=True)
    return (default, *(typing.get_args(field.annotation) if is_literal(field) else ("something", None)))


def is_literal(field: FieldInfo) -> bool:
    return typing.get_origin(field.annotation) is Literal


def another_value(field: FieldInfo, name: str) -> Any:
    """A value of the field's type that is not its default."""
    default = field.get_default(call_default_factory=True)
    for value in candidates(field.annotation, field, name):
        if value != default:
            return value
    raise AssertionError(f"no other value for {name}: {field.annotation}")


def candidates(annotation: Any, field: FieldInfo, name: str) -> Iterator[Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if name in MADE_UP:
        yield MADE_UP[name]
    elif origin is Literal:
        yield from arguments
    elif origin in (types.UnionType, typing.Union, typing.Annotated):
        for part in arguments:
            yield from candidates(part, field, name)
    elif annotation is bool:
        yield from (True, False)
    elif annotation in (int, float):
        yield from numbers(field)
    elif annotation is str:
        yield "another"
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation.model_construct(**dict.fromkeys(annotation.model_fields, "another"))
    elif origin is not None:
        yield {"another": 1} if "apping" in str(origin) or origin is dict else ("another",)


def numbers(field: FieldInfo) -> Iterator[float]:
    low = max([item.ge for item in field.metadata if isinstance(item, Ge)] + [-1e9])
    low = max([item.gt for item in field.metadata if isinstance(item, Gt)] + [low])
    high = min([item.le for item in field.metadata if isinstance(item, Le)] + [1e9])
    high = min([item.lt for item in field.metadata if isinstance(item, Lt)] + [high])
    yield from (value for value in (0.25, 0.5, 1, 2, 3, 300, 301) if low < value < high)


def test_the_remedy_of_an_unread_setting_is_accepted() -> None:
    """A base file sets it, a child the choice: the child cannot leave it out."""
    with pytest.raises(ValidationError, match=r"where a file that is extended sets it") as caught:
        DPOConfig(loss_type="ipo", label_smoothing=0.1)
    assert "write `label_smoothing: 0.0`" in str(caught.value)
    assert DPOConfig(loss_type="ipo", label_smoothing=0.0)
    with pytest.raises(ValidationError, match=r"write `hub_private: true`"):
        DPOConfig(hub_private=False)
