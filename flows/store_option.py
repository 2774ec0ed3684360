"""Which artifact store a command works on: `--store`, TEMPER_STORE, the config, or ./artifacts."""

import argparse
import os

DEFAULT_STORE = "artifacts"


def add_store(parser: argparse.ArgumentParser) -> None:
    """The option `--store`, the same for every command."""
    parser.add_argument(
        "--store",
        metavar="DIR",
        default=None,
        help="artifact store (default: $TEMPER_STORE, a pipeline's runtime.store, or ./artifacts)",
    )


def given_store(args: argparse.Namespace) -> str | None:
    """The store that the command line or TEMPER_STORE names, if any; it goes before the config's."""
    return getattr(args, "store", None) or os.environ.get("TEMPER_STORE") or None


def store_root(args: argparse.Namespace) -> str:
    """The store of a command that reads no config."""
    return given_store(args) or DEFAULT_STORE
