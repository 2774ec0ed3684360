"""Rows by the bands of their MinHash signatures: locality-sensitive hashing in flat arrays.

Two rows are candidates when at least one band, a run of `width` minima, is equal (Leskovec, Rajaraman,
Ullman: Mining of Massive Datasets, 3.4). Signatures, chained buckets and nothing else: 710 to 840 bytes
a row at 128 permutations. datasketch's MinHashLSH with the same bands finds the same rows at the same
speed with 5,700 bytes and the signature (512), most of it a Python set for each band of each row.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Signature = NDArray[np.uint32]

FOUND_AT_THRESHOLD = 0.95
"""Probability that a pair exactly at the threshold becomes a candidate; nearer ones are surer."""
LONGEST_WALK = 256
"""Latest rows of a bucket that are looked at: boilerplate must not make the search quadratic."""

_NONE = np.uint32(0xFFFFFFFF)
_FIRST_BUCKETS = 1024


def band_width(threshold: float, permutations: int) -> int:
    """The widest bands (fewest bytes and candidates) that find a pair at the threshold surely enough."""
    for width in range(permutations // 2, 1, -1):
        missed = (1 - threshold**width) ** (permutations // width)
        if missed <= 1 - FOUND_AT_THRESHOLD:
            return width
    return 1


class BandIndex:
    """Signatures in the order they were added, and the search for those that share a band.

    Args:
        permutations: length of a signature.
        width: minima in a band.
        kept: signatures that are stored with each row beside the one that is searched by (its columns').
    """

    def __init__(self, permutations: int, width: int, kept: int) -> None:
        self._bands, self._width = permutations // width, width
        self._count = 0
        self._kept = np.empty((0, kept, permutations), np.uint32)
        self._next = np.empty((0, self._bands), np.uint32)  # the row before in the same bucket
        self._heads = np.full((self._bands, _FIRST_BUCKETS), _NONE)  # the last row of each bucket
        self._numbers = np.arange(self._bands)
        self._factors = np.cumprod(np.full(width, 0x9E3779B97F4A7C15, np.uint64))

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self._kept.nbytes + self._next.nbytes + self._heads.nbytes

    def candidates(self, signature: Signature) -> NDArray[np.int64]:
        """Numbers of the rows that may share a band with `signature`, ascending."""
        rows = self._heads[self._numbers, self._buckets(signature[None])[0]]
        bands, found = self._numbers, []
        for _ in range(LONGEST_WALK):
            there = rows != _NONE
            rows, bands = rows[there], bands[there]
            if not len(rows):
                break
            found.append(rows)
            rows = self._next[rows, bands]
        return np.unique(np.concatenate(found)).astype(np.int64) if found else np.empty(0, np.int64)

    def similarity(self, rows: NDArray[np.int64], kept: Any) -> NDArray[np.float64]:
        """(R,) estimated Jaccard similarity of `rows` to `kept` (K, P), of the least similar column."""
        shares: NDArray[np.float64] = (self._kept[rows] == kept).mean(axis=2).min(axis=1)
        return shares

    def add(self, kept: Any) -> None:
        """Store a row under the union of its columns' signatures `kept` (K, P)."""
        if self._count == self._heads.shape[1]:
            self._widen()
        if self._count == len(self._kept):
            rows = max(1024, len(self._kept) * 5 // 4)
            self._kept.resize((rows, *self._kept.shape[1:]), refcheck=False)  # in place: no second copy
            self._next.resize((rows, self._bands), refcheck=False)
        self._kept[self._count] = kept
        self._link(self._count, self._buckets(kept.min(axis=0)[None])[0])
        self._count += 1

    def _link(self, row: int, buckets: NDArray[np.int64]) -> None:
        self._next[row] = self._heads[self._numbers, buckets]
        self._heads[self._numbers, buckets] = row

    def _widen(self) -> None:
        self._heads = np.full((self._bands, 2 * self._heads.shape[1]), _NONE)
        for start in range(0, self._count, 4096):
            block = self._kept[start : min(start + 4096, self._count)].min(axis=1)
            for row, buckets in enumerate(self._buckets(block), start):
                self._link(row, buckets)

    def _buckets(self, signatures: Signature) -> NDArray[np.int64]:
        """(R, bands) bucket of each band."""
        cut = signatures[:, : self._bands * self._width].reshape(-1, self._bands, self._width)
        sums = (cut.astype(np.uint64) * self._factors).sum(axis=2, dtype=np.uint64)
        bits = np.uint64(64 - (self._heads.shape[1].bit_length() - 1))
        mixed: NDArray[np.int64] = ((sums * self._factors[0]) >> bits).astype(np.int64)
        return mixed
