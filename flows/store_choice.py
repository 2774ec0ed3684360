"""Which artifact store a command works on: `--store`, TEMPER_STORE, the config, or ./artifacts.

Every command imports this, so it is light: no config class is loaded for `--help`.
"""

import argparse
import os

DEFAULT_STORE = "artifacts"


def given_store(args: argparse.Namespace) -> str | None:
    """The store that the command line or TEMPER_STORE names, if any; it goes before the config's."""
    return getattr(args, "store", None) or os.environ.get("TEMPER_STORE") or None
