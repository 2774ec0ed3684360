"""Every benchmark describes itself; docs/evaluation.md says the same, and its recipe for a new one works."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tempering.evaluation.benchmarks import BENCHMARKS, Benchmark
from tests.forked import Forks

ADDED = """
import tempfile
from pathlib import Path

from tests.conftest import tiny_nodes
from tests.exchange.toy_models import ToyStore
from tasks.evaluate import evaluate
from tasks.report import report
from tempering.artifacts.resolve import build

settings = {"kind": "last_word", "dataset": "corpus"}
nodes = {node.name: node for node in tiny_nodes({"evaluate.benchmarks.last": settings})}
assert "last" in nodes["evaluate[sft]"].config.benchmarks
assert "last" not in nodes["evaluate[reward_model]"].config.benchmarks

toys = ToyStore(Path(tempfile.mkdtemp()))
config = nodes["evaluate[sft]"].config
config = config.model_copy(update={"benchmarks": {"last": config.benchmarks["last"]}})
inputs = {"model": toys.model("sft"), "datasets": {"corpus": toys.corpus}}
evaluation = build(toys.store, evaluate, config, inputs, node="evaluate[sft]")
assert evaluation.read("metrics")["metric"].tolist() == ["accuracy"]
assert len(evaluation.read("scores")) == len(toys.corpus.rows("eval"))
inputs = {"evaluations": {"sft": evaluation}, "models": {}, "samples": {}, "datasets": {}}
page = build(toys.store, report, nodes["report"].config, inputs).html.read_text()
assert "last words right" in page and "Pairs ordered right" not in page
"""


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)
def test_a_benchmark_says_all_that_others_read(benchmark: type[Benchmark]) -> None:
    names = [measure.name for measure in benchmark.metrics]
    labels = [measure.label for measure in benchmark.metrics]
    assert names
    assert len(set(names)) == len(set(labels)) == len(names)
    assert bool(benchmark.row_types) != benchmark.own_rows
    assert benchmark.convention.endswith(".")
    assert all(measure.unit for measure in benchmark.metrics)


def test_the_same_label_never_means_two_things() -> None:
    named = {(item.label, item.name) for kind in BENCHMARKS.values() for item in kind.metrics}
    assert len({label for label, _ in named}) == len(named)


@pytest.mark.parametrize("table", ["kinds", "metrics", "conventions"])
def test_the_documentation_says_what_the_classes_say(repository: Path, table: str) -> None:
    page = (repository / "docs" / "evaluation.md").read_text("utf-8")
    lines = "\n".join({"kinds": kinds, "metrics": metrics, "conventions": conventions}[table]())
    assert lines in page, f"docs/evaluation.md: the {table} are now\n{lines}"


def kinds() -> Iterator[str]:
    yield "| kind | rows | of | reward model |"
    yield "|---|---|---|---|"
    for kind, benchmark in BENCHMARKS.items():
        rows = ", ".join(benchmark.row_types) or "its own"
        yield f"| `{kind}` | {rows} | a {benchmark.measures} | {'judges' if benchmark.judged else ''} |"


def metrics() -> Iterator[str]:
    yield "| kind | metric | on the page | unit | better | guessing gives |"
    yield "|---|---|---|---|---|---|"
    for kind, benchmark in BENCHMARKS.items():
        for item in benchmark.metrics:
            guess = "" if item.baseline is None else item.baseline
            yield f"| `{kind}` | `{item.name}` | {item.label} | {item.unit} | {item.better} | {guess} |"


def conventions() -> Iterator[str]:
    return (f"- `{kind}`: {benchmark.convention}" for kind, benchmark in BENCHMARKS.items())


@pytest.mark.slow
def test_a_new_benchmark_is_one_file_and_one_line_in_the_union(
    repository: Path, forks: Forks, tmp_path: Path
) -> None:
    """The page's own example in a copy of the library: the flow, the stage and the report take it up."""
    for package in ("tempering", "tasks", "flows"):
        shutil.copytree(repository / package, tmp_path / package)  # with the compiled files
    blocks = re.findall(
        "```python\n(.*?)```", (repository / "docs" / "evaluation.md").read_text("utf-8"), re.S
    )
    added, imported = blocks[0], blocks[1].splitlines()
    folder = tmp_path / "tempering" / "evaluation" / "benchmarks"
    (folder / "last_word.py").write_text(added)
    union = (folder / "__init__.py").read_text()
    union = union.replace("\n__all__", f"{imported[0]}\n\n__all__")
    union = union.replace("    Field(discriminator", f"{imported[1]}\n    Field(discriminator")
    union = union.replace(f",\n{imported[1]}", f"\n{imported[1]}")
    (folder / "__init__.py").write_text(union)
    paths = os.pathsep.join([str(tmp_path), str(repository)])
    ended = forks.run(ADDED, cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths})
    assert ended.returncode == 0, ended.stderr[-3000:]
