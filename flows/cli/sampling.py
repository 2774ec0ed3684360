"""Options that decide how a model is sampled, and the numbers they take."""

import argparse
from collections.abc import Callable

_MOST = 1_000_000  # of any count on the command line
_MOST_SEED = 2**32 - 1


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """The options of both commands that decide how a model is sampled."""
    add = parser.add_argument
    # How long, and from which tokens.
    add(
        "--max-new-tokens",
        metavar="N",
        type=positive,
        default=0,
        help="longest answer (default 128, or half of a model with fewer than 256 positions)",
    )
    add("--temperature", metavar="T", type=between(0, 100), default=1.0, help="0 is greedy (default 1)")
    add("--greedy", action="store_true", help="always the likeliest token")
    add("--top-k", metavar="K", type=positive, help="sample only from the K likeliest tokens")
    add(
        "--top-p",
        metavar="P",
        type=between(0, 1, above=True),
        help="sample only from the nucleus of this mass",
    )
    add(
        "--min-p",
        metavar="P",
        type=between(0, 1),
        help="drop tokens less likely than this share of the likeliest",
    )
    add(
        "--repetition-penalty",
        metavar="X",
        type=between(0, 100, above=True),
        default=1.0,
        help="above 1: divide the logits of tokens already in the text (default 1)",
    )
    # Where an answer ends, and what makes it the same again.
    add("--stop", metavar="TEXT", action="append", default=[], help="ends an answer; may be repeated")
    add("--seed", metavar="N", type=seed, default=0, help="of the sampling (default 0)")
    add("--format", choices=("chat", "plain"), help="how prompts are written (default: as it was trained)")


def positive(text: str) -> int:
    """A whole number of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {_MOST}")
    return value


def seed(text: str) -> int:
    """What every library takes as a seed."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if not 0 <= value <= _MOST_SEED:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {_MOST_SEED}")
    return value


def between(low: float, high: float, *, above: bool = False) -> Callable[[str], float]:
    """A number in [low, high], or (low, high]."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high or (above and value == low):
            raise argparse.ArgumentTypeError(f"{text!r} is not between {low:g} and {high:g}")
        return value

    return number
