"""Hashes of all windows of n words of a text, in numpy.

A word is hashed once (CRC-32, the same in every process and on every machine). A window's hash is the upper
half of a sum of its words' hashes times fixed random 64-bit numbers: multiply-shift hashing (Dietzfelbinger
1996), which is universal over windows. Two such sums give 64 bits.
"""

import hashlib
import re
import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

_NO_WORD = re.compile(r"[\W_]+")
_SPACED = bytes(code if code > 127 or chr(code).isalnum() else 32 for code in range(256))
_HALF = np.uint64(32)


def words(text: str) -> list[bytes]:
    """The words of `text`, runs of letters and digits, in lower case and UTF-8."""
    lowered = text.lower()
    if not lowered.isascii():
        lowered = _NO_WORD.sub(" ", lowered)
    return lowered.encode().translate(_SPACED).split()


def word_hashes(tokens: list[bytes]) -> Hashes:
    """(N,) one 32-bit hash per word."""
    return np.fromiter(map(zlib.crc32, tokens), np.uint64, len(tokens))


def window_hashes(hashes: Hashes, width: int, bits: int = 64) -> Hashes:
    """Hashes of every window of `width` words; of the whole text if it is shorter.

    Args:
        hashes: (N,) as `word_hashes` makes them.
        width: words in a window.
        bits: 32 or 64.

    Returns:
        (max(N - width + 1, 1),), or (0,) for a text without a word.
    """
    if not len(hashes):
        return hashes
    upper = _sums(hashes, width, 0) >> _HALF
    return upper if bits == 32 else (upper << _HALF) | (_sums(hashes, width, 1) >> _HALF)


def _sums(hashes: Hashes, width: int, stream: int) -> Hashes:
    factors = _factors(min(width, len(hashes)), stream)
    sums: Hashes = np.correlate(hashes, factors, mode="valid") + factors[0]  # integers modulo 2^64: exact
    return sums


@lru_cache(maxsize=64)
def _factors(width: int, stream: int) -> Hashes:
    digests = (
        hashlib.blake2b(f"{stream}/{width}/{n}".encode(), digest_size=8).digest() for n in range(width)
    )
    return np.array([int.from_bytes(digest, "big") for digest in digests], np.uint64)
