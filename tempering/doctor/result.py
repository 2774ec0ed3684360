"""What an examination came to: every data set and sample with its checks, and the verdict over all.

`to_json` holds everything that is printed, numbers and examples included, and nothing that JSON does
not know.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tempering.doctor.check import Check, Level, worst
from tempering.doctor.dataset import Dataset
from tempering.doctor.examples import Example
from tempering.doctor.sample import SampleFindings
from tempering.doctor.tokenizer import Chosen


@dataclass
class Examined:
    """A data set or a sample, its checks and its example rows."""

    found: Dataset | SampleFindings
    checks: list[Check] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether it could not be looked at at all."""
        return self.found.error is not None

    @property
    def level(self) -> Level:
        """The worst of its checks."""
        return worst(self.checks)


@dataclass
class Examination:
    """All that was examined.

    Args:
        title: the config or the path.
        most: rows looked at of each data set; None: all.
        chosen: the tokenizer; None where there was no text to train one on.
        remarks: what else a person should hear.
    """

    title: str
    most: int | None
    chosen: Chosen | None = None
    datasets: list[Examined] = field(default_factory=list)
    samples: list[Examined] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Examined]:
        yield from self.datasets
        yield from self.samples

    @property
    def level(self) -> Level:
        """The worst of all checks."""
        return max((one.level for one in self), default=Level.OK)

    @property
    def code(self) -> int:
        """0 fine, 1 training would be meaningless, 2 something could not be read or made."""
        if any(one.failed for one in self):
            return 2
        return 1 if self.level is Level.FATAL else 0

    @property
    def verdict(self) -> str:
        """In words: fine, warnings, meaningless, or unreadable."""
        if self.code:
            return "unreadable" if self.code == 2 else "meaningless"
        return "warnings" if self.level is Level.WARNING else "fine"

    def to_json(self) -> dict[str, Any]:
        """The whole of it as one document."""
        return {
            "examined": self.title,
            "verdict": self.verdict,
            "exit_code": self.code,
            "rows_limit": self.most,
            "tokenizer": None if self.chosen is None else _tokenizer(self.chosen),
            "remarks": self.remarks,
            "datasets": [_dataset(one) for one in self.datasets],
            "samples": [_sample(one) for one in self.samples],
        }


def _tokenizer(chosen: Chosen) -> dict[str, Any]:
    tokenizer = chosen.tokenizer
    return {
        "origin": chosen.origin,
        "approximate": chosen.approximate,
        "vocab_size": len(tokenizer),
        "eos_token": tokenizer.eos_token,
        "added": list(chosen.added),
    }


def _dataset(examined: Examined) -> dict[str, Any]:
    found = examined.found
    assert isinstance(found, Dataset)
    head = {"name": found.name, "used_for": sorted(found.uses), **_verdict(examined)}
    if found.error is not None or found.schema is None:
        return head
    schema, totals = found.schema, found.totals
    lengths = found.tokens.lengths.spread() if found.tokens else None
    return {
        **head,
        "kind": schema.kind,
        "recognised": schema.recognised,
        "row_type": str(schema.row_type),
        "columns": list(schema.columns),
        "files": [{"name": name, "bytes": size} for name, size in schema.files],
        "notices": found.notices,
        "rows": {
            "seen": found.seen,
            "all_seen": not found.more,
            **totals.rows,
            "rejected": totals.dropped.total(),
            "filtered": totals.filtered.total(),
            "changes": totals.changed.total(),
        },
        "tokens": None if lengths is None else lengths.to_json(),
        **_details(examined),
    }


def _sample(examined: Examined) -> dict[str, Any]:
    found = examined.found
    assert isinstance(found, SampleFindings)
    head = {"name": found.name, "datasets": sorted(found.config.datasets), **_verdict(examined)}
    if found.error is not None or found.row_type is None:
        return head
    lengths, completions = found.lengths.spread(), found.answers.completions.spread()
    return {
        **head,
        "row_type": str(found.row_type),
        "max_length": found.config.max_length,
        "token_limit": found.config.token_limit,
        "rows": {part: mix.rows for part, mix in found.mixes.items()},
        "tokens": None if lengths is None else lengths.to_json(),
        "trained_tokens": None if completions is None else completions.to_json(),
        "sources": [source.summary(part) for part, mix in found.mixes.items() for source in mix.sources],
        **_details(examined),
    }


def _verdict(examined: Examined) -> dict[str, Any]:
    if examined.found.error is not None:
        return {"level": "error", "error": str(examined.found.error)}
    return {"level": examined.level.name.lower()}


def _details(examined: Examined) -> dict[str, Any]:
    return {
        "checks": [check.to_json() for check in examined.checks],
        "examples": [[piece.to_json() for piece in example] for example in examined.examples],
    }
