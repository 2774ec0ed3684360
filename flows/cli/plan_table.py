"""The plan for people: stage, action, and why in words."""

from collections.abc import Iterable, Mapping
from typing import Any

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
        reasons = in_words(row.why)
        if row.resume_from:
            reasons.append(f"resumes from {row.resume_from}")
        action = Text(row.action, style=_STYLES.get(row.action, ""))
        table.add_row(Text(row.stage), action, Text("\n".join(reasons)))
    out = console()
    out.print(table)
    out.print(", ".join(f"{number} {action}" for action, number in counts.items()) or "nothing to do")


def in_words(changes: Iterable[Mapping[str, Any]]) -> list[str]:
    """All reasons, one per line. Changed modules share one: a refactor changes dozens (`--json` has all)."""
    modules = [change["field"] for change in changes if change["kind"] == "code"]
    reasons = [explain(change) for change in changes if change["kind"] != "code"]
    if modules:
        more = f" and {len(modules) - 2} more modules" if len(modules) > 2 else ""
        reasons.append(f"note: its code has changed since: {', '.join(modules[:2])}{more}")
    return reasons


def explain(change: Mapping[str, Any]) -> str:
    """One reason in words: `learning_rate 0.0003 → 0.0001`."""
    kind, field, old, new = change["kind"], change["field"], change["old"], change["new"]
    if kind == "new":
        return "has not run yet" if old is None else f"its last artifact {old} is gone or is not comparable"
    if kind == "forced":
        return f"forced by {field}"
    if kind == "reused":
        return f"{new} is taken as it is, by {field}"
    if kind == "damaged":
        return f"{old} is damaged: {field}: {new}"
    if kind == "input":
        return f"input {field}: {_word(old, 'none')} → {_word(new, 'none')}"
    if kind == "version":
        return f"the stage's version {old} → {new}"
    return f"{field} {_word(old)} → {_word(new)}"


def _word(value: Any, absent: str = "null") -> str:
    return absent if value is None else str(value)
