"""Reward functions as a user would write them."""

from typing import Any


def brevity(prompts: list[Any], completions: list[str], **_: Any) -> list[float]:
    """Shorter is better."""
    return [-float(len(text)) for text in completions]


def undecided(prompts: list[Any], completions: list[str], **_: Any) -> list[float | None]:
    """Scores every second completion."""
    return [None if index % 2 else 1.0 for index, _ in enumerate(completions)]
