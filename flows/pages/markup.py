"""Foreign text and numbers as Prefect's pages may show them: nothing of it is Markdown or HTML there."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flows.display import Row
from tempering.credentials import masked
from tempering.printable import as_markdown, clock, count, number, visible

_MOST = 500  # characters of a text in a table


def artifact_key(*names: str) -> str:
    """The key of a Prefect artifact: lowercase letters, digits and dashes, and never empty."""
    parts = []
    for name in names:
        part = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        if not name.isascii():  # what is left may be another's, or nothing
            part = f"{part}-{hashlib.sha256(name.encode()).hexdigest()[:6]}".strip("-")
        parts.append(part)
    return "-".join(filter(None, parts))


def plain(text: str, most: int = _MOST) -> str:
    """`text` as one line of Markdown that reads as `text` does, without keys, cut where it is long."""
    text = masked(text)
    cut = text if len(text) <= most else f"{text[:most]}…"
    return as_markdown(visible(cut.strip()))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of texts."""
    lines = [columns, ["---"] * len(columns), *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def progress_line(row: Row, live: Mapping[str, float]) -> str:
    """`ppo 42% · 126.0K of 300.0K tokens · score 0.71 · kl 0.03 · 5.2K tokens/s · 0:31 left`."""
    share = f" {percent(row):.0f}%" if row.total else ""
    amount = f"{count(row.done)} of {count(row.total)}" if row.total else count(row.done)
    parts = [f"{row.name}{share}", f"{amount} {row.unit}"]
    parts += [f"{name} {number(value)}" for name, value in live.items()]
    rate, left = row.rate(), row.left()
    parts += [f"{count(round(rate)) if rate >= 10 else number(rate, '.2g')} {row.unit}/s"] if rate else []
    parts += [f"{clock(left)} left"] if left is not None else []
    return " · ".join(parts)


def percent(row: Row) -> float:
    """How much of a stage is done, as a page can show it: 3.3, not 3.3333333333333335."""
    return round(min(100.0, 100 * row.done / row.total), 1) if row.total else 0.0


def metric_rows(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """Metrics as rows of a table."""
    return [{"metric": name, "value": number(value)} for name, value in metrics.items()]
