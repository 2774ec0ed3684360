"""`temper data doctor CONFIG|PATH`: would training on this data mean anything?

A YAML file is a pipeline, anything else is data. Exit code 0: fine, warnings allowed; 1: training on it
would be meaningless; 2: it cannot be read, or a mistake on the command line.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.cli.command import add_command
from tempering.errors import UserError

if TYPE_CHECKING:
    from flows.cli.doctor_options import Wish
    from tempering.doctor.dataset import Progress

_ROWS = 10_000
_MAX_LENGTH = 1024


def add_parser(subparsers: Any) -> None:
    """Add `data` and its subcommand; it sets `command` (see `add_command`)."""
    from flows.cli.main import DEFAULT_CONFIG

    text = "look at data before anything is trained on it"
    commands = subparsers.add_parser("data", help=text, description=text).add_subparsers(
        metavar="COMMAND", required=True, title="commands"
    )
    text = "examine data sets and samples"
    parser = add_command(commands, "doctor", doctor, text, description=__doc__)
    parser.add_argument(
        "words", nargs="*", metavar="CONFIG|PATH key=value",
        help=f"a pipeline (default: {DEFAULT_CONFIG}) and overrides; or a file or folder of data and "
        "settings of its builder, such as header=false",
    )  # fmt: skip
    option = parser.add_argument
    option("--rows", type=_whole, default=_ROWS, metavar="N",
           help=f"rows to look at of each data set (default {_ROWS:,}; 0: all)")  # fmt: skip
    option("--tokenizer", metavar="NAME",
           help="folder, Hub name or artifact id (default: the pipeline's, or one of the rows)")  # fmt: skip
    option("--dataset", metavar="NAME", action="append", default=[],
           help="CONFIG: only this data set, and samples of it alone (may be repeated)")  # fmt: skip
    option("--kind", metavar="NAME", help="PATH: the builder (default: told by the columns)")
    option("--column", metavar="NAME=PLACE", action="append", default=[],
           help="PATH: what the builder calls NAME is PLACE in the file (may be repeated)")  # fmt: skip
    option("--max-length", type=_length, metavar="N",
           help=f"PATH: longest row in tokens (default {_MAX_LENGTH:,})")  # fmt: skip


def doctor(args: argparse.Namespace) -> int:
    """Examine, print, and say by the exit code how it is.

    Raises:
        UserError: a path that is not there, a set that fits no schema, a wrong option.
    """
    from flows.cli.output import print_json, stdout_to_stderr
    from flows.process.workers import prepare_environment

    wish = _wish(args)
    prepare_environment()
    from flows.cli.doctor import examine_path, examine_pipeline

    with stdout_to_stderr(args.json), _progress() as progress:
        done = (examine_pipeline if wish.is_config else examine_path)(wish, progress)
    if args.json:
        print_json(done.to_json())
    else:
        from flows.cli.doctor_view import print_examination

        print_examination(done)
    return done.code


def _wish(args: argparse.Namespace) -> "Wish":
    from flows.cli.doctor_options import Wish
    from flows.store_choice import given_store

    target, overrides = _target(args.config, args.overrides)
    wish = Wish(
        target, args.rows or None, args.tokenizer, args.kind or "auto", _columns(args.column),
        args.max_length or _MAX_LENGTH, tuple(overrides), tuple(args.dataset), given_store(args),
    )  # fmt: skip
    if wish.is_config:
        given = {"--kind": args.kind, "--column": args.column, "--max-length": args.max_length}
        _refuse(given, "a file or folder of data; a pipeline says it in its YAML")
    else:
        _refuse({"--dataset": args.dataset}, "a pipeline, a YAML file")
    return wish


def _target(config: str, overrides: Sequence[str]) -> tuple[str, list[str]]:
    """What to examine; a path may hold an equals sign (`lang=en/part.parquet`)."""
    path = next((word for word in overrides if Path(word).exists()), None)
    if path is None:
        return config, list(overrides)
    return path, [word for word in overrides if word != path]


def _columns(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in given:
        name, sign, place = word.partition("=")
        if not (name and sign and place):
            raise UserError(f"--column {word}", expected="NAME=PLACE, such as --column text=body")
        found[name] = place
    return found


def _refuse(options: Mapping[str, Any], meant_for: str) -> None:
    given = next((name for name, value in options.items() if value), None)
    if given is not None:
        raise UserError(f"{given} is meant for {meant_for}", fix="leave it out, or examine the other")


@contextlib.contextmanager
def _progress() -> Iterator["Progress"]:
    """A line on stderr that says what is being done, on a terminal alone."""
    if not sys.stderr.isatty():
        yield lambda what, done: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text("reading")) as status:
        yield lambda what, done: status.update(Text(f"{what}: {done:,} rows"))


def _whole(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative; 0 means all rows")
    return value


def _length(text: str) -> int:
    value = int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"{value} is less than 2 tokens")
    return value
