"""`temper data doctor CONFIG|PATH`: would training on this data mean anything?

A YAML file is a pipeline, anything else is data. Exit code 0: fine, warnings allowed; 1: training on it
would be meaningless; 2: it cannot be read, or a mistake on the command line.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.cli.command import add_command
from flows.cli.doctor_options import MAX_LENGTH, Wish
from tempering.errors import UserError

if TYPE_CHECKING:
    from tempering.doctor.dataset import Progress

_ROWS = 10_000


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
        "words",
        nargs="*",
        metavar="CONFIG|PATH key=value",
        help=f"a pipeline (default: {DEFAULT_CONFIG}) and overrides; or a file or folder of data and "
        "settings of its builder, such as header=false",
    )
    rows = f"rows to look at of each data set (default {_ROWS:,}; 0: all)"
    parser.add_argument("--rows", type=_at_least(0), default=_ROWS, metavar="N", help=rows)
    text = "folder, Hub name or artifact id (default: the pipeline's, or one of the rows)"
    parser.add_argument("--tokenizer", metavar="NAME", help=text)
    text = "CONFIG: only this data set, and samples of it alone (may be repeated)"
    parser.add_argument("--dataset", metavar="NAME", action="append", default=[], help=text)
    text = "PATH: the builder (default: told by the columns)"
    parser.add_argument("--kind", metavar="NAME", help=text)
    text = "PATH: what the builder calls NAME is PLACE in the file (may be repeated)"
    parser.add_argument("--column", metavar="NAME=PLACE", action="append", default=[], help=text)
    text = f"PATH: longest row in tokens (default {MAX_LENGTH:,})"
    parser.add_argument("--max-length", type=_at_least(2), metavar="N", help=text)


def doctor(args: argparse.Namespace) -> int:
    """Examine, print, and say by the exit code how it is.

    Raises:
        UserError: a path that is not there, a set that fits no schema, a wrong option.
    """
    from flows.cli.output import print_json, stdout_to_stderr
    from flows.process.workers import prepare_environment

    wish, is_pipeline = _wish(args)
    prepare_environment()
    from flows.cli.doctor import examine_path, examine_pipeline

    examine = examine_pipeline if is_pipeline else examine_path
    with stdout_to_stderr(args.json), _progress() as progress:
        done = examine(wish, progress)
    if args.json:
        print_json(done.to_json())
    else:
        from flows.cli.doctor_view import print_examination

        print_examination(done)
    return done.code


def _wish(args: argparse.Namespace) -> tuple[Wish, bool]:
    """What is asked for, and whether it is of a pipeline."""
    from flows.store_choice import given_store

    # A folder of data may be called `lang=en`; Path raises for a long word.
    paths = [word for word in args.overrides if os.path.exists(word)]  # noqa: PTH110
    target = paths[0] if paths else args.config
    is_pipeline = Path(target).suffix.lower() in (".yaml", ".yml")
    if is_pipeline:
        options = {"--kind": args.kind, "--column": args.column, "--max-length": args.max_length}
        _refuse(options, "a file or folder of data; a pipeline says it in its YAML")
    else:
        _refuse({"--dataset": args.dataset}, "a pipeline, a YAML file")
    wish = Wish(
        target,
        overrides=[word for word in args.overrides if word != target],
        store=given_store(args) or "",
        rows=args.rows or None,
        tokenizer=args.tokenizer,
        kind=args.kind or "auto",
        columns=dict(map(_column, args.column)),
        max_length=args.max_length or MAX_LENGTH,
        datasets=args.dataset,
    )
    return wish, is_pipeline


def _refuse(options: Mapping[str, Any], meant_for: str) -> None:
    for name, value in options.items():
        if value:
            raise UserError(f"{name} is meant for {meant_for}", fix="leave it out, or examine the other")


def _column(word: str) -> tuple[str, str]:
    name, sign, place = word.partition("=")
    if not (name and sign and place):
        raise UserError(f"--column {word}", expected="NAME=PLACE, such as --column text=body")
    return name, place


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


def _at_least(least: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        value = int(text)
        if value < least:
            rule = f"less than {least} tokens" if least else "negative; 0 means all rows"
            raise argparse.ArgumentTypeError(f"{value} is {rule}")
        return value

    return integer
