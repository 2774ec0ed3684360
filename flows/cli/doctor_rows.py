"""Example rows on a terminal: in colour where there is colour, between brackets where there is none.

Text comes from foreign files, so all of it goes through `visible`.
"""

import re
from typing import TYPE_CHECKING

from tempering.data.rows import RowType
from tempering.doctor.dataset import Dataset
from tempering.doctor.sample import Sample
from tempering.printable import visible

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from tempering.doctor.examples import Example, Piece

_COLOURS = {"context": "dim", "trained": "green", "rejected": "red"}
_JUDGED = (
    RowType.MINIMAL_PAIR,
    RowType.MULTIPLE_CHOICE,
    RowType.CANDIDATES,
    RowType.QUESTION,
    RowType.ANSWER_SET,
)
_NEWLINE = re.compile(r"\r?\n|\r")
_NEWLINES = re.compile(r"(?:\r?\n|\r)+")


def legend(examined: Dataset | Sample, *, coloured: bool) -> str:
    """What the colours or brackets of the examples mean."""
    mark = "green" if coloured else "between ⟦ and ⟧"
    if isinstance(examined, Dataset):
        judged = examined.row_type in _JUDGED
        text = f"what is {'right' if judged else 'learnt or judged'} is {mark}"
    elif examined.row_type is RowType.PROMPT:
        text = "prompts: what follows them will be sampled"
    elif examined.row_type is RowType.PREFERENCE:
        text = f"what is preferred is {mark}{', the other side red' if coloured else ''}"
    else:
        text = f"what is trained on is {mark}"
    return f"examples ({text}; ⏎ is a line end)"


def example_row(number: int, example: "Example", *, coloured: bool) -> "RenderableType":
    """One row, its pieces below each other behind its number."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=2, no_wrap=True)
    labels = max(len(piece.label) for piece in example)
    if labels:
        grid.add_column(width=labels, no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for place, piece in enumerate(example):
        label = [visible(piece.label)] if labels else []
        grid.add_row("" if place else str(number), *label, _piece(piece, coloured))
    return grid


def _piece(piece: "Piece", coloured: bool) -> "Text":
    """Segments in colour; without it, brackets around what is trained on."""
    from rich.text import Text

    text, inside = Text(), False
    for segment in piece.segments:
        trained = segment.role == "trained"
        if not coloured and trained != inside:
            text.append("⟦" if trained else "⟧")
        inside = trained
        style = f"{'bold ' if segment.special else ''}{_COLOURS[segment.role]}"
        text.append(_shown(segment.text), style if coloured else "")
        if segment.left_out:
            text.append(f" … {segment.left_out:,} characters … ", "dim italic" if coloured else "")
    if inside and not coloured:
        text.append("⟧")
    return text


def _shown(text: str) -> str:
    """Line ends are marked, so that those at the end of a text can be seen; several share a line."""
    marked = _NEWLINES.sub(lambda ends: "⏎" * len(_NEWLINE.findall(ends[0])) + "\n", text)
    return visible(marked, lines=True)
