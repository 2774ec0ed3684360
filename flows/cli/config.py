"""`temper config [SECTION]`: which settings there are, with type, default, bounds and meaning.

Read off the classes (see `config_sections`), so it can't lag behind the code. docs/reference.md is what
`--markdown` prints.
"""

import argparse
from collections.abc import Iterable
from typing import Any

from flows.cli.config_sections import Section, Setting, find, summary, type_and_bound

_EXAMPLES = """\
examples:
  temper config                        the sections of a pipeline
  temper config ppo                    all settings of ppo
  temper config datasets               the kinds of data set
  temper config datasets.squad         the settings of one of them
  temper config ppo.reward.rule        a section inside another
  temper config ppo.learning_rate      one setting
"""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    text = "list the settings of a pipeline's section, with type, default and meaning"
    parser = commands.add_parser(
        "config",
        help=text,
        description=text,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("section", nargs="?", metavar="SECTION", help="such as ppo or datasets.squad")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON document on stdout")
    form.add_argument("--markdown", action="store_true", help="all settings as one page (docs/reference.md)")
    parser.set_defaults(command=config)


def config(args: argparse.Namespace) -> int:
    """The command."""
    from flows.cli.output import print_json
    from flows.config import PipelineConfig

    if args.markdown:
        from flows.cli.config_markdown import reference

        print(reference(PipelineConfig), end="")
        return 0
    if args.section is None:
        section = Section("", summary(PipelineConfig), (PipelineConfig,))
    else:
        place = find(PipelineConfig, args.section)
        if isinstance(place, Setting):
            print_json(setting_row(place)) if args.json else _print_setting(args.section, place)
            return 0
        section = place
    print_json(section_row(section)) if args.json else _print_section(section)
    return 0


def section_row(section: Section) -> dict[str, Any]:
    """A section as JSON: what it is for, its kinds, its settings."""
    return {
        "section": section.path,
        "description": section.description,
        "kinds": {kind: summary(member) for kind, member in section.members.items()},
        "settings": [setting_row(setting) for setting in section.settings],
    }


def setting_row(setting: Setting) -> dict[str, Any]:
    """A setting as JSON; `hashed` says whether it is part of the fingerprint."""
    return {
        "name": setting.name,
        "type": setting.kind,
        "bound": setting.bound or None,
        "default": None if setting.required else setting.default,
        "required": setting.required,
        "hashed": not setting.runtime,
        "section": bool(setting.classes),
        "description": setting.description,
    }


def _print_section(section: Section) -> None:
    """The sections or kinds inside it, then its settings."""
    from flows.cli.output import console as make_console

    console = make_console(pipe_width=160)
    console.print(": ".join(filter(None, [section.path, section.description])), soft_wrap=True)
    if section.members:
        console.print(f"\nkinds (temper config {section.path}.KIND lists the settings of one):")
        console.print(_table([(kind, summary(member)) for kind, member in section.members.items()]))
        console.print("\nsettings of every kind:" if section.settings else "")
    if section.settings:
        console.print(_table(_rows(section.settings), "setting", "type", "default", "meaning"))
    if any(setting.classes for setting in section.settings):
        path = f"{section.path}." if section.path else ""
        console.print(f"\n… has settings of its own: temper config {path}NAME")
    if any(setting.runtime for setting in section.settings):
        console.print("* is recorded, but is not part of the fingerprint")


def _print_setting(path: str, setting: Setting) -> None:
    print(f"{path}: {setting.description}")
    print(f"type     {type_and_bound(setting)}")
    print(f"default  {setting.default}")
    if setting.runtime:
        print("runtime  recorded, but not part of the fingerprint")


def _rows(settings: Iterable[Setting]) -> list[tuple[str, ...]]:
    return [
        (
            f"{setting.name}{' …' if setting.classes else ''}{' *' if setting.runtime else ''}",
            type_and_bound(setting),
            setting.default,
            setting.description,
        )
        for setting in settings
    ]


def _table(rows: Iterable[tuple[str, ...]], *columns: str) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False, show_header=bool(columns))
    rows = list(rows)
    for column in columns or [""] * len(rows[0]):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
