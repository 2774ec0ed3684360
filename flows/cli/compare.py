"""`temper compare A B`: two runs, models or evaluations beside each other, as tables, page or JSON.

A model may have been measured several times, each time by other benchmarks: of the evaluations of both models
those two are taken that share the most benchmarks, the newest of them first.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from flows.cli.command import add_command, open_store
from flows.cli.output import console, print_json
from flows.cli.report import write_page
from tempering.artifacts.kinds import Artifact, EvaluationArtifact, ModelArtifact
from tempering.artifacts.store import Store
from tempering.errors import ArtifactError, UserError

if TYPE_CHECKING:
    from tempering.report.compare import Comparison, Side

_PROMPTS = 3


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    text = "two runs, models or evaluations: settings, metrics and answers side by side"
    parser = add_command(commands, "compare", compare_command, text)
    what = "a run's id, or a model or evaluation: id, fingerprint prefix or STAGE@latest"
    parser.add_argument("first", metavar="A", help=what)
    parser.add_argument("second", metavar="B", help="what A is compared with: differences are B less A")
    parser.add_argument("--html", metavar="FILE", help="write the comparison as a page")
    parser.add_argument("--parts", action="store_true", help="show the numbers of parts of the rows too")
    parser.add_argument(
        "--prompts", type=_count, default=_PROMPTS, metavar="N", help=f"prompts to show (default: {_PROMPTS})"
    )


def compare_command(args: argparse.Namespace) -> int:
    """The command."""
    import tasks  # noqa: F401  stages say how they are called
    from tempering.report.compare import compare
    from tempering.report.compare_page import compare_page, document

    store = open_store(args)
    before, after = _closest(_sides(store, args.first), _sides(store, args.second))
    # Two models or evaluations are compared, whatever they are called.
    keys = [*before.evaluations, *after.evaluations]
    if len(before.evaluations) == len(after.evaluations) == 1 and keys[0] != keys[1]:
        before, after = (_renamed(side, " → ".join(keys)) for side in (before, after))
    comparison = compare(before, after, args.prompts)
    if args.html:
        write_page(args.html, compare_page(comparison))
    if args.json:
        print_json(document(comparison))
    elif args.html:
        print(args.html)
    else:
        _print(comparison, parts=args.parts)
    return 0


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("it is less than 0")
    return number


def _sides(store: Store, name: str) -> list["Side"]:
    """A run by its id, an evaluation, or a model: one side for each time that it was measured, newest first.

    Raises:
        ArtifactError: there is neither, or nothing was measured of it.
    """
    from tempering.report.compare import Side
    from tempering.report.gather import gather

    record = store.runs.get(name)
    if record is not None:
        contents = gather(store, record)
        return [Side(record.id, record.config, contents.evaluations, record.command)]
    try:
        artifact = store.get(name)
    except ArtifactError as error:
        newest = ", ".join(record.id for record, _ in zip(store.runs.newest(), range(3), strict=False))
        raise ArtifactError(
            f"there is neither a run nor an artifact {name!r}: {error.found}",
            expected=f"a run's id (the newest: {newest or 'none'}), or an artifact's, such as ppo@latest",
        ) from None
    if not isinstance(artifact, ModelArtifact | EvaluationArtifact):
        raise UserError(
            f"{artifact.id} is {'an' if artifact.kind[0] in 'aeiou' else 'a'} {artifact.kind}",
            expected="a run, a model or an evaluation",
        )
    return [
        Side(_short(artifact), artifact.manifest.config, {_node(evaluation): evaluation})
        for evaluation in _evaluations(store, artifact)
    ]


def _evaluations(store: Store, artifact: Artifact) -> list[EvaluationArtifact]:
    """Itself, or the evaluations of a model with these weights, the newest first."""
    if isinstance(artifact, EvaluationArtifact):
        return [artifact]
    digest = artifact.ref.payload_digest
    evaluations = [
        other
        for other in store.list()
        if isinstance(other, EvaluationArtifact)
        and (model := other.manifest.inputs.get("model"))
        and model.payload_digest == digest
    ]
    if not evaluations:
        raise ArtifactError(
            f"{artifact.id} has no evaluation in this store",
            expected="a model that was measured",
            fix=f"measure it: temper evaluate {artifact.id} --config FILE; or by a pipeline's run",
        )
    return evaluations


def _closest(firsts: Sequence["Side"], seconds: Sequence["Side"]) -> tuple["Side", "Side"]:
    """The two that share the most benchmarks, the newest where several do; which they are is said."""
    pairs = [(first, second) for first in firsts for second in seconds]
    chosen = max(pairs, key=lambda pair: len(_benchmarks(pair[0]) & _benchmarks(pair[1])))
    for side, others in zip(chosen, (firsts, seconds), strict=True):
        if len(others) > 1:
            taken = ", ".join(evaluation.id for evaluation in side.evaluations.values())
            shared = ", ".join(sorted(_benchmarks(side)))
            print(f"{side.name}: {taken} of {len(others)} evaluations ({shared})", file=sys.stderr)
    return chosen


def _benchmarks(side: "Side") -> set[str]:
    return {
        name
        for evaluation in side.evaluations.values()
        for name in evaluation.manifest.config.get("benchmarks", {})
    }


def _node(evaluation: EvaluationArtifact) -> str:
    return evaluation.manifest.stage.partition("[")[2].removesuffix("]") or evaluation.manifest.stage


def _short(artifact: Artifact) -> str:
    return f"{artifact.manifest.stage} {artifact.manifest.fingerprint[:8]}"


def _renamed(side: "Side", name: str) -> "Side":
    from dataclasses import replace

    return replace(side, evaluations={name: next(iter(side.evaluations.values()))})


def _print(comparison: "Comparison", *, parts: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from tempering.printable import visible
    from tempering.report.compare_page import rows_of_model, summary

    def table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> None:
        shown = any(columns)
        grid = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False, show_header=shown)
        for place, column in enumerate(columns):
            grid.add_column(
                Text(visible(column)), justify="right" if place in numbers else "left", overflow="fold"
            )
        for row in rows:
            grid.add_row(*(Text(visible(cell, lines=True)) for cell in row))
        out.print(grid)
        out.print()

    out, names = console(), ["A", "B"]
    for letter, side in zip(names, (comparison.before, comparison.after), strict=True):
        out.print(Text(f"{letter}: {visible(side.name)}"))
    out.print(Text(summary(comparison)), "\n", sep="")
    if comparison.changes:
        changes = [(change.field, change.before or "–", change.after or "–") for change in comparison.changes]
        table(["setting", *names], changes)
    for model in dict.fromkeys(delta.model for delta in comparison.deltas):
        rows = [
            (
                f"{row.metric} {'↓' if row.better == 'lower' else '↑'}",
                *(row.benchmark, row.before, row.after),
                f"{row.difference}\n{row.around}",
                row.effect or row.note,
            )
            for row in rows_of_model(comparison, model, parts=parts)
        ]
        table([f"{model}: metric", "benchmark", *names, "B less A", ""], rows, (2, 3, 4))
    for model, beside in comparison.answers.items():
        for question in beside.questions:
            texts = ["".join(text for text, _ in answer.pieces) for answer in question.answers]
            out.print(Text(visible(f"{model}: {question.prompt}", lines=True), style="dim"))
            table(["", ""], list(zip(names, texts, strict=False)))
