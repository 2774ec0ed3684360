"""`temper chat` and `temper generate`: using a language model of the store, or of a local folder.

Everything a model says goes to stdout, everything else to stderr.
"""

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.cli.command import add_command, open_store
from flows.cli.sampling import add_sampling, positive
from tempering.errors import UserError

if TYPE_CHECKING:
    from tempering.talk.chat_model import Speaker
    from tempering.talk.files import Prompt

REF = "artifact id, STAGE@latest, fingerprint, .../checkpoint_100K_tokens, or a local Hugging Face folder"


def add_parser(subparsers: Any) -> None:
    """Add both commands; each sets `command` (see `add_command`)."""
    # A conversation.
    talk = add_command(subparsers, "chat", chat, "talk to a model", json=False)
    talk.add_argument("ref", metavar="ID|PATH", help=REF)
    talk.add_argument("--system", metavar="TEXT", help="a system turn before the conversation")
    add_sampling(talk)
    # Many prompts at once.
    batch = add_command(subparsers, "generate", generate, "complete prompts, from the command line or a file")
    batch.add_argument("ref", metavar="ID|PATH", help=REF)
    prompts = batch.add_mutually_exclusive_group(required=True)
    prompts.add_argument(
        "--prompt", metavar="TEXT", action="append", help="what the user says; may be repeated"
    )
    prompts.add_argument(
        "--file",
        metavar="PATH",
        type=Path,
        help="text: a prompt per line; .jsonl, .json, .csv, .parquet: column `prompt`, strings or messages",
    )
    batch.add_argument(
        "--out", metavar="FILE", type=Path, help="write .parquet or .jsonl instead of printing"
    )
    batch.add_argument(
        "--num-return-sequences",
        metavar="N",
        type=positive,
        default=1,
        help="completions per prompt (default 1)",
    )
    batch.add_argument(
        "--batch-size",
        metavar="N",
        type=positive,
        default=32,
        help="sequences at once; changes which samples are drawn (default 32)",
    )
    add_sampling(batch)


def chat(args: argparse.Namespace) -> int:
    """Answer line by line until /quit or the end of input."""
    from flows.cli.chat import Chat, typed_lines

    talk = Chat(_speaker(args), args.system)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # here Ctrl-C ends an answer first
    if sys.stdin.isatty():
        kind = "the model continues your text" if talk.speaker.is_plain else "it answers"
        print(f"{args.ref}: {kind}; /help, /quit", file=sys.stderr)
    return talk.run(typed_lines())


def generate(args: argparse.Namespace) -> int:
    """Complete every prompt, to the terminal or a file."""
    from flows.cli.output import print_json, stdout_to_stderr

    with stdout_to_stderr(args.json):
        document = _completed(args)
    if args.json:
        print_json(document)
    return 0


def _completed(args: argparse.Namespace) -> Any:
    """Complete, and print or write; with --json, what to print."""
    from flows.process.workers import prepare_environment

    prepare_environment()
    from tempering.talk.batches import answers, look_at

    # The prompts are read twice: once to count and check them, once to complete them.
    prompts = _prompts(args)
    speaker = _speaker(args, batch_size=args.batch_size)
    looked = look_at(speaker, prompts())
    if looked.cut:
        print(f"{looked.cut} prompts are longer than the model reads; it sees their ends", file=sys.stderr)
    # Portions are written as they are made, so that a long file needs little memory.
    total = looked.count * args.num_return_sequences
    with _bar(total) as progress:
        portions = answers(
            speaker,
            prompts(),
            each=args.num_return_sequences,
            as_messages=looked.as_messages,
            progress=progress,
        )
        if args.out is not None:
            _write(args.out, portions, looked.as_messages)
        elif args.json:
            return [row for rows in portions for row in rows]
        else:
            _print(portions, several=total > 1)
            return None
    if not args.json:
        print(f"{total} completions in {args.out}", file=sys.stderr)
    return {"out": str(args.out), "completions": total}


def _prompts(args: argparse.Namespace) -> "Callable[[], Iterable[Prompt]]":
    """A function that reads the prompts from the start; mistakes are found before a model is loaded."""
    from tempering.talk.files import check_out, given_prompts, read_prompts

    if args.out is not None:
        check_out(args.out)
        if args.file is not None and args.out.resolve() == args.file.resolve():
            raise UserError(f"--out {args.out} is the file with the prompts", fix="write to another file")
    if args.num_return_sequences > 1 and (args.greedy or args.temperature == 0):
        raise UserError(
            "greedy completions of a prompt are all the same",
            fix="leave --greedy out, or set a --temperature above 0",
        )
    prompts: Callable[[], Iterable[Prompt]]
    prompts = partial(read_prompts, args.file) if args.file else partial(given_prompts, args.prompt)
    next(iter(prompts()))
    return prompts


def _write(path: Path, portions: Iterable[list[dict[str, Any]]], as_messages: bool) -> None:
    from tempering.talk.files import answers_file

    with answers_file(path, as_messages) as write:
        for rows in portions:
            write(rows)


def _print(portions: Iterable[list[dict[str, Any]]], several: bool) -> None:
    from flows.cli.chat import harmless

    for row in (row for rows in portions for row in rows):
        if several:
            prompt = row["prompt"] if isinstance(row["prompt"], str) else row["prompt"][-1]["content"]
            print(harmless(f"[{row['index']}.{row['sample']}] {prompt}"))
        print(harmless(row["completion"].strip()), flush=True)


@contextlib.contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)


def _speaker(args: argparse.Namespace, **more: Any) -> "Speaker":
    from flows.process.workers import prepare_environment

    prepare_environment()
    from tempering.generation.sampling import Sampling
    from tempering.models.find import find_model
    from tempering.talk.chat_model import Speaker

    if any(not word for word in args.stop):
        raise UserError("--stop is empty", expected="the text that ends an answer")
    if (args.top_k or args.top_p or args.min_p) and (args.greedy or args.temperature == 0):
        raise UserError(
            "--top-k, --top-p and --min-p narrow what is sampled from, and greedy decoding samples nothing",
            fix="leave --greedy out, or set a --temperature above 0",
        )
    sampling = Sampling(
        args.max_new_tokens,
        temperature=0.0 if args.greedy else args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        min_p=args.min_p,
        repetition_penalty=args.repetition_penalty,
    )
    source = find_model(args.ref, open_store(args))
    return Speaker(source, sampling, args.seed, stop=args.stop, prompt_format=args.format, **more)
