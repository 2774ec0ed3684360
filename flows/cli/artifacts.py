"""`temper artifacts list | show | lineage | verify | export-csv | adopt`: the store, from the outside.

With `--json` stdout is exactly one JSON document. rich is imported only where a table is drawn.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from flows.cli.command import add_command, open_store
from flows.cli.output import console, print_json
from tempering.printable import headline, size

if TYPE_CHECKING:
    from tempering.artifacts.kinds import Artifact
    from tempering.artifacts.lineage import Branch


def add_parser(subparsers: Any) -> None:
    """Add `artifacts` and its subcommands; each sets `command` (see `add_command`)."""
    from flows.cli.adopt import add_adopt, adopt_command
    from flows.cli.export_csv import add_export_csv, export_csv_command

    text = "list, show, trace, verify, export and adopt artifacts"
    parser = subparsers.add_parser("artifacts", help=text, description=text)
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")
    add = partial(add_command, commands)
    listing = add("list", list_command, "all artifacts, newest first")
    listing.add_argument("stage", nargs="?", help="only of this stage, or of this kind of stage or artifact")
    show = add("show", show_command, "an artifact's manifest")
    show.add_argument("ref", help="id, fingerprint prefix, STAGE@latest or folder")
    add("lineage", lineage_command, "what an artifact was made from").add_argument("ref")
    verify = add("verify", verify_command, "hash every file; exit code 1 if one is damaged")
    verify.add_argument("ref", nargs="?", help="one artifact (default: all)")
    text = "completions and training statistics as CSV files, also of a stage that still runs"
    add_export_csv(add("export-csv", export_csv_command, text))
    add_adopt(add("adopt", adopt_command, "bring an external model into the store"))


def list_command(args: argparse.Namespace) -> int:
    """Print a table of artifacts: id, kind, tokens, size, age, headline."""
    store, stage = open_store(args), args.stage
    unreadable: dict[str, str] = {}
    artifacts = [
        artifact for artifact in store.list(unreadable) if stage is None or stage in _labels(artifact)
    ]
    if args.json:
        print_json([_manifest(artifact) for artifact in artifacts])
    elif artifacts:
        _print_table(artifacts)
    else:
        print(f"no artifacts{f' of {stage}' if stage else ''} in {store.root}")
    # The others stay what they are; a run makes the damaged one again.
    for name, reason in unreadable.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    return 0


def show_command(args: argparse.Namespace) -> int:
    """Print one manifest."""
    artifact = open_store(args).get(args.ref, check=False)
    if args.json:
        print_json(_manifest(artifact))
        return 0
    tree = artifact.manifest.model_dump(mode="json")
    import yaml

    files = tree.pop("files")
    tree.pop("hashed")
    tree["code"]["modules"] = len(tree["code"].pop("files"))
    print(f"path: {artifact.path}")
    print(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), end="")
    print(f"files: # {len(files)}, {_size(artifact)}")
    for name, entry in files.items():
        print(f"  {name}: {size(entry['size'])}")
    return 0


def lineage_command(args: argparse.Namespace) -> int:
    """Print the tree of inputs, down to the data sets."""
    from tempering.artifacts.lineage import lineage

    store = open_store(args)
    branch = lineage(store, store.get(args.ref, check=False))
    if args.json:
        print_json(branch.to_json())
        return 0
    from rich.tree import Tree

    def grow(tree: Tree, branch: "Branch") -> None:
        for below in branch.inputs:
            grow(tree.add(_branch_line(below)), below)

    tree = Tree(_branch_line(branch))
    grow(tree, branch)
    console().print(tree, soft_wrap=True)
    return 0


def verify_command(args: argparse.Namespace) -> int:
    """Hash everything; exit code 1 where something is damaged."""
    store = open_store(args)
    verified = store.verify(args.ref)
    damaged = {name: damages for name, damages in verified.items() if damages}
    if args.json:
        tree = {name: [asdict(damage) for damage in damages] for name, damages in damaged.items()}
        print_json({"artifacts": len(verified), "damaged": tree})
        return 1 if damaged else 0
    for name, damages in damaged.items():
        print(f"damaged: {name}")
        for damage in damages:
            print(f"  {damage.file}: {damage.what}")
    print(f"{len(verified)} artifacts, {len(damaged)} damaged")
    if damaged:
        print("restore the files, or run the pipeline again: a damaged artifact is never used")
    return 1 if damaged else 0


def _labels(artifact: "Artifact") -> tuple[str, ...]:
    node = artifact.manifest.stage
    kind_of_stage = str(artifact.manifest.hashed.get("stage", ""))
    return node, node.split("[")[0], artifact.path.parent.name, artifact.kind, kind_of_stage


def _manifest(artifact: "Artifact") -> dict[str, Any]:
    return {**artifact.manifest.model_dump(mode="json"), "path": str(artifact.path)}


def _print_table(artifacts: "Sequence[Artifact]") -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("id", no_wrap=True, overflow="ignore")
    table.add_column("kind")
    for name in ("tokens", "size", "age"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("headline")
    for artifact in artifacts:
        manifest = artifact.manifest
        tokens = f"{manifest.tokens:,}" if manifest.tokens else ""
        cells = (artifact.id, manifest.kind, tokens, _size(artifact), _age(manifest.created))
        table.add_row(*(Text(cell) for cell in (*cells, headline(manifest.metrics))))
    console().print(table)


def _branch_line(branch: "Branch") -> str:
    role = f"{branch.role}: " if branch.role else ""
    if branch.artifact is None:
        return f"{role}{branch.id} (no longer in the store)"
    note = " (rebuilt since, with another payload)" if branch.rebuilt else ""
    return f"{role}{branch.id}{note}"


def _size(artifact: "Artifact") -> str:
    return size(sum(entry.size for entry in artifact.manifest.files.values()))


def _age(created: str) -> str:
    if not created:
        return ""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(created)).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"
