"""The plan for people: stage, action, and why in words."""

from collections.abc import Iterable

from flows.cli.output import console
from flows.plan import PlanRow

_STYLES = {"cached": "blue", "run": "bold green", "resume": "bold magenta", "skipped": "dim"}


def print_plan(rows: Iterable[PlanRow]) -> None:
    """Print the plan on stdout."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    table.add_column("stage", no_wrap=True)
    table.add_column("action", no_wrap=True)
    table.add_column("why", overflow="fold")
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.action] = counts.get(row.action, 0) + 1
        action = Text(row.action, style=_STYLES.get(row.action, ""))
        table.add_row(Text(row.stage), action, Text("\n".join(row.in_words())))
    out = console()
    out.print(table)
    out.print(", ".join(f"{number} {action}" for action, number in counts.items()) or "nothing to do")
