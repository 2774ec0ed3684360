"""The numbers of the report as rows: the same for the page, the Parquet file and `--json`.

The benchmark's class says what a metric is called and which one a page is about (see
`tempering.evaluation.benchmarks`); an evaluation's config says which class that is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from tempering.artifacts.kinds import EvaluationArtifact
from tempering.evaluation.benchmarks import BENCHMARKS, Benchmark, Measure
from tempering.report.numbers import finite
from tempering.report.reading import rows_of


@dataclass(frozen=True)
class Figure:
    """One measured number of one model; None where it could not be measured."""

    model: str
    metric: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    baseline: float | None
    better: str
    benchmark: str
    convention: str = ""

    @property
    def gain(self) -> float:
        """The value with the sign that makes more the better; worst of all where it is missing."""
        if self.value is None:
            return float("-inf")
        return -self.value if self.better == "lower" else self.value

    @property
    def versus_guess(self) -> int | None:
        """1 where it is clearly better than guessing, -1 where clearly worse, else 0; None: unknown."""
        if self.baseline is None or None in self.numbers:
            return None
        return self.separated(replace(self, low=self.baseline, high=self.baseline))

    def separated(self, other: "Figure") -> int:
        """1 where its interval lies wholly on the better side of `other`'s, -1 on the worse, else 0."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return 0
        above = (self.low > other.high) - (self.high < other.low)
        return -above if self.better == "lower" else above

    @property
    def numbers(self) -> tuple[float | None, float | None, float | None]:
        """Value and interval."""
        return self.value, self.low, self.high


@dataclass(frozen=True)
class Line:
    """One metric on one benchmark: its figures by model, and the benchmark's class where it is known."""

    benchmark: str
    metric: str
    figures: Mapping[str, Figure]
    described: type[Benchmark] | None = None

    @property
    def measure(self) -> Measure:
        """How the benchmark describes the metric; a label made of its name where it does not."""
        measure = self.described.measure(self.metric) if self.described else None
        if measure is not None:
            return measure
        name = (self.whole or self.metric).replace("_", " ").capitalize()
        return Measure(self.metric, f"{name}: {self.part}" if self.whole else name, unit="")

    @property
    def better(self) -> str:
        """`higher` or `lower`."""
        return next(iter(self.figures.values())).better

    @property
    def convention(self) -> str:
        """The short names of how it was scored: one, as a rule."""
        return ", ".join(dict.fromkeys(item.convention for item in self.figures.values() if item.convention))

    @property
    def whole(self) -> str:
        """The metric that this one is a part of, `METRIC` of `METRIC[PART]`; "" where it is of all rows."""
        return self.metric.partition("[")[0] if self.metric.endswith("]") else ""

    @property
    def part(self) -> str:
        """The part of `METRIC[PART]`, for readers."""
        return self.metric.partition("[")[2].removesuffix("]").replace("_", " ") if self.whole else ""

    @property
    def baseline(self) -> float | None:
        """What guessing gives."""
        return next((item.baseline for item in self.figures.values() if item.baseline is not None), None)

    def best(self, among: Iterable[str] | None = None) -> Figure | None:
        """The figure with the best value; the first in order where several are equal."""
        keys = self.figures if among is None else [key for key in among if key in self.figures]
        figures = [self.figures[key] for key in keys if self.figures[key].value is not None]
        return max(figures, key=lambda item: item.gain, default=None)


def metric_rows(evaluations: Mapping[str, EvaluationArtifact]) -> list[dict[str, Any]]:
    """All metrics as plain rows (see `Figure`), in pipeline order; what is not finite is None."""
    return [asdict(item) for item in figures(evaluations)]


def schema() -> Any:
    """The Parquet schema of `metric_rows`, so that an empty table has its columns too."""
    import pyarrow as pa

    kinds = {float | None: pa.float64(), int: pa.int64(), str: pa.string()}
    return pa.schema([(item.name, kinds[item.type]) for item in fields(Figure)])  # type: ignore[index]


def figures(evaluations: Mapping[str, EvaluationArtifact]) -> list[Figure]:
    """All measured numbers, models in pipeline order."""
    return [
        _figure(key, row)
        for key in evaluations
        for row in rows_of(evaluations[key], "metrics")
        if row.get("metric")
    ]


def described(evaluations: Mapping[str, EvaluationArtifact]) -> dict[str, type[Benchmark]]:
    """Name of a benchmark -> its class, where an evaluation's config names a known kind."""
    settings = [
        item
        for artifact in evaluations.values()
        for item in artifact.manifest.config.get("benchmarks", {}).items()
    ]
    return {name: BENCHMARKS[item["kind"]] for name, item in settings if item.get("kind") in BENCHMARKS}


def lines(numbers: Iterable[Figure], classes: Mapping[str, type[Benchmark]]) -> list[Line]:
    """The figures grouped by benchmark and metric, in the order of their first appearance."""
    groups: dict[tuple[str, str], dict[str, Figure]] = {}
    for item in numbers:
        groups.setdefault((item.benchmark, item.metric), {}).setdefault(item.model, item)
    order = {name: rank for rank, name in reversed(list(enumerate(key[0] for key in groups)))}
    keys = sorted(groups, key=lambda key: order[key[0]])
    return [Line(*key, groups[key], classes.get(key[0])) for key in keys]


def families(every: Iterable[Line]) -> list[list[Line]]:
    """Lines in groups whose models can be compared: a reward model shares no metric with a policy."""
    groups: list[tuple[set[str], list[Line]]] = []
    for line in every:
        keys = set(line.figures)
        touching = [group for group in groups if group[0] & keys]
        merged = [member for group in touching for member in group[1]] + [line]
        at = groups.index(touching[0]) if touching else len(groups)
        groups = [group for group in groups if group not in touching]
        groups.insert(at, (keys.union(*(group[0] for group in touching)), merged))
    return [group[1] for group in groups]


def headline(every: Iterable[Line]) -> Line | None:
    """The line that the report is about: of policies, with the metric of the lowest rank, of most models."""
    usable = [
        line
        for line in every
        if (line.described is None or line.described.measures == "policy")
        and any(item.value is not None for item in line.figures.values())
    ]
    return min(usable, key=lambda line: (line.measure.rank, -len(line.figures)), default=None)


def _figure(model: str, row: Mapping[str, Any]) -> Figure:
    value, low, high, baseline = (finite(row.get(key)) for key in ("value", "low", "high", "baseline"))
    better = "lower" if row.get("better") == "lower" else "higher"
    return Figure(
        model,
        str(row["metric"]),
        value,
        low,
        high,
        int(finite(row.get("n")) or 0),
        baseline,
        better,
        str(row.get("benchmark") or ""),
        str(row.get("convention") or ""),
    )
