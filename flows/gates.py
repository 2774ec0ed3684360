"""Gates in the graph: `gate[MODEL]` after `evaluate[MODEL]`, and before what is made from the model.

What trains from the model, merges it or pushes it waits for its gate: an order alone (`Node.after`), which no
fingerprint holds, so that a gate retrains nothing. What measures does not wait, and neither does what the
evaluation itself needs, such as a judge that was trained from the model: that would be a circle.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace

from flows.graph import Node
from tempering.artifacts.kinds import EvaluationArtifact, ReportArtifact
from tempering.artifacts.stage import get_stage, section_kinds
from tempering.errors import ConfigError
from tempering.evaluation.benchmarks import Benchmark
from tempering.evaluation.config import EvaluateConfig
from tempering.evaluation.gates import GateConfig


def with_gates(nodes: list[Node], gates: Mapping[str, GateConfig], stages: Iterable[str]) -> list[Node]:
    """The nodes with gates among them, parents before children.

    Args:
        gates: model -> what it must reach; that of a kind of stage that is switched off is left out.
        stages: the names of the pipeline's own stages.

    Raises:
        ConfigError: a model that is not evaluated, a benchmark that it does not get, an unknown metric.
    """
    off = section_kinds().keys() - set(stages)
    by_name = {node.name: node for node in nodes}
    evaluated = {node.key: node for node in nodes if isinstance(node.config, EvaluateConfig)}
    for name, gate in gates.items():
        if name in evaluated:
            _check(name, gate, evaluated[name])
        elif name not in off:
            _refuse_model(name, evaluated, f"evaluate[{name}]" in by_name or name in stages)
    return hold_back(nodes, {name: gate for name, gate in gates.items() if name in evaluated})


def _refuse_model(name: str, evaluated: Iterable[str], is_stage: bool) -> None:
    near = difflib.get_close_matches(name, list(evaluated), n=1)
    raise ConfigError(
        f"gates.{name}: {name} is not evaluated" if is_stage else f"gates.{name}: there is no such stage",
        expected=f"one of {', '.join(evaluated)}" if evaluated else "an `evaluate` section with benchmarks",
        fix=f"did you mean {near[0]!r}?" if near else "",
    )


def _check(name: str, gate: GateConfig, evaluation: Node) -> None:
    """Refuse a condition on what this evaluation cannot measure."""
    assert isinstance(evaluation.config, EvaluateConfig)
    benchmarks = evaluation.config.benchmarks
    for condition in gate.conditions:
        fitting = [key for key in benchmarks if condition.startswith(f"{key}.")]
        if not fitting:
            names = ", ".join(benchmarks) or "none"
            raise ConfigError(
                f"gates.{name}: {condition} names no benchmark that {name} gets",
                expected=f"BENCHMARK.METRIC with one of these benchmarks: {names}",
            )
        key = max(fitting, key=len)
        metric = condition[len(key) + 1 :]
        _check_metric(f"gates.{name}", key, benchmarks[key], metric)
        _check_needs(f"gates.{name}: {condition}", benchmarks[key], metric, evaluation.config)


def _check_metric(place: str, key: str, benchmark: Benchmark, metric: str) -> None:
    if benchmark.measure(metric) is None:
        names = [measure.name for measure in benchmark.metrics]
        near = difflib.get_close_matches(metric, names, n=1)
        raise ConfigError(
            f"{place}: the benchmark {key} ({benchmark.kind_name()}) has no metric {metric!r}",
            expected=f"one of {', '.join(names)}",
            fix=f"did you mean {key}.{near[0]}?" if near else "",
        )


def _check_needs(place: str, benchmark: Benchmark, metric: str, config: EvaluateConfig) -> None:
    """Refuse a metric that this evaluation leaves out: it lacks a baseline, or a reward model."""
    measure = benchmark.measure(metric)
    assert measure is not None
    if measure.relative and benchmark.compared and config.baseline is None:
        raise ConfigError(
            f"{place} compares with evaluate.baseline, which is this model itself or not set",
            expected="a metric that this model gets: the gate could never be passed",
            fix="gate another metric, or a model that is compared with the baseline",
        )
    if measure.judged and config.reward_model is None:
        raise ConfigError(
            f"{place} is given by evaluate.reward_model, which is not set",
            expected="a metric that this model gets: the gate could never be passed",
            fix="gate another metric, or set evaluate.reward_model",
        )


def hold_back(nodes: list[Node], gates: Mapping[str, GateConfig]) -> list[Node]:
    """The nodes with a gate after each of these evaluations, and what is made from the model behind it."""
    by_name = {node.name: node for node in nodes}
    for name, config in gates.items():
        evaluation = by_name[f"evaluate[{name}]"]
        gate = Node(f"gate[{name}]", get_stage("gate"), config, {"evaluation": evaluation.name})
        needed = _needed(by_name, evaluation)
        model = evaluation.inputs["model"]
        models = {model, name} if isinstance(model, str) else {model}
        for node in list(by_name.values()):
            if issubclass(node.stage.makes, ReportArtifact):  # it says which gates were passed
                passed = node.inputs.get("gates", {})
                assert isinstance(passed, Mapping)
                inputs = {**node.inputs, "gates": {**passed, name: gate.name}}
                by_name[node.name] = replace(node, inputs=inputs)
            elif (
                models & set(node.sources().values())
                and not issubclass(node.stage.makes, EvaluationArtifact)
                and node.name not in needed
            ):
                by_name[node.name] = replace(node, after=(*node.after, gate.name))
        by_name[gate.name] = gate
    return _in_order(by_name) if gates else nodes


def _needed(by_name: Mapping[str, Node], node: Node) -> set[str]:
    """A node and everything that ends before it."""
    needed, waiting = set[str](), [node.name]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += by_name[name].before()
    return needed


def _in_order(by_name: Mapping[str, Node]) -> list[Node]:
    """Parents before children, else as they are."""
    ordered: dict[str, Node] = {}

    def add(node: Node) -> None:
        for name in node.before():
            if name not in ordered:
                add(by_name[name])
        ordered.setdefault(node.name, node)

    for node in by_name.values():
        add(node)
    return list(ordered.values())
