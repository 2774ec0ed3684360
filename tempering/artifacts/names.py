"""Names on disk: token counts, stage folders, artifact folders.

Everything is safe in a shell, in a URL and on every file system: letters, digits, `.`, `_`, `-`.
Times in names are UTC, so that names sort by age wherever they were made.
"""

import re
from datetime import UTC, datetime

CHECKPOINT = re.compile(r"checkpoint_(\d+[KM]?)_tokens")


def format_tokens(count: int) -> str:
    """`400`, `100K`, `1M`: whole millions and thousands are shortened, all else is exact."""
    if count < 0:
        raise ValueError(f"a token count cannot be negative: {count}")
    if count and count % 1_000_000 == 0:
        return f"{count // 1_000_000}M"
    if count and count % 1000 == 0:
        return f"{count // 1000}K"
    return str(count)


def parse_tokens(text: str) -> int:
    """The count that `format_tokens` wrote."""
    factor = {"K": 1000, "M": 1_000_000}.get(text[-1:], 1)
    return int(text.rstrip("KM")) * factor


def checkpoint_name(tokens: int) -> str:
    """The folder of the checkpoint for a threshold of `tokens`."""
    return f"checkpoint_{format_tokens(tokens)}_tokens"


def checkpoint_tokens(name: str) -> int | None:
    """The threshold in a checkpoint folder's name; None for any other name (`.tmp-...`)."""
    match = CHECKPOINT.fullmatch(name)
    return parse_tokens(match[1]) if match else None


def slug(text: str) -> str:
    """`text` with runs of unsafe characters as one dash; single underscores stay."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", text)
    return re.sub(r"_{2,}", "_", safe).strip("-._") or "unnamed"


def stage_folder(node: str) -> str:
    """`evaluate[ppo]` -> `evaluate-ppo`."""
    return slug(node)


def artifact_folder(name: str, tokens: int | None, created: datetime, fingerprint: str) -> str:
    """`<name>_<tokens>_tokens__<date>__<time>__<fingerprint8>`; tokens only where there is a budget."""
    budget = "" if tokens is None else f"_{format_tokens(tokens)}_tokens"
    moment = created.astimezone(UTC).strftime("%Y-%m-%d__%H-%M-%S")
    return f"{slug(name)}{budget}__{moment}__{fingerprint[:8]}"


def fingerprint8(folder: str) -> str | None:
    """The fingerprint's first eight digits in an artifact folder's name."""
    match = re.search(r"__([0-9a-f]{8})(-\d+)?$", folder)
    return match[1] if match else None
