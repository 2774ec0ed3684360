"""The option `--store`, the same for every command."""

import argparse

from flows.store_choice import DEFAULT_STORE, given_store


def add_store(parser: argparse.ArgumentParser) -> None:
    """The option `--store`, the same for every command."""
    parser.add_argument(
        "--store",
        metavar="DIR",
        default=None,
        help="artifact store (default: $TEMPER_STORE, a pipeline's runtime.store, or ./artifacts)",
    )


def store_root(args: argparse.Namespace) -> str:
    """The store of a command that reads no config."""
    return given_store(args) or DEFAULT_STORE
