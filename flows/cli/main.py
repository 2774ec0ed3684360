"""The command line `temper`.

argparse and lazy imports: `temper plan` answers in under a second. With `--json` stdout is exactly
one JSON document. A mistake of the user is a message and exit code 2, a failed stage exit code 1.
"""

import argparse
import contextlib
import importlib
import os
import select
import sys
import time
from collections.abc import Sequence
from typing import Any, NoReturn

from flows.cli.command import Command, add_command
from flows.cli.output import print_json, stdout_to_stderr
from flows.stopping import stop_code, stoppable
from tempering import __version__
from tempering.credentials import masked
from tempering.errors import StageFailed, UserError
from tempering.printable import visible

DEFAULT_CONFIG = "configs/quickstart.yaml"
_COMMANDS = (
    "flows.cli.data",
    "flows.cli.artifacts",
    "flows.cli.evaluate",
    "flows.cli.report",
    "flows.cli.compare",
    "flows.cli.talk",
    "flows.cli.export",
    "flows.cli.config",
    "flows.cli.service",
    "flows.cli.deploy",
)
_EXAMPLES = """\
examples:
  temper run                                     the quickstart: raw text to an aligned model
  temper plan ppo.learning_rate=1e-4             what would run again, and why
  temper run configs/quickstart.yaml ppo.learning_rate=1e-4
  temper run --only sft                          one stage, from artifacts in the store
  temper data doctor my/rows.jsonl               would training on this mean anything?
  temper report --open                           the newest run's report in a browser
  temper chat ppo@latest                         talk to the newest PPO model

exit codes: 0 done, 1 a stage failed, 2 a mistake in the input, 3 a gate failed,
            130 or 143 stopped by Ctrl-C or SIGTERM; a stopped run resumes when it is run again
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `temper` with `arguments` (default: the process's) and return the exit code."""
    try:
        with stoppable():
            args = _parse(arguments)
            code: int = args.command(args)
            sys.stdout.flush()
            return code
    except UserError as error:
        return _complain(f"error: {error}", 2)
    except StageFailed as error:
        return _complain(f"failed: {error}", 1)
    except KeyboardInterrupt as stop:
        return stop_code(stop)
    except OSError as error:
        return _blocked(error)
    except RuntimeError as error:
        if "home directory" not in str(error):
            raise
        return _complain("error: a path begins with ~ and the name of a user whom nobody here knows", 2)


def _reader_gone() -> bool:
    """Whether nobody reads our stdout any more: other pipes break too, and that is no good end."""
    poll = select.poll()
    poll.register(1, select.POLLOUT)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _blocked(error: OSError) -> int:
    """The exit code where a file could not be read or written; what is no trouble of files is a bug."""
    if isinstance(error, BrokenPipeError) and _reader_gone():
        # The reader (`head`, `less`) has gone; the interpreter must not try to flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    from tempering.artifacts.atomic import file_trouble

    trouble = file_trouble(error)
    if trouble is None:
        raise error
    return _complain(f"error: {trouble}", 2)


def build_parser() -> argparse.ArgumentParser:
    """The parser with every subcommand; each sets `command` to a function of the parsed arguments."""
    parser = _Parser(
        prog="temper",
        description="From raw text to an aligned language model, with versioned artifacts and exact resume.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"temper {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", title="commands")
    _add_pipeline(commands, "run", _run, "run a pipeline; stages already in the store are reused")
    _add_pipeline(commands, "plan", _plan, "say which stages would run, and why")
    for module in _COMMANDS:
        _add_from(module, commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """argparse repeats what it does not know, which may be a key."""

    def error(self, message: str) -> NoReturn:
        super().error(visible(masked(message)))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = build_parser()
    args, leftovers = parser.parse_known_args(arguments)
    # argparse hands back positionals that follow an option: `run CONFIG --json key=value`.
    takes_more = hasattr(args, "words") or hasattr(args, "refs")
    unknown_words = [word for word in leftovers if word.startswith("-") or not takes_more]
    if unknown_words:
        parser.error(f"unrecognized arguments: {' '.join(unknown_words)}")
    if not hasattr(args, "command"):
        parser.print_help(sys.stderr)
        raise SystemExit(2)
    if hasattr(args, "refs"):
        args.refs = [*args.refs, *leftovers]
    if hasattr(args, "words"):
        _split_words(args, [*args.words, *leftovers])
    return args


def _split_words(args: argparse.Namespace, words: list[str]) -> None:
    configs = [word for word in words if is_path(word)]
    if len(configs) > 1:
        raise UserError(
            f"there are several configs: {', '.join(configs)}",
            expected="one config, then overrides such as ppo.learning_rate=1e-4",
        )
    args.config = configs[0] if configs else DEFAULT_CONFIG
    precision = getattr(args, "precision", None)  # `data doctor` has words and no precision
    overrides = [f"precision={precision}"] if precision else []
    args.overrides = [*overrides, *(word for word in words if word not in configs)]


def is_path(word: str) -> bool:
    """Whether a word is a config's path and no override: folders and files may be called `lr=0.01`.

    No setting has a slash in its name; without one, it is the path of a file that is there.
    """
    setting, sign, _ = word.partition("=")
    return not sign or "/" in setting or os.path.isfile(word)  # noqa: PTH113  Path raises for a long word


def _add_pipeline(commands: Any, name: str, command: Command, text: str) -> None:
    # Which pipeline.
    parser = add_command(commands, name, command, text)
    parser.add_argument(
        "words",
        nargs="*",
        metavar="CONFIG key=value",
        help=f"a pipeline (default: {DEFAULT_CONFIG}) and overrides, such as ppo.learning_rate=1e-4",
    )
    # Which of its stages, and in which precision.
    parser.add_argument("--from", dest="start", metavar="STAGE", help="run STAGE and all after it again")
    parser.add_argument("--only", metavar="STAGE", help="run STAGE alone, from artifacts in the store")
    parser.add_argument("--force", metavar="STAGE", action="append", default=[], help="run STAGE again")
    parser.add_argument(
        "--reuse",
        metavar="STAGE=ID",
        action="append",
        default=[],
        help="take an artifact as it is in the place of what STAGE would make",
    )
    precisions = parser.add_mutually_exclusive_group()
    for precision in ("bf16", "fp16"):
        precisions.add_argument(
            f"--{precision}",
            dest="precision",
            action="store_const",
            const=precision,
            help=f"precision={precision}: autocast in every training section without its own",
        )
    # How to show and judge them.
    parser.add_argument("-v", "--verbose", action="store_true", help="show what the stages print")
    parser.add_argument("--port", type=int, metavar="N", help="serve Prefect and its web pages on this port")
    parser.add_argument(
        "--strict-code", action="store_true", help="run a stage again when its code has changed"
    )
    if name == "plan":
        parser.add_argument("--memory", action="store_true", help="estimate each training stage's memory")


def _add_from(module: str, commands: Any) -> None:
    """Let another module add its commands."""
    importlib.import_module(module).add_parser(commands)


def _run(args: argparse.Namespace) -> int:
    from flows.display import make_display
    from flows.options import Options
    from flows.run import run_pipeline, summary

    start = time.monotonic()
    display = make_display(verbose=args.verbose)
    with stdout_to_stderr(args.json):
        outcome = run_pipeline(Options.from_arguments(args), display)
    if args.json:
        print_json(outcome.rows)
    else:
        display.note(summary(outcome, time.monotonic() - start))
    return outcome.code


def _plan(args: argparse.Namespace) -> int:
    from flows.options import Options
    from flows.pipeline import plan_pipeline
    from flows.session import plan_row

    pipeline = plan_pipeline(Options.from_arguments(args))
    # The estimate imports models, which may print.
    memory = None
    if args.memory:
        from flows.cli.memory_view import Memory

        with stdout_to_stderr(True):
            memory = Memory.of(pipeline)
    if args.json:
        rows = [plan_row(row) for row in pipeline.rows]
        print_json(memory.beside(rows) if memory else rows)
    else:
        from flows.cli.plan_table import print_plan

        print_plan(pipeline.rows)
        if memory:
            memory.print()
    return 0


def _complain(text: str, code: int) -> int:
    with contextlib.suppress(BrokenPipeError):
        print(visible(masked(text), lines=True), file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
