"""From the rows of a data set to its two parts, train and eval, with every rejection counted.

A row is held out by a stable hash of what identifies it (its prompt, its text, its context), so
that adding rows moves none, copies of a row stand on one side, and a prompt of the eval part is
never trained on.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tempering.data.builders import build
from tempering.data.builders.base import BuilderConfig
from tempering.data.rows import GROUP_COLUMNS, Rejected, Row, RowType, Values, texts
from tempering.errors import DataError

PARTS = ("train", "eval")


@dataclass
class Parts:
    """A normalised data set in memory."""

    row_type: RowType
    train: list[Values] = field(default_factory=list)
    eval: list[Values] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def summary(self) -> list[Values]:
        """One row a part: rows and characters of running text; and one for what was rejected."""
        rows: list[Values] = []
        for part in PARTS:
            values = getattr(self, part)
            characters = sum(len(text) for row in values for text in texts(self.row_type, row))
            rows.append({"part": part, "rows": len(values), "characters": characters})
        dropped = [item for item in self.rejected if not item.kept]
        rows.append({"part": "rejected", "rows": len(dropped), "characters": 0})
        return rows


def build_parts(config: BuilderConfig) -> Parts:
    """Read, check and split a data set.

    Raises:
        DataError: when a file is missing, no row is left, or more rows than
            `max_rejected_fraction` were rejected (the first ten are shown).
    """
    parts = Parts(config.row_type)
    for item in build(config):
        if isinstance(item, Row):
            held_out = is_held_out(config.row_type, item, config.eval_fraction, config.seed)
            (parts.eval if held_out else parts.train).append(item.values)
        else:
            parts.rejected.append(item)
    dropped = [item for item in parts.rejected if not item.kept]
    total = len(parts.train) + len(parts.eval) + len(dropped)
    if len(dropped) > config.max_rejected_fraction * total:
        raise _too_many(config, dropped, total)
    if not parts.train and not parts.eval:
        raise DataError(
            f"the data set of kind {config.kind} holds no rows", fix="check `path` and its contents"
        )
    return parts


def is_held_out(row_type: RowType, row: Row, fraction: float, seed: int) -> bool:
    """Whether a row belongs to the eval part: its hash, as a number in [0, 1), is below `fraction`."""
    group = row.group or [row.values[name] for name in GROUP_COLUMNS[row_type]]
    canonical = json.dumps([seed, group], ensure_ascii=False, sort_keys=True)
    digest = hashlib.sha256(canonical.encode("utf-8")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56 < fraction  # 56 bits are exact in a float


def count_reasons(rejected: Iterable[Rejected]) -> Counter[str]:
    """Rejections by reason, most frequent first when listed."""
    return Counter(item.reason for item in rejected)


def _too_many(config: BuilderConfig, dropped: list[Rejected], total: int) -> DataError:
    lines = [f"    {item.file}:{item.line}: {item.reason}: {item.excerpt[:60]}" for item in dropped[:10]]
    reasons = ", ".join(f"{count} x {reason}" for reason, count in count_reasons(dropped).most_common(5))
    return DataError(
        f"{len(dropped)} of {total} rows were rejected ({reasons}). The first:\n" + "\n".join(lines),
        expected=f"at most {config.max_rejected_fraction:.2%} (max_rejected_fraction)",
        fix="correct these rows, choose another `kind`, or raise max_rejected_fraction",
    )
