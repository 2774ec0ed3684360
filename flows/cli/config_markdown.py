"""docs/reference.md: every setting of a pipeline on one page.

A section is named by its path, the argument of `temper config`. What several sections share (a base class, a
union, a nested section) is listed where it is first met, and linked from the others.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from flows.cli.config_sections import (
    Section,
    Setting,
    either,
    sections_of,
    settings_of,
    stage_classes,
    summary,
    type_and_bound,
)

_HEAD = """\
# Reference: every setting

Made by `temper config --markdown` from the config classes; a test compares the two. `temper config SECTION`
prints one section.

A heading is a path in the YAML; where `kind:` chooses the settings, the path continues with the kind. Names
of your own (of data sets, samples, models, benchmarks) are left out: `datasets.squad` describes every data
set with `kind: squad`. Settings that several sections share are listed once, under the name of their class;
what a section or a class named earlier lists itself comes first. *Runtime* settings are recorded, but are
not part of the fingerprint ([concepts.md](concepts.md)).
"""


@dataclass(frozen=True)
class _Entry:
    """One heading of the page."""

    title: str
    description: str
    classes: tuple[type[BaseModel], ...]

    @property
    def level(self) -> str:
        return "##" if re.fullmatch(r"[a-z_]+|Top level", self.title) else "###"


def reference(root: type[BaseModel]) -> str:
    """The page for a pipeline class, in Markdown."""
    entries = list(_entries(root))
    return "\n".join([_HEAD, *(line for entry in entries for line in _lines(entry, entries))])


def slug(title: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _entries(root: type[BaseModel]) -> Iterator[_Entry]:
    """What the page lists, in the order of the YAML, each class and union once."""
    listed: list[frozenset[type[BaseModel]]] = []
    for section in [Section("Top level", summary(root), (root,)), *sections_of(root)]:
        classes = frozenset(section.classes)
        if any(classes <= earlier for earlier in listed if len(earlier) == 1 or len(classes) > 1):
            continue
        listed.append(classes)
        yield _Entry(section.path, section.description, section.classes)
        for base in _bases(section.classes[0]) if len(classes) == 1 else ():
            if frozenset([base]) not in listed:
                listed.append(frozenset([base]))
                yield _Entry(base.__name__, "", (base,))


def _lines(entry: _Entry, entries: list[_Entry]) -> Iterator[str]:
    """The heading, what it is for, and its table."""
    yield f"{entry.level} {entry.title}\n"
    if len(entry.classes) > 1:
        yield f"{_sentence(entry.description)} One of these, by `kind`:\n"
        members = Section(entry.title, "", entry.classes).members.items()
        kinds = [(f"[`{kind}`](#{_anchor((cls,), entries)})", summary(cls)) for kind, cls in members]
        yield _table(("kind", "what it is"), kinds)
        return
    cls = entry.classes[0]
    yield (
        " ".join(dict.fromkeys(_sentence(text) for text in (entry.description, summary(cls)) if text)) + "\n"
    )
    settings = _own(cls)
    if settings:
        rows = [_row(setting, entries) for setting in settings]
        yield _table(("setting", "type", "default", "meaning"), rows)
    bases = [f"[{base.__name__}](#{_anchor((base,), entries)})" for base in _bases(cls)]
    if bases:
        yield f"{'And the other' if settings else 'The'} settings of {either(bases, 'and')}.\n"


def _row(setting: Setting, entries: list[_Entry]) -> tuple[str, ...]:
    words = type_and_bound(setting)
    if setting.classes:
        words = re.sub(r"mapping( with kind)?", rf"[\g<0>](#{_anchor(setting.classes, entries)})", words)
    meaning = f"{setting.description} *(runtime)*" if setting.runtime else setting.description
    return f"`{setting.name}`", words, setting.default, meaning


def _anchor(classes: tuple[type[BaseModel], ...], entries: list[_Entry]) -> str:
    """Where these classes are listed: by themselves, or in a larger union."""
    exact = [entry for entry in entries if set(entry.classes) == set(classes)]
    larger = [entry for entry in entries if set(entry.classes) > set(classes)]
    return slug([*exact, *larger][0].title)


def _bases(cls: type[BaseModel]) -> list[type[BaseModel]]:
    """The classes whose settings it inherits, nearest first."""
    return [base for base in cls.__mro__[1:] if issubclass(base, BaseModel) and _own(base)]


def _own(cls: type[BaseModel]) -> list[Setting]:
    """The settings that the class itself declares."""
    names = {*vars(cls).get("__annotations__", {}), *stage_classes(cls)}
    return [setting for setting in settings_of(cls) if setting.name in names]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
