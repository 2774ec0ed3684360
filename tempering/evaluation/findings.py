"""What a benchmark found: metrics, and the rows behind them for the tables of the artifact."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from math import fsum, isnan
from typing import Any

from tempering.evaluation.benchmarks.base import Benchmark, Row, Tools
from tempering.evaluation.bootstrap import statistics
from tempering.evaluation.metrics import Metric, mean_metric

Baseline = float | Sequence[float | None] | None
"""What guessing gives: on all rows alike, or on each."""


@dataclass
class Findings:
    """What one benchmark found for one model. `tables` are rows of `metadata/<table>.parquet`."""

    name: str
    benchmark: Benchmark
    metrics: list[Metric] = field(default_factory=list)
    tables: dict[str, list[Row]] = field(default_factory=dict)

    def add(
        self,
        metric: str,
        values: Sequence[float | None],
        baseline: Baseline = None,
        weights: Sequence[float] | None = None,
        *,
        parts: Sequence[str] | None = None,
        kept: bool = True,
        share: bool = False,
        shown: Callable[[float], float] | None = None,
    ) -> None:
        """One metric from its per-row values, which are kept too (for paired comparisons).

        Args:
            baseline: what guessing gives on these rows, or on each (None: nobody knows), where the benchmark
                does not state a number.
            weights: what each row counts in the mean; by default all count the same.
            parts: the part of the rows that each row belongs to: `METRIC[PART]` of each is measured too.
            kept: whether the values are kept, which a second mean of the same ones need not be.
            share: weighted values are yes or no (see `mean_metric`).
            shown: a rising function of the mean and of its interval (and of each value), as e to a loss.
        """
        guesses = [*baseline] if isinstance(baseline, Sequence) else [baseline] * len(values)
        self._measure(metric, values, guesses, weights, shown, share=share)
        if kept:
            read = [None if value is None or shown is None else shown(value) for value in values]
            self._keep_scores(metric, values if shown is None else read, parts)
        grouped: dict[str, list[int]] = {}
        for place, part in enumerate(parts or ()):
            grouped.setdefault(part, []).append(place)
        for part, places in grouped.items():
            some, own = ([column[place] for place in places] for column in (values, guesses))
            self._measure(f"{metric}[{part}]", some, own, shown=shown)

    def add_statistics(
        self,
        metrics: Sequence[str],
        statistic: Callable[[Any], Sequence[float]],
        n: int,
        counts: Sequence[int],
    ) -> None:
        """Metrics that are no means over rows, such as correlations, with intervals by a bootstrap over rows.

        Args:
            statistic: numbers of rows (an array) -> the metrics on those rows.
            n: how many rows there are.
            counts: how many of them each metric is about.
        """
        values, intervals = statistics(statistic, n)
        for metric, value, (low, high), count in zip(metrics, values, intervals, counts, strict=True):
            self.add_value(metric, value, (low, high), count)

    def _measure(
        self,
        metric: str,
        values: Sequence[float | None],
        baselines: Sequence[float | None],
        weights: Sequence[float] | None = None,
        shown: Callable[[float], float] | None = None,
        *,
        share: bool = False,
    ) -> None:
        """One mean with its interval, described as the benchmark describes it."""
        about = self._about(metric, _guess(values, baselines, weights))
        mean = mean_metric(metric, values, self.name, weights=weights, share=share, **about)
        if shown is not None:
            mean = replace(mean, value=shown(mean.value), low=shown(mean.low), high=shown(mean.high))
        self.metrics.append(mean)

    def add_value(
        self,
        metric: str,
        value: float,
        interval: tuple[float, float],
        n: int,
        baseline: float | None = None,
        values: Sequence[float | None] = (),
    ) -> None:
        """One metric that is no mean over rows, with the 95% interval that the benchmark worked out.

        Args:
            n: how many rows it is of.
            values: what each row contributes, where that means something.
        """
        about = self._about(metric, baseline)
        self.metrics.append(Metric(metric, value, *interval, n, self.name, **about))
        self._keep_scores(metric, values)

    def _about(self, metric: str, baseline: float | None) -> dict[str, Any]:
        """Direction, baseline and convention of a metric, as its benchmark declares them."""
        measure = self.benchmark.measure(metric)
        assert measure is not None, f"{type(self.benchmark).__name__} does not declare the metric {metric!r}"
        return {
            "better": measure.better,
            "baseline": measure.baseline if isinstance(measure.baseline, float) else baseline,
            "convention": self.benchmark.convention_name,
        }

    def _keep_scores(
        self, metric: str, values: Sequence[float | None], parts: Sequence[str] | None = None
    ) -> None:
        rows = ({"metric": metric, "row": row, "value": value} for row, value in enumerate(values))
        if parts:
            rows = ({**row, "part": part} for row, part in zip(rows, parts, strict=True))
        self.keep("scores", rows)

    def keep(self, table: str, rows: Iterable[Row]) -> None:
        """Rows for a table, under the benchmark's name."""
        self.tables.setdefault(table, []).extend({"benchmark": self.name, **row} for row in rows)

    def piece(self) -> dict[str, Any]:
        """What a killed run goes on from (see `pieces`)."""
        return {"metrics": [asdict(metric) for metric in self.metrics], "tables": self.tables}


def _guess(
    values: Sequence[float | None], baselines: Sequence[float | None], weights: Sequence[float] | None
) -> float | None:
    """What guessing gives on the rows that count; None where no row has a guess."""
    rows = zip(values, baselines, weights or [1.0] * len(values), strict=True)
    guesses = [
        (guess, weight)
        for value, guess, weight in rows
        if value is not None and not isnan(value) and guess is not None
    ]
    total = fsum(weight for _, weight in guesses)
    return fsum(guess * weight for guess, weight in guesses) / total if total else None


def run_benchmark(name: str, benchmark: Benchmark, rows: list[Row], tools: Tools) -> Findings:
    """Run one benchmark under the name it has in the config."""
    findings = Findings(name, benchmark)
    benchmark.run(rows, tools, findings)
    return findings


def findings_of(piece: Mapping[str, Any], benchmarks: Mapping[str, Benchmark]) -> list[Findings]:
    """What each benchmark found, from the name and `Findings.piece` of each."""
    return [
        Findings(name, benchmark, [Metric(**row) for row in piece[name]["metrics"]], piece[name]["tables"])
        for name, benchmark in benchmarks.items()
    ]


def tables_of(findings: Iterable[Findings]) -> dict[str, list[Row]]:
    """The rows of all benchmarks by table; completions and scores are there even if empty."""
    tables: dict[str, list[Row]] = {"completions": [], "scores": []}
    for finding in findings:
        for table, rows in finding.tables.items():
            tables.setdefault(table, []).extend(rows)
    return tables
