"""`temper export` and `temper convert`: models as plain Hugging Face folders, out of the store and to it."""

import argparse
import sys
from pathlib import Path
from typing import Any

from flows.cli.command import add_command, open_store


def add_parser(subparsers: Any) -> None:
    """Add both commands; each sets `command` (see `add_command`)."""
    text = "write a model as a plain Hugging Face folder"
    out = add_command(subparsers, "export", export, text, json=False)
    out.add_argument("ref", metavar="ID", help="artifact id, STAGE@latest, .../checkpoint_100K_tokens")
    out.add_argument("folder", metavar="DIR", type=Path, help="a folder that does not exist yet, or is empty")
    out.add_argument("--dtype", choices=("fp32", "bf16", "fp16"), help="convert the weights (default: as is)")
    out.add_argument("--adapter", action="store_true", help="export an adapter by itself, as PEFT reads it")
    out.add_argument("--push", metavar="OWNER/NAME", help="upload it to the Hub, with the token in HF_TOKEN")
    out.add_argument("--public", action="store_true", help="with --push: a new repository is open to all")
    _add_force(out)
    text = "turn a pickled PyTorch state into safetensors, safely"
    turn = add_command(subparsers, "convert", convert, text, json=False)
    turn.add_argument(
        "source",
        metavar="SOURCE",
        type=Path,
        help="a .pt, .pth or .bin file, or a folder with pytorch_model.bin",
    )
    turn.add_argument(
        "folder", metavar="DIR", type=Path, help="a folder that does not exist yet, or is empty"
    )
    turn.add_argument(
        "--like",
        metavar="FOLDER",
        type=Path,
        help="where config.json and the tokenizer are (default: beside SOURCE)",
    )
    turn.add_argument(
        "--head",
        choices=("auto", "causal_lm", "score"),
        default="auto",
        help="what the model ends in (default: as config.json says)",
    )
    _add_force(turn)


def _add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--force", action="store_true", help="replace an existing model folder")


def export(args: argparse.Namespace) -> int:
    """Write the folder, all of it or nothing; then push it."""
    from flows.process.workers import prepare_environment

    prepare_environment()
    from tempering.artifacts.kinds import ModelArtifact
    from tempering.errors import ArtifactError, UserError
    from tempering.exchange.export import export_model
    from tempering.exchange.push import check_push, push_folder

    # Mistakes first: a wrong reference or repository must cost no export.
    if args.public and not args.push:
        raise UserError("--public needs --push", fix="name the repository with --push OWNER/NAME")
    artifact = open_store(args).get(args.ref)
    if not isinstance(artifact, ModelArtifact):
        raise ArtifactError(
            f"{artifact.id} is a {artifact.kind}",
            expected="a model artifact",
            fix="`temper artifacts list model` shows them",
        )
    if args.push:
        check_push(args.push)
    # The folder is complete before anything is uploaded.
    print(export_model(artifact, args.folder, dtype=args.dtype, adapter=args.adapter, force=args.force))
    if args.push:
        try:
            pushed = push_folder(args.folder, args.push, private=not args.public, message=artifact.id)
        except UserError:
            print(f"{args.folder} is complete; only the push failed", file=sys.stderr)
            raise
        print(f"{pushed.url}, commit {pushed.commit[:12]}, {pushed.files} files")
    return 0


def convert(args: argparse.Namespace) -> int:
    """Write the folder, all of it or nothing."""
    from flows.process.workers import prepare_environment

    prepare_environment()
    from tempering.exchange.convert import convert as convert_state

    print(convert_state(args.source, args.folder, like=args.like, head=args.head, force=args.force))
    return 0
