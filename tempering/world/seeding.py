"""One random generator per row: a data set of any size is a prefix of every larger one.

Each generator is seeded with the SHA-256 of the run's seed, the kind of row and the row's
index. Python's own `hash` is salted per process, so it would not do.
"""

import hashlib
import random


def stable_hash(text: str) -> int:
    """64 bits of the SHA-256 of `text`: the same on every machine, in every process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def rng_for(seed: int, kind: str, index: int) -> random.Random:
    """The generator of row `index` of the rows called `kind` under `seed`."""
    return random.Random(stable_hash(f"{seed}:{kind}:{index}"))
