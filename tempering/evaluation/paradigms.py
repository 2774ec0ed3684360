"""Means over paradigms, as BabyLM's tools average: every paradigm counts the same, however many rows it has.

Entity tracking has three splits of several paradigms each (`regular_0_ops`, `move_contents_3_ops`): there the
mean is over the splits, and in a split over its paradigms (`process_results` of `sentence_zero_shot.run`).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings

_SPLIT = re.compile(r"(.+)_\d+_ops")


def paradigms_of(rows: Sequence[dict[str, Any]]) -> list[str] | None:
    """The paradigm of each row; None where they have none."""
    names = [row.get("paradigm") for row in rows]
    return [str(name) for name in names] if rows and all(names) else None


def add_accuracy(
    findings: "Findings",
    values: Sequence[float | None],
    paradigms: Sequence[str] | None,
    baseline: Sequence[float] | None = None,
) -> None:
    """The accuracy over rows and, where there are paradigms, that of each and the mean over them.

    Args:
        baseline: what guessing gives on each row.
    """
    findings.add("accuracy", values, baseline, parts=paradigms)
    if paradigms is not None:
        weights = macro_weights(values, paradigms)
        findings.add("macro_accuracy", values, baseline, weights, kept=False, share=True)


def macro_weights(values: Sequence[float | None], paradigms: Sequence[str]) -> list[float]:
    """What each row counts in the mean over paradigms; rows without a value count nothing."""
    rows = Counter(name for name, value in zip(paradigms, values, strict=True) if value is not None)
    splits: dict[str, set[str]] = defaultdict(set)
    for name in rows:
        match = _SPLIT.fullmatch(name)
        splits[match[1] if match else ""].add(name)
    shares = {
        name: 1 / (len(splits) * len(names) * rows[name]) for names in splits.values() for name in names
    }
    return [0.0 if value is None else shares[name] for name, value in zip(paradigms, values, strict=True)]
