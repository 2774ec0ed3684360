"""Every section and setting of a pipeline, read off the config classes.

Nothing here knows a setting by name: a section is a field whose type holds config classes, a union of them is
told apart by `kind`, and a path such as `ppo.reward.rule` names it in `temper config` and docs/reference.md.
Names of your own (of data sets, samples, benchmarks) are not part of a path.
"""

import dataclasses
import difflib
import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tempering.errors import ConfigError

_UNIONS = (types.UnionType, typing.Union)
_BOUNDS = {
    "ge": "≥ {}",
    "gt": "> {}",
    "le": "≤ {}",
    "lt": "< {}",
    "multiple_of": "a multiple of {}",
    "min_length": "length ≥ {}",
    "max_length": "length ≤ {}",
    "pattern": "like {}",
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """One field of a config class, in words."""

    name: str
    kind: str
    """Its type in words, such as `int or null`."""
    bound: str
    default: str
    description: str
    required: bool
    runtime: bool
    """Recorded, not part of the fingerprint."""
    classes: tuple[type[BaseModel], ...]
    """Config classes that its value is made of: it is a section too."""


@dataclasses.dataclass(frozen=True)
class Section:
    """A place in the YAML that holds one config class, or one of several that `kind` tells apart."""

    path: str
    description: str
    classes: tuple[type[BaseModel], ...]

    @property
    def members(self) -> dict[str, type[BaseModel]]:
        """The classes of a union by their `kind`; empty where there is one class without a choice."""
        if len(self.classes) == 1:
            return {}
        return {kind_of(cls): cls for cls in self.classes}

    @property
    def settings(self) -> list[Setting]:
        """The settings of its class; of a union those that all members have alike."""
        tables = [{setting.name: setting for setting in settings_of(cls)} for cls in self.classes]
        return [
            setting
            for name, setting in tables[0].items()
            if all(table.get(name) == setting for table in tables)
        ]


def settings_of(cls: type[BaseModel]) -> list[Setting]:
    """The settings of one class, its own before inherited ones; `kind` is how a union is told apart."""
    declared = [name for name in cls.model_fields if name in vars(cls).get("__annotations__", {})]
    names = [*declared, *(name for name in cls.model_fields if name not in declared)]
    settings = [setting_of(name, cls.model_fields[name]) for name in names if name != "kind"]
    return settings + [_stage(name, config) for name, config in stage_classes(cls).items()]


def stage_classes(cls: type[BaseModel]) -> Mapping[str, type[BaseModel]]:
    """The sections of a pipeline that are not fields: the kinds of stages."""
    classes: Mapping[str, type[BaseModel]] = getattr(cls, "stage_classes", dict)()
    return classes


def _stage(name: str, config: type[BaseModel]) -> Setting:
    meaning = f"a stage; under another name it says `kind: {name}`; null: off"
    return Setting(name, "mapping or null", "", "null", meaning, False, False, (config,))


def setting_of(name: str, field: FieldInfo) -> Setting:
    """One field in words."""
    extra = field.json_schema_extra
    return Setting(
        name=name,
        kind=type_words(field.annotation),
        bound=", ".join(_bounds(field)),
        default="required" if field.is_required() else value_words(_default(field)),
        description=field.description or "",
        required=field.is_required(),
        runtime=isinstance(extra, dict) and bool(extra.get("runtime")),
        classes=tuple(classes_in(field.annotation)),
    )


def sections_of(
    cls: type[BaseModel], path: str = "", inside: tuple[type[BaseModel], ...] = ()
) -> Iterator[Section]:
    """Every section below `cls`, each before the sections inside it."""
    for setting in settings_of(cls):
        if not setting.classes or set(setting.classes) & set(inside):
            continue
        section = Section(f"{path}{setting.name}", setting.description, setting.classes)
        yield section
        within = (*inside, *setting.classes)
        if not section.members:
            yield from sections_of(section.classes[0], f"{section.path}.", within)
        for kind, member in section.members.items():
            yield Section(f"{section.path}.{kind}", summary(member), (member,))
            yield from sections_of(member, f"{section.path}.{kind}.", within)


def find(root: type[BaseModel], path: str) -> Section | Setting:
    """The section or setting called `path`.

    Raises:
        ConfigError: there is none; with the nearest names.
    """
    sections = {section.path: section for section in sections_of(root)}
    if path in sections:
        return sections[path]
    places = {"": Section("", summary(root), (root,)), **sections}
    settings = {
        f"{place}.{setting.name}".lstrip("."): setting
        for place, section in places.items()
        for setting in section.settings
    }
    if path in settings:
        return settings[path]
    # `kind` tells the members of a union apart, and says what a stage with a name of its own is.
    above, _, last = path.rpartition(".")
    if last == "kind" and above in sections:
        section = sections[above]
        field = section.classes[0].model_fields.get("kind")
        return section if section.members or field is None else setting_of("kind", field)
    raise ConfigError(
        f"there is no section or setting {path!r}",
        expected=f"a section ({', '.join(name for name in sections if '.' not in name)}) or a path below one",
        fix=_hint(path, [*sections, *settings]),
    )


def _hint(path: str, names: list[str]) -> str:
    """What to write instead: a path spelt alike, without a name of your own, or with the same last word."""
    path = path.lower()
    parts = path.split(".")
    alike = difflib.get_close_matches(path, names, n=1, cutoff=0.85)
    without = [".".join(parts[:index] + parts[index + 1 :]) for index in range(1, len(parts))]
    same_end = [name for name in names if name.rpartition(".")[2] == parts[-1]]
    inside = [name for name in same_end if name.startswith(f"{parts[0]}.")]
    same_end = [*inside, *(name for name in same_end if name not in inside)]
    near = [*alike, *(name for name in without if name in names and not inside), *same_end]
    if near:
        return " or ".join(f"temper config {name}" for name in list(dict.fromkeys(near))[:3])
    return "temper config, without a path, lists the sections"


def classes_in(annotation: Any) -> list[type[BaseModel]]:
    """The config classes that a type is made of, in its order."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [cls for part in typing.get_args(annotation) for cls in classes_in(part)]


def kind_of(cls: type[BaseModel]) -> str:
    """What `kind:` says for a member of a union."""
    field = cls.model_fields.get("kind")
    return str(typing.get_args(field.annotation)[0]) if field is not None else cls.__name__


def summary(cls: type[BaseModel]) -> str:
    """The first paragraph of the class's own docstring."""
    text = vars(cls).get("__doc__") or ""
    return " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())


def type_and_bound(setting: Setting) -> str:
    """`float, ≥ 0, < 1`."""
    return ", ".join(filter(None, [setting.kind, setting.bound]))


def type_words(annotation: Any) -> str:
    """A type as YAML sees it: `int or null`, `fp32, bf16 or fp16`, `list of str`, `name → kind: ...`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    classes = classes_in(annotation)
    if origin is Literal or (origin in _UNIONS and len(classes) < 2):
        return either(list(_choices(annotation)))
    if origin is typing.Annotated:
        return type_words(arguments[0])
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"name → {type_words(arguments[1])}"
    if origin in (list, tuple):
        return f"list of {type_words(arguments[0])}"
    if classes:
        return "mapping" if len(classes) == 1 else "mapping with kind"
    name = getattr(annotation, "__name__", "any")
    return {"Path": "path", "bool": "true or false", "Any": "any"}.get(name, name)


def _choices(annotation: Any) -> Iterator[str]:
    """What a Literal or a union allows, null last."""
    parts = typing.get_args(annotation)
    for part in parts:
        if typing.get_origin(part) in (Literal, *_UNIONS):
            yield from _choices(part)
        elif part is not type(None):
            yield value_words(part) if typing.get_origin(annotation) is Literal else type_words(part)
    if type(None) in parts:
        yield "null"


def value_words(value: Any) -> str:
    """A default as YAML would write it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, BaseModel):
        return f"kind: {kind_of(type(value))}" if "kind" in type(value).model_fields else "its defaults"
    if isinstance(value, list | tuple):
        return f"[{', '.join(value_words(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {value_words(item)}' for key, item in value.items())}}}"
    return str(value) or '""'


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True)


def _bounds(field: FieldInfo) -> Iterator[str]:
    for item in field.metadata:
        for name, words in _BOUNDS.items():
            bound = getattr(item, name, None)
            if bound is not None:
                yield words.format(bound)


def either(words: list[str], conjunction: str = "or") -> str:
    """`a, b or c`."""
    return f"{', '.join(words[:-1])} {conjunction} {words[-1]}" if len(words) > 1 else words[0]
