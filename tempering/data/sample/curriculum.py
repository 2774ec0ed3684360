"""Rows from easy to hard: a full sort, stages shuffled inside, or a pacing function.

Stages follow Bengio et al. 2009. Pacing is the competence of Platanios et al. 2019 (linear, and its
square-root form), here as an order in which each row comes once: at position i of n the next row is drawn
at random from the rows not yet used among the easiest c(i/n) n. That is a Fisher-Yates shuffle whose
reach grows, so it takes one pass. Rows of unknown difficulty (NaN) come last. At its peak, beside the 8
bytes of its difficulty, a row takes 16 bytes in a full sort, 40 in stages and 56 with pacing.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from tempering.config import Config, Readers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Difficulty = NDArray[np.floating] | Sequence[float | None]


class CurriculumConfig(Config):
    """What makes a row hard, and how the order goes from easy to hard."""

    read_by: ClassVar[Mapping[str, Readers]] = {
        "start": {"pacing": ("linear", "root")},
        "until": {"pacing": ("linear", "root")},
    }

    by: Literal["length", "loss", "column"] = Field(
        default="length",
        description="difficulty: tokens of a row, its mean loss under `model`, or its value in `column`",
    )
    column: str | None = Field(default=None, description="by: column: the numeric column, such as score")
    model: str | None = Field(
        default=None, description="by: loss: stage, artifact id or folder of the model that is asked"
    )
    descending: bool = Field(default=False, description="true: the hardest rows first")
    stages: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="cut the sorted rows into so many equal stages, shuffled inside; 0: off",
    )
    pacing: Literal["none", "linear", "root"] = Field(
        default="none", description="how the share of rows to draw from grows; none: a full sort, or stages"
    )
    start: float = Field(
        default=0.1, gt=0, le=1, description="pacing: share of the easiest rows that is open at the beginning"
    )
    until: float = Field(
        default=0.5, gt=0, le=1, description="pacing: share of the sample after which all rows are open"
    )

    @model_validator(mode="after")
    def _nothing_contradicts(self) -> Self:
        for name, by in (("column", "column"), ("model", "loss")):
            if self.by == by and getattr(self, name) is None:
                raise ValueError(f"by: {by} needs `{name}`")
            if self.by != by and getattr(self, name) is not None:
                raise ValueError(f"{name} is a setting of by: {by}, not of by: {self.by}")
        if self.stages == 1:
            raise ValueError("stages is 1, which shuffles all rows together: set 2 or more, or 0 for none")
        if self.stages and self.pacing != "none":
            raise ValueError("stages and pacing are two ways to do it: set one of them")
        return self


def order(difficulty: "Difficulty", config: CurriculumConfig, seed: int) -> "NDArray[np.int64]":
    """(N,) row numbers in the order of training: a permutation.

    Args:
        difficulty: (N,) one number a row; NaN or None where it is unknown: such rows come last.
        config: stages, pacing, direction.
        seed: decides the order inside of stages, of draws and of equally hard rows.
    """
    import numpy as np

    known = np.asarray(difficulty, dtype=np.float64)
    count = len(known)
    unknown = int(np.isnan(known).sum())
    noise = _noise(count, seed)
    # NaN sorts last whatever its sign. Equally hard rows come in a random order, not in that of the files.
    found = np.lexsort((noise, -known if config.descending else known))
    if config.stages:
        stage = np.arange(count - unknown) * config.stages // max(count - unknown, 1)
        found[: count - unknown] = found[np.lexsort((noise[found[: count - unknown]], stage))]
    elif config.pacing != "none":
        _draw(found[: count - unknown], noise, config)
    return found.astype(np.int64, copy=False)


def open_share(done: "NDArray[np.float64]", config: CurriculumConfig) -> "NDArray[np.float64]":
    """Share of the easiest rows to draw from after the share `done` of the sample: the competence."""
    import numpy as np

    grown = np.minimum(done / config.until, 1)
    if config.pacing == "root":
        competence: NDArray[np.float64] = np.sqrt(config.start**2 + (1 - config.start**2) * grown)
        return competence
    return config.start + (1 - config.start) * grown


def unknown_rows(difficulty: "Difficulty") -> int:
    """How many rows have no difficulty and therefore come last."""
    import numpy as np

    return int(np.isnan(np.asarray(difficulty, dtype=np.float64)).sum())


def _draw(rows: "NDArray[np.int64]", noise: "NDArray[np.uint64]", config: CurriculumConfig) -> None:
    """Reorder sorted `rows` in place: position i swaps with one between itself and what is open."""
    import numpy as np

    count = len(rows)
    here = np.arange(count)
    reach = np.ceil(open_share(here / max(count, 1), config) * count - 1e-9).astype(np.int64)
    reach -= here
    np.maximum(reach, 1, out=reach)
    # The upper 32 random bits, scaled: without the bias of a remainder, and without its division.
    half = np.uint64(32)
    places = here + (((noise[:count] >> half) * reach.view(np.uint64)) >> half).view(np.int64)
    drawn = rows.data  # a memoryview gives plain integers: four times as fast as numpy's scalars
    for one, other in enumerate(places.data):
        drawn[one], drawn[other] = drawn[other], drawn[one]


def _noise(count: int, seed: int) -> "NDArray[np.uint64]":
    """(N,) random bits from seed and row number alone (SplitMix64, Steele et al. 2014).

    The same in every version of every library, which numpy's generators do not promise.
    """
    import numpy as np

    start = int.from_bytes(hashlib.blake2b(f"curriculum/{seed}".encode(), digest_size=8).digest(), "big")
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(start)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
