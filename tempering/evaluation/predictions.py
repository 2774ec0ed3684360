"""What a model answered, row by row, in the format of the BabyLM pipeline.

There: `{benchmark: {subtask: {"predictions": [{"id", "pred"}]}}}`, where a subtask is a paradigm, `pred` is
the text of the best candidate, and `id` is the subtask with a number. WUG adds `prob`; reading times have the
surprisals of a word (`pred`) and of the one before it (`prev_pred`), and a number as `id`.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempering.artifacts.atomic import whole_file
from tempering.evaluation.conventions import winners

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings

Row = dict[str, Any]


def keep_predictions(
    findings: "Findings",
    rows: Sequence[Row],
    scores: Sequence[Sequence[float]],
    texts: Sequence[Sequence[str]],
    probabilities: Sequence[float | None] | None = None,
) -> None:
    """The best candidate of each row into the table `predictions`; "" where the row could not be scored.

    Args:
        texts: the candidates as the official tool writes them.
        probabilities: of the first candidate, where they are part of the format.
    """
    counts: Counter[str] = Counter()
    for number, (row, line, candidates) in enumerate(zip(rows, scores, texts, strict=True)):
        subtask, places = str(row.get("paradigm") or findings.name), winners(line)
        prediction: Row = {
            "subtask": subtask,
            "id": f"{subtask}_{counts[subtask]}",
            "pred": candidates[places[0]] if places else "",
        }
        if probabilities is not None:
            prediction["prob"] = probabilities[number]
        findings.keep("predictions", [prediction])
        counts[subtask] += 1


def write_predictions(rows: Iterable[Row], path: Path) -> int:
    """Write rows of the table `predictions` of one model as the official pipeline reads them.

    Returns:
        How many predictions the file holds.
    """
    found: dict[str, dict[str, dict[str, list[Row]]]] = {}
    count = 0
    for row in rows:
        subtasks = found.setdefault(row["benchmark"], {})
        subtasks.setdefault(row["subtask"], {"predictions": []})["predictions"].append(_official(row))
        count += 1
    with whole_file(path) as draft:
        draft.write_text(json.dumps(found), "utf-8")
    return count


def _official(row: Row) -> Row:
    """A prediction with the keys and types of the official format."""
    if "surprisal" in row and row.get("pred") is None:
        before = _number(row.get("previous_surprisal"))
        return {"id": int(row["id"]), "pred": _number(row["surprisal"]), "prev_pred": before}
    probability = _number(row.get("prob"))
    return {"id": row["id"], "pred": row["pred"], **({} if probability is None else {"prob": probability})}


def _number(value: Any) -> float | None:
    """A number; None for what a table has where there is none."""
    return None if value is None or math.isnan(value) else float(value)
