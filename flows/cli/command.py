"""A subcommand: its parser, with the options that all of them share, and the store that it works on."""

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flows.store_choice import DEFAULT_STORE, given_store

if TYPE_CHECKING:
    from tempering.artifacts.store import Store

Command = Callable[[argparse.Namespace], int]
"""From the parsed arguments to the exit code."""


def add_command(
    commands: Any,
    name: str,
    command: Command,
    text: str,
    *,
    description: str | None = None,
    json: bool = True,
) -> argparse.ArgumentParser:
    """Add a subcommand with `--store` and, if it prints facts, `--json`; `args.command` is `command`.

    Args:
        text: one line, for the list of commands.
        description: for its own help, with the line breaks it has (default: `text`).
    """
    # No abbreviations: a new option must not change what an old command line means.
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=description or text,
        formatter_class=argparse.RawDescriptionHelpFormatter if description else argparse.HelpFormatter,
        allow_abbrev=False,
    )
    # What every command takes.
    parser.add_argument(
        "--store",
        metavar="DIR",
        default=None,
        help="artifact store (default: $TEMPER_STORE, a pipeline's runtime.store, or ./artifacts)",
    )
    if json:
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.set_defaults(command=command)
    return parser


def open_store(args: argparse.Namespace, *, writable: bool = False) -> "Store":
    """The store of a command that reads no config."""
    from tempering.artifacts.store import Store

    return Store(given_store(args) or DEFAULT_STORE, writable=writable)
