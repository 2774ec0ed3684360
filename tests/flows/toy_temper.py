"""`temper` with a toy pipeline in the place of the real one: `python toy_temper.py run CONFIG ...`.

data -> sample -> base -> left, right, last (from left) -> evaluate[...] -> report
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic import Field
from toy_stages import ToyData, ToyEvaluate, ToyReport, ToySample, ToyTrain

import flows.pipeline
from flows.cli.main import main
from flows.gates import hold_back
from flows.graph import Node
from tempering.artifacts.stage import get_stage
from tempering.config import Config
from tempering.config_file import load
from tempering.evaluation.gates import GateConfig
from tempering.runtime import RuntimeConfig
from tempering.validation import validate


class ToyPipeline(Config):
    """A pipeline with two branches."""

    name: str = "toy"
    seed: int = 0
    runtime: RuntimeConfig = Field(default_factory=RuntimeConfig)
    data: ToyData = ToyData()
    sample: ToySample = ToySample()
    base: ToyTrain = ToyTrain()
    left: ToyTrain = ToyTrain(steps=4)
    right: ToyTrain = ToyTrain(steps=5)
    gates: dict[str, GateConfig] = Field(default_factory=dict)


def load_toy(path: str | Path, overrides: Iterable[str] = ()) -> ToyPipeline:
    return validate(ToyPipeline, load(path, overrides), str(path))


def toy_graph(config: ToyPipeline) -> list[Node]:
    models = ("base", "left", "right")
    train, evaluate = get_stage("toy_train"), get_stage("toy_evaluate")
    nodes = [
        Node("data", get_stage("toy_data"), config.data),
        Node("sample", get_stage("toy_sample"), config.sample, {"data": "data"}),
        Node("base", train, config.base, {"sample": "sample"}),
        Node("left", train, config.left, {"sample": "sample", "model": "base"}),
        Node("right", train, config.right, {"sample": "sample", "model": "base"}),
        *[Node(f"evaluate[{name}]", evaluate, ToyEvaluate(), {"model": name}) for name in models],
        Node(
            "report",
            get_stage("toy_report"),
            ToyReport(),
            {"evaluations": {name: f"evaluate[{name}]" for name in models}},
        ),
    ]
    return hold_back(nodes, config.gates)


def install(setter: Callable[[object, str, object], None] = setattr) -> None:
    """Let the flow load and build the toy pipeline."""
    setter(flows.pipeline, "load_pipeline", load_toy)
    setter(flows.pipeline, "build_graph", toy_graph)


if __name__ == "__main__":
    install()
    sys.exit(main())
