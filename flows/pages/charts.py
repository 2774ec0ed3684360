"""Training curves as Markdown with mermaid charts, which Prefect's pages draw; a table holds the last values.

Not image artifacts: they show a picture from a data URI too, and print all of that URI beneath it.
"""

from pathlib import Path
from typing import Any

from flows.pages.markup import table
from tempering.printable import number

_POINTS = 60  # of a curve: a chart of this width cannot show more
_ON_POLICY = {
    "score": "Score: mean per completion",
    "kl": "KL to the starting model: nats per completion",
    "entropy": "Entropy: nats per token",
    "completion_length": "Completion length: tokens",
}
_OTHERS = {"loss": "Loss", "accuracy": "Accuracy: chosen above rejected"}
_STYLE = """\
---
config:
  theme: base
  themeVariables:
    xyChart:
      backgroundColor: "#ffffff"
      plotColorPalette: "#2563eb"
  xyChart:
    width: 900
    height: 320
---"""


def curves(path: Path) -> str:
    """The curves of a stage's `training_stats.parquet`; "" where it holds none."""
    import pyarrow.parquet as pq

    names = pq.read_schema(path).names
    titles = _ON_POLICY if "score" in names else _OTHERS
    logged = [name for name in titles if name in names]
    if "tokens" not in names or not logged:
        return ""
    columns = pq.read_table(path, columns=["tokens", *logged])
    points = {name: _points(columns, name) for name in logged}
    charts = [_chart(titles[name], curve) for name, curve in points.items() if curve]
    ends = [(titles[name], number(curve[-1][1])) for name, curve in points.items() if curve]
    return "\n\n".join([*charts, table(["curve", "at the end"], ends)]) if charts else ""


def _points(columns: Any, name: str) -> list[tuple[float, float]]:
    """(tokens, value): means over as many equal parts of the run as a chart can show."""
    import numpy as np

    tokens = columns["tokens"].to_numpy().astype(float)
    values = columns[name].to_numpy().astype(float)
    valid = np.isfinite(tokens) & np.isfinite(values)
    tokens, values = tokens[valid], values[valid]
    count = min(_POINTS, len(np.unique(tokens)))
    if count == 0:
        return []
    # The points of such a chart stand at even distances: parts of as many tokens each, not of as many rows.
    edges = np.linspace(tokens.min(), tokens.max(), count + 1)
    parts = np.clip(np.searchsorted(edges, tokens, side="left") - 1, 0, count - 1)
    filled = np.unique(parts)
    middles = (edges[:-1] + edges[1:]) / 2
    means = [values[parts == part].mean() for part in filled]
    return list(zip(middles.tolist(), np.interp(middles, middles[filled], means).tolist(), strict=True))


def _chart(title: str, points: list[tuple[float, float]]) -> str:
    first, last = points[0][0], points[-1][0]
    unit, size = ("K", 1000) if last >= 10_000 else ("", 1)
    axis = f'"tokens{f" ({unit})" if unit else ""}" {first / size:.6g} --> {max(last, first + 1) / size:.6g}'
    line = ", ".join(f"{value:.6f}" for _, value in points)
    return f'```mermaid\n{_STYLE}\nxychart-beta\n  title "{title}"\n  x-axis {axis}\n  line [{line}]\n```'
