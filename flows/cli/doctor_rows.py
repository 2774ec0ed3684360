"""Example rows on a terminal: in colour where there is colour, between brackets where there is none.

Text comes from foreign files, so all of it goes through `visible`.
"""

import re
from typing import TYPE_CHECKING

from tempering.data.rows import RowType
from tempering.doctor.dataset import Dataset
from tempering.doctor.sample import SampleFindings
from tempering.printable import visible

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from tempering.doctor.examples import Example, Piece, Segment

_COLOURS = {"context": "dim", "trained": "green", "rejected": "red"}
_NEWLINES = re.compile(r"\r?\n|\r")
_JUDGED = (RowType.MINIMAL_PAIR, RowType.MULTIPLE_CHOICE, RowType.QUESTION)


def example_text(number: int, example: "Example", *, coloured: bool) -> "RenderableType":
    """One row, its pieces below each other behind its number."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=2, no_wrap=True)
    labelled = any(piece.label for piece in example)
    if labelled:
        grid.add_column(width=max(len(piece.label) for piece in example), no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for at, piece in enumerate(example):
        label = [visible(piece.label)] if labelled else []
        grid.add_row(str(number) if at == 0 else "", *label, _piece(piece, coloured))
    return grid


def legend(found: "Dataset | SampleFindings", *, coloured: bool) -> str:
    """What the colours or brackets of the examples mean."""
    mark = "green" if coloured else "between ⟦ and ⟧"
    if isinstance(found, Dataset):
        wanted = "what is right" if found.row_type in _JUDGED else "what is learnt or judged"
        return f"examples ({wanted} is {mark}; ⏎ is a line end)"
    if found.row_type is RowType.PROMPT:
        return "examples (prompts: what follows them will be sampled; ⏎ is a line end)"
    if found.row_type is RowType.PREFERENCE:
        other = ", the other side red" if coloured else ""
        return f"examples (what is preferred is {mark}{other}; ⏎ is a line end)"
    return f"examples (what is trained on is {mark}; ⏎ is a line end)"


def _piece(piece: "Piece", coloured: bool) -> "Text":
    from rich.text import Text

    text, before = Text(), "context"
    for segment in piece.segments:
        if not coloured and (segment.role == "trained") != (before == "trained"):
            text.append("⟦" if segment.role == "trained" else "⟧")
        before = segment.role
        text.append(_shown(segment), _style(segment) if coloured else "")
        if segment.left_out:
            text.append(f" … {segment.left_out:,} characters … ", "dim italic" if coloured else "")
    if not coloured and before == "trained":
        text.append("⟧")
    return text


def _style(segment: "Segment") -> str:
    return f"bold {_COLOURS[segment.role]}" if segment.special else _COLOURS[segment.role]


def _shown(segment: "Segment") -> str:
    """Line ends are marked, so that those at the end of a text can be seen; several share a line."""
    marked = re.sub(
        r"(?:\r?\n|\r)+", lambda found: "⏎" * len(_NEWLINES.findall(found[0])) + "\n", segment.text
    )
    return visible(marked, lines=True)
