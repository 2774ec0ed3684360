"""What the name of a data file says: its format, and its stem."""

from pathlib import PurePath
from typing import Literal

Format = Literal["auto", "jsonl", "json", "csv", "tsv", "parquet", "arrow", "text"]

SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".txt": "text",
    ".text": "text",
    # BabyLM names its files childes.train, childes.dev: these suffixes are splits as well.
    ".train": "text",
    ".dev": "text",
    ".valid": "text",
    ".test": "text",
}
PACKED_SUFFIXES = (".gz", ".zst")
KNOWN = f"{', '.join(SUFFIXES)} (and {' or '.join(PACKED_SUFFIXES)})"
"""All suffixes, for messages."""


def known_suffix(name: str) -> str:
    """The suffix that says the format (that of a packed file is left out); "" where there is none."""
    suffix = PurePath(_unpacked(name)).suffix.lower()
    return suffix if suffix in SUFFIXES else ""


def stem(name: str) -> str:
    """The name without the suffix that says the format; one that is a split as well stays."""
    plain, suffix = _unpacked(name), known_suffix(name)
    return plain if suffix in (".train", ".dev", ".valid", ".test") else plain[: len(plain) - len(suffix)]


def _unpacked(name: str) -> str:
    for packed in PACKED_SUFFIXES:
        if name.lower().endswith(packed):
            name = name[: -len(packed)]
    return name
