"""An index of rows by bands of their MinHash signatures: locality-sensitive hashing in flat arrays.

Two rows are candidates if at least one band, a run of `width` minima, is equal (Leskovec, Rajaraman,
Ullman: Mining of Massive Datasets, 3.4). Signatures and chained buckets take 710 to 840 bytes per row at
128 permutations. datasketch's MinHashLSH with the same bands finds the same rows at the same speed with
5,700 bytes per row plus the signature (512), mostly a Python set per band and row.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Signature = NDArray[np.uint32]

FOUND_AT_THRESHOLD = 0.95
"""Probability that a pair exactly at the threshold becomes a candidate; nearer pairs have a higher one."""
LONGEST_WALK = 256
"""Latest rows of a bucket that are searched: boilerplate must not make the search quadratic."""

_NONE = np.uint32(0xFFFFFFFF)
_FIRST_BUCKETS = 1024


def band_width(threshold: float, permutations: int) -> int:
    """The widest bands (fewest bytes and candidates) that find a pair at the threshold often enough."""
    for width in range(permutations // 2, 1, -1):
        missed = (1 - threshold**width) ** (permutations // width)
        if missed <= 1 - FOUND_AT_THRESHOLD:
            return width
    return 1


class BandIndex:
    """Signatures in the order of their rows, with a search for those that share a band.

    Args:
        permutations: length of a signature.
        width: minima in a band.
        columns: signatures per row, one per column; rows are searched by the signature of their union.
    """

    def __init__(self, permutations: int, width: int, columns: int) -> None:
        self._bands, self._width = permutations // width, width
        self._count = 0
        self._signatures = np.empty((0, columns, permutations), np.uint32)
        self._next = np.empty((0, self._bands), np.uint32)  # the row before in the same bucket
        self._heads = np.full((self._bands, _FIRST_BUCKETS), _NONE)  # the last row of each bucket
        self._numbers = np.arange(self._bands)
        self._factors = np.cumprod(np.full(width, 0x9E3779B97F4A7C15, np.uint64))

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return self._signatures.nbytes + self._next.nbytes + self._heads.nbytes

    def candidates(self, signature: Signature) -> NDArray[np.int64]:
        """Numbers of the rows that may share a band with `signature`, ascending."""
        rows = self._heads[self._numbers, self._buckets(signature[None])[0]]
        bands, chunks = self._numbers, []
        for _ in range(LONGEST_WALK):
            occupied = rows != _NONE
            rows, bands = rows[occupied], bands[occupied]
            if not len(rows):
                break
            chunks.append(rows)
            rows = self._next[rows, bands]
        return np.unique(np.concatenate(chunks)).astype(np.int64) if chunks else np.empty(0, np.int64)

    def similarity(self, rows: NDArray[np.int64], signatures: Any) -> NDArray[np.float64]:
        """(R,) estimated Jaccard similarity of `rows` to `signatures` (K, P), of the least similar column."""
        shares: NDArray[np.float64] = (self._signatures[rows] == signatures).mean(axis=2).min(axis=1)
        return shares

    def add(self, signatures: Any) -> None:
        """Store a row with its columns' `signatures` (K, P) under that of their union."""
        if self._count == self._heads.shape[1]:
            self._widen()
        if self._count == len(self._signatures):
            rows = max(1024, len(self._signatures) * 5 // 4)
            # In place: no second copy in memory.
            self._signatures.resize((rows, *self._signatures.shape[1:]), refcheck=False)
            self._next.resize((rows, self._bands), refcheck=False)
        self._signatures[self._count] = signatures
        self._link(self._count, self._buckets(signatures.min(axis=0)[None])[0])
        self._count += 1

    def _link(self, row: int, buckets: NDArray[np.int64]) -> None:
        self._next[row] = self._heads[self._numbers, buckets]
        self._heads[self._numbers, buckets] = row

    def _widen(self) -> None:
        self._heads = np.full((self._bands, 2 * self._heads.shape[1]), _NONE)
        for start in range(0, self._count, 4096):
            block = self._signatures[start : min(start + 4096, self._count)].min(axis=1)
            for row, buckets in enumerate(self._buckets(block), start):
                self._link(row, buckets)

    def _buckets(self, signatures: Signature) -> NDArray[np.int64]:
        """(R, bands) bucket of each band."""
        bands = signatures[:, : self._bands * self._width].reshape(-1, self._bands, self._width)
        sums = (bands.astype(np.uint64) * self._factors).sum(axis=2, dtype=np.uint64)
        bits = np.uint64(64 - (self._heads.shape[1].bit_length() - 1))
        buckets: NDArray[np.int64] = ((sums * self._factors[0]) >> bits).astype(np.int64)
        return buckets
