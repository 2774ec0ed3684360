"""The sections of a pipeline that are stages: their names, their kinds, and what is wrong with them.

A stage's section has the name of a kind, or says `kind:`. The name is for people, for the run's record and
for other sections; what the stage makes depends on its kind and settings alone.
"""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError, ValidatorFunctionWrapHandler
from pydantic_core import InitErrorDetails, PydanticCustomError

from tempering.artifacts.stage import section_kinds, stages
from tempering.config import Config, StageConfig
from tempering.printable import shown_name, visible

Tree = dict[str, Any]
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
"""Valid names of stages."""
MOST_LETTERS = 100
"""Of every other name: it becomes part of a folder's."""


def kind_of(name: str, section: Any) -> str:
    """The kind that a section asks for, whether it exists or not."""
    if isinstance(section, StageConfig):
        return section.kind or name
    kind = section.get("kind") if isinstance(section, Mapping) else None
    return name if kind is None else str(kind)


def check_sections(tree: Tree, fields: Collection[str]) -> list[str]:
    """The names of the sections of `tree` that are stages; `fields` are the other ones.

    Raises:
        ValidationError: one line per section that is neither, with the nearest name.
    """
    # Fixed sections cannot be stages; all others must be.
    fixed = [name for name in fields if name in tree]
    names = [name for name in tree if name not in fixed]
    models = tree.get("models")
    models = list(models) if isinstance(models, Mapping) else []
    problems = {name: _misplaced(name, tree[name]) for name in fixed}
    problems |= {name: _problem(name, tree[name], [*fields, *section_kinds()]) for name in names}
    for name in models:
        if name in names or name in section_kinds() or name == "merge":
            problems["models"] = f"{name} is the name of a stage; fix: give the model another name"
    for place, name in _other_names(tree):
        problems[place] = problems.get(place) or misnamed(name)
    errors = [_line(name, problem) for name, problem in problems.items() if problem]
    if errors:
        raise ValidationError.from_exception_data("pipeline", errors)
    return names


def _other_names(tree: Tree) -> Iterator[tuple[str, Any]]:
    """The names that are not of stages, each with its place."""
    if "name" in tree:
        yield "name", tree["name"]
    evaluate = tree.get("evaluate")
    benchmarks = evaluate.get("benchmarks") if isinstance(evaluate, Mapping) else None
    sections = {key: tree.get(key) for key in ("datasets", "models", "samples")}
    for section, names in {**sections, "evaluate.benchmarks": benchmarks}.items():
        for name in names if isinstance(names, Mapping) else ():
            yield f"{section}.{shown_name(str(name))}", name


def misnamed(name: Any) -> str:
    """What is wrong with the name of a pipeline, a data set, a model, ...; "" if nothing."""
    if not isinstance(name, str):
        return f"the name is {name!r}; expected a string; fix: quote it"
    if len(name) > MOST_LETTERS:
        return f"the name has {len(name)} letters; expected at most {MOST_LETTERS}"
    if visible(name) != name or not any(letter.isalnum() for letter in name):
        return f"the name is {name!r}; expected letters and digits, and nothing that cannot be seen"
    return ""


def _misplaced(name: str, section: Any) -> str:
    """What is wrong with a fixed section, which cannot be a stage; "" if nothing."""
    kind = kind_of("", section)
    if kind in section_kinds():
        return f"this section is not a stage; fix: give the {kind} stage another name"
    return ""


def _problem(name: Any, section: Any, keys: Iterable[str]) -> str:
    """What is wrong with a section that should be a stage; "" if nothing."""
    kinds = section_kinds()
    if isinstance(section, StageConfig):
        return ""
    if not isinstance(name, str):
        return "a section's name is a string; fix: quote it"
    # Without a kind it is most likely a misspelt key.
    says_kind = isinstance(section, Mapping) and section.get("kind") is not None
    if name not in kinds and not says_kind:
        near = difflib.get_close_matches(name, list(keys), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"a stage says `kind:`, {_one_of(kinds)}"
        return f"unknown key; {hint}"
    if not isinstance(section, Mapping):
        return f"found {section!r}; expected the settings of a stage"
    # The kind must exist, and the name must not be that of another kind.
    kind = kind_of(name, section)
    if kind not in kinds:
        near = difflib.get_close_matches(kind, list(kinds), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected {_one_of(kinds)}"
        return f"there is no kind of stage {kind!r}; {hint}"
    # Nor may its artifacts lie among others of the store.
    folder = next((other for other in stages() if name.startswith(f"{other}-") and other not in kinds), "")
    if folder:
        return f"artifacts of {folder}[...] lie under such names; fix: give the stage another name"
    if name == "runs":
        return "the store keeps its records of runs under this name; fix: give the stage another name"
    if name in stages() and name != kind:
        return f"{name} is a kind of stage, but this stage is of kind {kind}; fix: give it another name"
    if not NAME.fullmatch(name):
        return "a stage's name has up to 64 letters, digits, `_` and `-`, a letter first"
    return ""


def _one_of(kinds: Iterable[str]) -> str:
    return f"one of {', '.join(kinds)}"


def _line(name: str, problem: str) -> InitErrorDetails:
    error = PydanticCustomError("section", "{problem}", {"problem": problem})
    return InitErrorDetails(type=error, loc=(str(name),), input=None)


def section_classes(tree: Tree) -> dict[str, type[Config]]:
    """Section -> its config class, where its kind exists; error messages list its settings."""
    kinds = section_kinds()
    stage_kinds = {name: kinds.get(kind_of(name, section)) for name, section in tree.items()}
    return {name: kind.config_class for name, kind in stage_kinds.items() if kind is not None}


def stage_config(section: Any, _: ValidatorFunctionWrapHandler) -> StageConfig:
    """A section as the config class of its kind."""
    kind = section_kinds()[kind_of("", section)]
    config = section if isinstance(section, StageConfig) else kind.config_class.model_validate(section)
    assert isinstance(config, StageConfig)
    return config


def with_kind(name: str, section: Any) -> Any:
    """The section with its `kind` written out."""
    if isinstance(section, StageConfig):
        return section.model_copy(update={"kind": kind_of(name, section)})
    return {**section, "kind": kind_of(name, section)}
