"""`temper chat | generate | export`: using a model of the store.

A reference is an artifact id, a unique fingerprint prefix, `STAGE@latest`, or one of those with
`/checkpoint_100K_tokens` behind it.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempering.errors import ArtifactError, UserError

if TYPE_CHECKING:
    from tempering.artifacts.kinds import ModelArtifact


def add_parser(subparsers: Any) -> None:
    """Add the three commands; each sets `command` to func(args) -> exit code."""
    talk = _add(subparsers, "chat", chat, "talk to a model")
    talk.add_argument("--system", metavar="TEXT", help="a system turn before the conversation")
    once = _add(subparsers, "generate", generate, "complete one prompt, or every line of a file")
    given = once.add_mutually_exclusive_group(required=True)
    given.add_argument("--prompt", metavar="TEXT", help="what the user says")
    given.add_argument("--file", metavar="PATH", type=Path, help="a text file with one prompt a line")
    once.add_argument("--json", action="store_true", help="one JSON document on stdout")
    for parser in (talk, once):
        parser.add_argument(
            "--max-new-tokens", type=_positive, default=128, help="longest answer (default 128)"
        )
        parser.add_argument(
            "--temperature", type=_share_or_more, default=1.0, help="0 is greedy (default 1.0)"
        )
        parser.add_argument("--top-k", type=_positive, help="sample from the k likeliest tokens only")
        parser.add_argument("--top-p", type=_share, help="sample from the nucleus of this mass only")
        parser.add_argument("--seed", type=int, default=0, help="of the sampling (default 0)")
    out = _add(subparsers, "export", export, "write a model as a plain Hugging Face folder")
    out.add_argument("folder", type=Path, help="a folder that does not exist yet, or is empty")


def _add(subparsers: Any, name: str, func: Any, text: str) -> argparse.ArgumentParser:
    from flows.cli import add_store

    parser: argparse.ArgumentParser = subparsers.add_parser(
        name, help=text, description=text, allow_abbrev=False
    )
    parser.add_argument("ref", metavar="ID", help="artifact id, STAGE@latest, .../checkpoint_100K_tokens")
    add_store(parser)
    parser.set_defaults(func=func, command=func)
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


def _share_or_more(text: str) -> float:
    value = float(text)
    if not 0 <= value < 100:
        raise argparse.ArgumentTypeError(f"{value} is not between 0 and 100")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{value} is not above 0 and at most 1")
    return value


def chat(args: argparse.Namespace) -> int:
    """Read a line, answer, and so on until end of input; the history is kept."""
    speaker = _speaker(args)
    history = [{"role": "system", "content": args.system}] if args.system else []
    print("An empty line or Ctrl-D ends the conversation.", file=sys.stderr)
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            print(file=sys.stderr)
            return 0
        if not text:
            return 0
        history.append({"role": "user", "content": text})
        history.append({"role": "assistant", "content": speaker.stream(history)})


def generate(args: argparse.Namespace) -> int:
    """Answer each prompt."""
    prompts = [args.prompt] if args.prompt is not None else _lines(args.file)
    speaker = _speaker(args)
    answers = speaker.answer([[{"role": "user", "content": prompt}] for prompt in prompts])
    if args.json:
        rows = [{"prompt": prompt, "completion": text, "ended": ended}
                for prompt, (text, ended) in zip(prompts, answers, strict=True)]  # fmt: skip
        print(json.dumps(rows, ensure_ascii=False, indent=2))
    else:
        for text, _ in answers:
            print(text.strip())
    return 0


def export(args: argparse.Namespace) -> int:
    """Write the folder, all of it or nothing."""
    from tempering.models.export import export_model

    print(export_model(_model(args), args.folder))
    return 0


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the prompts in {path}: {error}", expected="a UTF-8 text file") from None
    prompts = [line for line in lines if line.strip()]
    if not prompts:
        raise UserError(f"{path} holds no prompt", expected="one prompt a line")
    return prompts


def _model(args: argparse.Namespace) -> "ModelArtifact":
    from flows.cli import store_root
    from tempering.artifacts.kinds import ModelArtifact
    from tempering.artifacts.store import Store

    found = Store(store_root(args), writable=False).get(args.ref)
    if not isinstance(found, ModelArtifact):
        raise ArtifactError(f"{found.id} is a {found.kind}", expected="a model artifact",
                            fix="`temper artifacts list model` shows them")  # fmt: skip
    return found


def _speaker(args: argparse.Namespace) -> Any:
    from flows.process import prepare_environment

    prepare_environment()
    from tempering.evaluation.speaker import Speaker
    from tempering.onpolicy.rollout import Sampling

    sampling = Sampling(args.max_new_tokens, 0, args.temperature, args.top_k, args.top_p)
    return Speaker(_model(args), sampling, args.seed)
