"""Near duplicates: MinHash over word shingles (Broder 1997).

Two rows are near if *every* text column is: two questions about one long context, or two answers to one
long prompt, are different rows, although most of their words agree. Labels must agree as well. Rows are
searched as a whole, since their similarity is never below that of their least similar column (shingles of
different columns count as different). Signatures come from datasketch.
"""

import zlib
from array import array
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tempering.data.quality.bands import BandIndex, Signature, band_width
from tempering.data.quality.config import QualityConfig
from tempering.data.quality.ngrams import window_hashes, word_hashes, words
from tempering.data.quality.rule import Fault, Places, Rule
from tempering.data.rows import COLUMNS, Row, RowType

_SEED = 1
_LABELS = ("boolean", "integer")


class NearDuplicates(Rule):
    """Keeps the first of near rows; rows without any word always stay."""

    name = "near_duplicate"

    def __init__(self, config: QualityConfig, row_type: RowType) -> None:
        from datasketch import MinHash

        kinds = COLUMNS[row_type]
        self._texts = tuple(name for name, kind in kinds.items() if _is_text(kind))
        self._labels = tuple(name for name, kind in kinds.items() if kind in _LABELS)
        self._threshold, self._shingle = config.near_threshold, config.near_shingle
        self._minhash = MinHash(config.near_permutations, seed=_SEED, hashfunc=int, scheme="affine32")
        width = band_width(config.near_threshold, config.near_permutations)
        self._index = BandIndex(config.near_permutations, width, len(self._texts))
        self._places, self._rows = Places(), array("Q")
        self._signatures: NDArray[np.uint32] | None = None

    def fault(self, row: Row) -> Fault | None:
        """A near row; the detail names the earlier row and the estimated similarity."""
        self._signatures = self._signatures_of(row.values)
        if self._signatures is None:
            return None
        rows = self._index.candidates(self._signatures.min(axis=0))
        if not len(rows):
            return None
        similar = self._index.similarity(rows, self._signatures)
        near = np.flatnonzero(similar >= self._threshold)
        if not len(near):
            return None
        first = self._places.text(self._rows[rows[near[0]]])
        return Fault("near duplicate", f"of {first}, similarity {similar[near[0]]:.2f}")

    def remember(self, row: Row) -> None:
        """Keep its signatures, bands and place."""
        if self._signatures is not None:
            self._index.add(self._signatures)
            self._rows.append(self._places.pack(row))

    def state_bytes(self) -> int:
        """Signatures, bands and places."""
        return self._index.nbytes + len(self._rows) * self._rows.itemsize

    def _signatures_of(self, values: Mapping[str, Any]) -> NDArray[np.uint32] | None:
        """(columns, permutations); None if no column has a word."""
        label = zlib.crc32(repr([int(values[name]) for name in self._labels]).encode())
        columns = [
            window_hashes(word_hashes(words(_text(values[name]))), self._shingle, 32) for name in self._texts
        ]
        if not any(map(len, columns)):
            return None
        return np.stack([self._signature(column, number, label) for number, column in enumerate(columns)])

    def _signature(self, shingles: NDArray[np.uint64], number: int, label: int) -> Signature:
        salt = np.uint64((number * 0x9E3779B1 ^ label) & 0xFFFFFFFF)
        self._minhash.clear()
        self._minhash.update_batch((shingles ^ salt).tolist())
        signature: Signature = self._minhash.digest()
        return signature


def _is_text(kind: str) -> bool:
    return kind in ("prompt", "completion", "messages", "strings") or kind.endswith("string")


def _text(value: Any) -> str:
    """The running text of one column."""
    if isinstance(value, str):
        return value
    return "\n".join(part if isinstance(part, str) else part["content"] for part in value)
