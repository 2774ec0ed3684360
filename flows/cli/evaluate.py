"""`temper evaluate`: models of the store, folders or the Hub, measured side by side without a pipeline.

The benchmarks are those of a pipeline's config, or one for each file that is named. What was measured before
with the same settings, here or by a pipeline, is taken from the store.
"""

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flows.cli.command import add_command
from flows.cli.output import print_json, stdout_to_stderr
from flows.store_choice import DEFAULT_STORE, given_store
from tempering.data.files.names import stem
from tempering.errors import ConfigError, UserError

_REF = "artifact id, STAGE@latest, .../checkpoint_100K_tokens, folder, owner/name, stage of --config"
_EXAMPLES = """\
Measure models without a pipeline, side by side.

examples:
  temper evaluate sft@latest ppo@latest --config configs/quickstart.yaml
  temper evaluate sft@latest sft@latest/checkpoint_75K_tokens ./my-model --benchmark minimal_pairs=blimp/
  temper evaluate sft@latest ppo@latest --benchmark completions=prompts.jsonl \\
      evaluate.reward_model=reward_model@latest evaluate.baseline=sft@latest

KIND is a kind of benchmark, as docs/evaluation.md lists them; the benchmark is called like the file without
its ending (rte.valid.jsonl: rte_valid), and other settings are given as evaluate.benchmarks.NAME.max_rows=100
or datasets.NAME.kind=text.
"""


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    text = "measure models side by side, without a pipeline"
    parser = add_command(commands, "evaluate", evaluate, text, description=_EXAMPLES)
    parser.add_argument("refs", nargs="+", metavar="REF", help=f"{_REF}; or an override, key=value")
    sources = parser.add_mutually_exclusive_group(required=True)
    sources.add_argument("--config", metavar="FILE", help="a pipeline, whose `evaluate` section is used")
    sources.add_argument(
        "--benchmark",
        metavar="KIND=PATH",
        action="append",
        default=[],
        help="a benchmark on a file or folder",
    )
    parser.add_argument(
        "--predictions",
        metavar="FILE",
        type=Path,
        help="write what one model answered, row by row, as the BabyLM pipeline reads it",
    )
    parser.add_argument("--parts", action="store_true", help="show the numbers of parts of the rows too")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what the stages print")


def evaluate(args: argparse.Namespace) -> int:
    """The command."""
    from flows.alone import run_alone
    from flows.cli.metric_table import as_json, metric_rows, print_metrics
    from flows.display import make_display
    from flows.evaluation import evaluation_nodes
    from tempering.artifacts.store import Store

    refs = [word for word in args.refs if not _is_override(word)]
    config = _config(args, [word for word in args.refs if _is_override(word)])
    if not refs:
        raise UserError("there is no model to measure", expected="one or more REF: " + _REF)
    if args.predictions is not None:
        _check_predictions(args.predictions, refs, config)
    store = Store(given_store(args) or config.runtime.store or DEFAULT_STORE)
    nodes, subjects = evaluation_nodes(config, store, refs)
    with stdout_to_stderr(args.json):
        ended = run_alone(
            "evaluate", config, config.runtime, store, nodes, make_display(verbose=args.verbose)
        )
    # Models that could not be measured are left out, and the exit code says so.
    made = {row["stage"]: row["artifact"] for row in ended.rows}
    evaluations: dict[str, Any] = {
        subject.ref: store.get(made[subject.node]) for subject in subjects if made[subject.node]
    }
    if args.predictions is not None and evaluations:
        _write_predictions(args.predictions, evaluations[refs[0]])
    rows = metric_rows(evaluations)
    if args.json:
        print_json(as_json(rows))
    elif rows:
        print_metrics(rows, parts=args.parts)
    return ended.code


def _check_predictions(file: Path, refs: Sequence[str], config: Any) -> None:
    """Refuse what could not be written, before anything is computed."""
    from tempering.evaluation.benchmarks import BENCHMARKS

    if len(refs) > 1:
        raise UserError(
            f"--predictions {file} is for one model, and there are {len(refs)}",
            fix="call it once for each of them; what has been measured is not measured again",
        )
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise UserError(
            f"--predictions {file} cannot be written", expected="a file in a folder that is there"
        )
    benchmarks = config.evaluate.benchmarks.values()
    if not any(benchmark.predicts for benchmark in benchmarks):
        kinds = [name for name, kind in BENCHMARKS.items() if kind.predicts]
        raise UserError(
            f"none of these benchmarks keeps predictions: {', '.join(config.evaluate.benchmarks)}",
            expected=f"one of the kind {', '.join(kinds)}",
        )


def _write_predictions(file: Path, evaluation: Any) -> None:
    from tempering.artifacts.tables import read_rows
    from tempering.evaluation.predictions import write_predictions

    rows = read_rows(evaluation.path / "metadata" / "predictions.parquet")
    # Those of fine-tuning have another form, which that pipeline keeps apart too.
    count = write_predictions([row for row in rows if row.get("subtask") is not None], file)
    print(f"{count} predictions in {file}", file=sys.stderr)


def _is_override(word: str) -> bool:
    setting, sign, _ = word.partition("=")
    return bool(sign) and "/" not in setting and not Path(word).is_dir()


def _config(args: argparse.Namespace, overrides: Sequence[str]) -> Any:
    """The pipeline's config, or one made of the benchmarks on the command line."""
    from flows.config import PipelineConfig, load_pipeline
    from tempering.config_file import apply_override
    from tempering.data.builders import AutoConfig
    from tempering.validation import validate

    if args.config is not None:
        config = load_pipeline(args.config, overrides)
    else:
        tree = _tree(args.benchmark)
        for override in overrides:
            apply_override(tree, override)
        config = validate(PipelineConfig, tree, "temper evaluate")
        for dataset in config.datasets.values():
            if isinstance(dataset, AutoConfig):
                _ = dataset.row_type  # a file without rows, or of no known form, is refused here
    if config.evaluate is None or not config.evaluate.benchmarks:
        raise ConfigError(
            f"{args.config} has no benchmarks",
            expected="an `evaluate` section with benchmarks",
            fix="name another config, or measure files by --benchmark KIND=PATH",
        )
    return config


def _tree(words: Sequence[str]) -> dict[str, Any]:
    """A config with a data set and a benchmark for each `KIND=PATH`, and no stage."""
    from tempering.evaluation.benchmarks import BENCHMARKS

    kinds = [name for name, benchmark in BENCHMARKS.items() if not benchmark.own_rows]
    paths: dict[str, str] = {}
    benchmarks: dict[str, dict[str, str]] = {}
    for word in words:
        kind, sign, path = word.partition("=")
        if not sign or not path:
            raise UserError(f"--benchmark {word}: no kind and path", expected="KIND=PATH")
        if kind not in kinds:
            near = difflib.get_close_matches(kind, kinds, n=1)
            own = f"{kind} brings its rows itself: write it into a config, and name that by --config"
            raise UserError(
                f"--benchmark {word}: there is no kind of benchmark {kind!r} on a file or folder",
                expected=f"one of {', '.join(kinds)}",
                fix=own if kind in BENCHMARKS else f"did you mean {near[0]!r}?" if near else "",
            )
        name = _name(path) or kind
        if name in paths:
            raise UserError(
                f"--benchmark {word}: two benchmarks would be called {name}, that of {paths[name]} too",
                fix="rename one of the files, or write a config, which names its benchmarks",
            )
        paths[name] = path
        benchmarks[name] = {"kind": kind, "dataset": name}
    return {
        "name": "evaluate",
        "datasets": {
            name: {"kind": "auto", "path": path, "eval_fraction": 1} for name, path in paths.items()
        },
        "tokenizer": {"kind": "train", "datasets": list(paths)},  # no stage asks for it
        "evaluate": {"benchmarks": benchmarks, "reward_model": None, "baseline": None},
    }


def _name(path: str) -> str:
    """A benchmark's name, of which an override can be made: without ending, dots and other signs."""
    return re.sub(r"[^\w-]+", "_", stem(Path(path).name)).strip("_")
