"""What `temper data doctor` examines: the data of a pipeline, or one path.

Of a pipeline, every data set, in the order in which they need each other, and every sample; of a path, its
rows as a pipeline would read them with `kind: auto`, and the sample they naturally make.
"""

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from flows.build import Graph
from flows.cli.doctor_tokenizer import for_path, for_pipeline
from flows.config import PipelineConfig, load_pipeline
from flows.graph import Node
from flows.store_choice import DEFAULT_STORE
from tempering.config import Config
from tempering.config_file import apply_override
from tempering.data.builders import Builder
from tempering.doctor.examine import Subjects, examine
from tempering.errors import ConfigError, UserError
from tempering.validation import validate

if TYPE_CHECKING:
    from flows.cli.doctor_options import Wish
    from tempering.doctor.dataset import Progress
    from tempering.doctor.examine import Examination

_USES = {
    "sample": "training",
    "tokenizer": "tokenizer",
    "evaluate": "evaluation",
    "dataset": "decontamination",
}
"""Kind of a stage that reads a data set -> what it uses it for."""


class _OneDataset(Config):
    """A data set that was named on the command line."""

    dataset: Builder


def examine_path(wish: "Wish", progress: "Progress") -> "Examination":
    """Examine a file or folder, all of it as rows to train on.

    Raises:
        UserError: a missing path, a file of no known form, a wrong setting.
    """
    wish = replace(wish, store=wish.store or DEFAULT_STORE)
    tree: dict[str, Any] = {"kind": wish.kind, "path": wish.target, "eval_fraction": 0}
    tree |= {"columns": dict(wish.columns)} if wish.columns else {}
    for setting in wish.overrides:
        apply_override(tree, setting)
    # Only builders that read files can be named.
    union, _ = get_args(Builder)
    kinds = [kind.model_fields["kind"].default for kind in get_args(union) if "path" in kind.model_fields]
    _check_name(
        tree["kind"],
        sorted(kinds),
        f"kind {tree['kind']}: there is no such builder for files",
        fix="leave it out: it is told by the columns",
    )
    config = validate(_OneDataset, {"dataset": tree}, wish.target).dataset

    subjects = Subjects(wish.target, {Path(wish.target).name: config}, natural=wish.max_length)
    done = examine(subjects, for_path(wish), most=wish.rows, progress=progress)
    error = done.datasets[0].error
    if error is not None:
        raise _with_options(error)
    return done


def examine_pipeline(wish: "Wish", progress: "Progress") -> "Examination":
    """Examine the data sets of a pipeline, and the samples that are made of them.

    Raises:
        UserError: a wrong config, an unknown data set, a tokenizer that cannot be loaded.
    """
    config = load_pipeline(wish.target, wish.overrides)
    wish = replace(wish, store=wish.store or config.runtime.store or DEFAULT_STORE)
    for name in wish.datasets:
        _check_name(name, list(config.datasets), f"there is no data set {name!r} in this pipeline")
    shown = set(wish.datasets) or set(config.datasets)

    # What the pipeline uses, then the rest of what it names, parents first.
    graph = Graph(config)
    used = _uses(config, graph.nodes())
    for name in config.samples:
        graph.sample(name)
    order = {graph.dataset(name): name for name in config.datasets}
    choose, learnt_from = for_pipeline(wish, config)
    needed = _needed(config, {*shown, *learnt_from})
    subjects = Subjects(
        wish.target,
        {order[node]: config.datasets[order[node]] for node in graph.made if order.get(node) in needed},
        {name: sample for name, sample in config.samples.items() if set(sample.datasets) <= shown},
        _uses(config, graph.made.values()),
        frozenset(needed - shown),
    )
    done = examine(subjects, choose, most=wish.rows, progress=progress)

    idle = sorted(shown - set(used))
    if idle:
        done.remarks.append(f"no stage uses {', '.join(idle)}")
    others = [name for name in config.samples if name not in subjects.samples]
    if others:
        done.remarks.append(f"not looked at, for their other data sets: samples {', '.join(others)}")
    return done


def _check_name(name: Any, names: Collection[str], found: str, fix: str = "") -> None:
    if name not in names:
        near = difflib.get_close_matches(str(name), names, n=1)
        fix = f"did you mean {near[0]!r}?" if near else fix
        raise ConfigError(found, expected=f"one of: {', '.join(names)}", fix=fix)


def _with_options(error: UserError) -> UserError:
    """Where the fix is a setting of a pipeline, say how it is called here."""
    if "kind" not in error.fix:
        return error
    fix = f"{error.fix} (here: --kind NAME --column NAME=PLACE, other settings as key=value)"
    return type(error)(error.found, expected=error.expected, fix=fix)


def _needed(config: PipelineConfig, names: set[str]) -> set[str]:
    """Some data sets, and what they are decontaminated against."""
    needed, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += config.datasets[name].quality.decontaminate
    return needed


def _uses(config: PipelineConfig, nodes: Iterable[Node]) -> Mapping[str, frozenset[str]]:
    """Data set -> what the stages among `nodes` use it for."""
    uses: dict[str, set[str]] = {}
    for node in nodes:
        for name in config.datasets:
            if f"dataset[{name}]" in node.parents() and node.stage.name in _USES:
                uses.setdefault(name, set()).add(_USES[node.stage.name])
    return {name: frozenset(words) for name, words in uses.items()}
