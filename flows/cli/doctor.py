"""What `temper data doctor` examines: the data of a pipeline, or one path.

Of a pipeline, every data set, in the order in which they need each other, and every sample; of a path, its
rows as a pipeline would read them with `kind: auto`, and the sample they naturally make.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from flows.build import Graph
from flows.cli.doctor_options import Wish
from flows.cli.doctor_tokenizer import for_path, for_pipeline
from flows.config import PipelineConfig, load_pipeline
from flows.graph import Node
from tempering.config import Config, apply_override, validate
from tempering.data.builders import Builder
from tempering.doctor.examine import Subjects, examine
from tempering.errors import ConfigError, UserError

if TYPE_CHECKING:
    from tempering.doctor.dataset import Progress
    from tempering.doctor.examine import Examination

_USES = {
    "sample": "training",
    "tokenizer": "tokenizer",
    "evaluate": "evaluation",
    "dataset": "decontamination",
}
"""Stage that reads a data set -> what it uses it for."""


class _OneDataset(Config):
    """A data set that was named on the command line."""

    dataset: Builder


def examine_path(wish: Wish, progress: "Progress") -> "Examination":
    """Examine a file or folder, all of it as rows to train on.

    Raises:
        UserError: a missing path, a file of no known form, a wrong setting.
    """
    tree: dict[str, Any] = {"kind": wish.kind, "path": wish.target, "eval_fraction": 0}
    tree |= {"columns": dict(wish.columns)} if wish.columns else {}
    for setting in wish.overrides:
        apply_override(tree, setting)
    _check_kind(tree["kind"])
    config = validate(_OneDataset, {"dataset": tree}, wish.target).dataset

    subjects = Subjects(wish.target, {Path(wish.target).name: config}, natural=wish.max_length)
    done = examine(subjects, for_path(wish), most=wish.rows, progress=progress)
    error = done.datasets[0].error
    if error is not None:
        raise _with_options(error)
    return done


def _check_kind(kind: Any) -> None:
    union, _ = get_args(Builder)
    kinds = [one.model_fields["kind"].default for one in get_args(union) if "path" in one.model_fields]
    if kind not in kinds:
        near = difflib.get_close_matches(str(kind), kinds, n=1)
        raise ConfigError(
            f"kind {kind}: there is no such builder for files",
            expected=f"one of: {', '.join(sorted(kinds))}",
            fix=f"did you mean {near[0]!r}?" if near else "leave it out: it is told by the columns",
        )


def _with_options(error: UserError) -> UserError:
    """Where the mend is a setting of a pipeline, say how it is called here."""
    if "kind" not in error.fix:
        return error
    fix = f"{error.fix} (here: --kind NAME --column NAME=PLACE, other settings as key=value)"
    return type(error)(error.found, expected=error.expected, fix=fix)


def examine_pipeline(wish: Wish, progress: "Progress") -> "Examination":
    """Examine the data sets of a pipeline, and the samples that are made of them.

    Raises:
        UserError: a wrong config, an unknown data set, a tokenizer that cannot be loaded.
    """
    config = load_pipeline(wish.target, wish.overrides)
    wish = replace(wish, store=wish.store or config.runtime.store)
    wanted = _wanted(config, wish.datasets)
    graph = Graph(config)
    used = _uses(graph.nodes())
    graph.tokenizer()
    for name in config.samples:
        graph.sample(name)
    for name in config.datasets:
        graph.dataset(name)
    choose, learnt_from = for_pipeline(wish, config)
    needed = _needed(config, {*wanted, *learnt_from})
    order = [node.name[len("dataset[") : -1] for node in graph.made.values() if node.stage.name == "dataset"]
    subjects = Subjects(
        wish.target,
        {name: config.datasets[name] for name in order if name in needed},
        {name: one for name, one in config.samples.items() if set(one.datasets) <= wanted},
        _uses(graph.made.values()),
        frozenset(needed - wanted),
    )
    done = examine(subjects, choose, most=wish.rows, progress=progress)
    done.remarks += _remarks(config, wanted, subjects, used)
    return done


def _remarks(
    config: PipelineConfig, wanted: set[str], subjects: Subjects, used: Mapping[str, frozenset[str]]
) -> Iterator[str]:
    idle = sorted(wanted - set(used))
    if idle:
        yield f"no stage uses {', '.join(idle)}"
    left = [name for name in config.samples if name not in subjects.samples]
    if left:
        yield f"not looked at, for their other data sets: samples {', '.join(left)}"


def _wanted(config: PipelineConfig, names: Iterable[str]) -> set[str]:
    for name in names:
        if name not in config.datasets:
            near = difflib.get_close_matches(name, list(config.datasets), n=1)
            raise ConfigError(
                f"there is no data set {name!r} in this pipeline",
                expected=f"one of: {', '.join(config.datasets)}",
                fix=f"did you mean {near[0]!r}?" if near else "",
            )
    return set(names) or set(config.datasets)


def _needed(config: PipelineConfig, wanted: set[str]) -> set[str]:
    """What is wanted, and what that is decontaminated against."""
    needed, waiting = set[str](), list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += config.datasets[name].quality.decontaminate
    return needed


def _uses(nodes: Iterable[Node]) -> dict[str, frozenset[str]]:
    """Data set -> what the stages among `nodes` use it for."""
    found: dict[str, set[str]] = {}
    for node in nodes:
        for parent in node.parents():
            if parent.startswith("dataset[") and node.stage.name in _USES:
                found.setdefault(parent[len("dataset[") : -1], set()).add(_USES[node.stage.name])
    return {name: frozenset(uses) for name, uses in found.items()}
