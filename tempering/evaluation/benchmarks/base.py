"""What all benchmarks share: a class that says what it measures, on which rows, and that runs.

A benchmark is a config class. Its fields are settings and are hashed; its class variables describe it and
are not. The flow reads `measures` and `judged`, the stage `row_types`, the report `metrics`, the
documentation all of them: none of these keeps a list of its own. Planning reads these classes, so whatever
is heavy is imported inside `run`.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from pydantic import Field

from tempering.artifacts.kinds import DatasetArtifact, ModelArtifact
from tempering.config import Config
from tempering.data.rows import RowType
from tempering.errors import DataError

if TYPE_CHECKING:
    from tempering.artifacts.draft import Draft
    from tempering.data.builders.base import BuilderConfig
    from tempering.evaluation.findings import Findings
    from tempering.generation.language_model import LanguageModel
    from tempering.rewards.learned import LearnedReward

Row = dict[str, Any]
Measured = Literal["policy", "scorer"]
"""A model that writes, or one that scores what was written (a reward model)."""


@dataclass(frozen=True)
class Measure:
    """One metric of a benchmark, as it is described.

    Args:
        name: in the tables.
        label: for readers.
        unit: of its values.
        better: which direction is the good one.
        baseline: what guessing gives; in words where each run computes it from its rows; None: no such thing.
        rank: a report is about the metric with the lowest rank that was measured.
        caveat: what a reader must know where a report is about this metric.
        even: its baseline is what a model gets that is as good as the one it is compared with, not a guess.
        judged: the reward model that judges completions gives it.
        relative: it compares with the completions of a baseline or reference.
        named: it hangs on the models, or the further data sets, that the benchmark names.
    """

    name: str
    label: str
    unit: str
    better: Literal["higher", "lower"] = "higher"
    baseline: float | str | None = None
    rank: int = 9
    caveat: str = ""
    even: bool = False
    judged: bool = False
    relative: bool = False
    named: bool = False


@dataclass(frozen=True)
class Tools:
    """What a benchmark may use: the evaluated model, and beside a policy the judge of its completions."""

    policy: "LanguageModel | None" = None
    scorer: "LearnedReward | None" = None
    seed: int = 0
    baseline: Mapping[int, Row] = field(default_factory=dict)
    """Row of this benchmark -> row of `completions` of the model that win rates are against."""
    model: ModelArtifact | None = None
    """The evaluated model's artifact."""
    models: Mapping[str, ModelArtifact] = field(default_factory=dict)
    """The models that the benchmark names."""
    datasets: Mapping[str, DatasetArtifact] = field(default_factory=dict)
    """The data sets that the benchmark names."""
    out: "Draft | None" = None
    """Where progress, warnings and further files go."""


def column_values(rows: Sequence[Row], column: str) -> list[str]:
    """What each row has in a column, as text.

    Raises:
        DataError: a row has no such column.
    """
    for row in rows:
        if column not in row:
            raise DataError(
                f"the benchmark's `by` is {column!r}, and the rows have no such column",
                expected=f"one of {', '.join(sorted(row))}",
                fix="correct `by`, or use a data set that has the column",
            )
    return [str(row[column]) for row in rows]


class Benchmark(Config):
    """Settings that all benchmarks have. To add one: a class like those beside this file, in the union."""

    dataset: str = Field(description="data set (its eval part where it has one)")
    max_rows: int | None = Field(None, ge=1, description="use the first rows only")

    own_rows: ClassVar[bool] = False
    """Whether it brings its rows itself: it names no data set, and `run` gets no rows."""
    row_types: ClassVar[tuple[RowType, ...]]
    """The rows it takes."""
    measures: ClassVar[Measured] = "policy"
    """The models that it measures."""
    judged: ClassVar[bool] = False
    """Whether a reward model, if there is one, scores its completions."""
    predicts: ClassVar[bool] = False
    """Whether it keeps what the model answered in the format of the BabyLM pipeline (see `predictions`)."""
    metrics: ClassVar[tuple[Measure, ...]]
    """What it measures; `run` may leave out a metric that does not apply."""
    convention: ClassVar[str]
    """How it scores, as far as another way would give another number."""

    def check_machine(self, name: str) -> None:
        """Refuse what cannot run here (a package, a task): called when a run is planned, and by the stage.

        Args:
            name: its own, for messages.
        """

    def check_split(self, name: str, datasets: Mapping[str, "BuilderConfig"]) -> None:
        """Refuse data sets without the parts that it needs, as they are configured: called when planning.

        Args:
            name: its own, for messages.
        """

    def check(self, name: str, tools: Tools) -> None:
        """Refuse what cannot be measured: called before any model is loaded, with artifacts alone.

        Args:
            name: its own, for messages.
        """

    @abstractmethod
    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Measure the model on `rows` and add the results to `findings`."""

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """The data sets that it names, each an input of the stage; the first is the one that `run` gets."""
        return () if self.own_rows else (self.dataset,)

    def takes(self, dataset: str) -> tuple[RowType, ...]:
        """The types of rows that it takes from one of the data sets that it names."""
        return self.row_types

    @property
    def model_names(self) -> tuple[str, ...]:
        """Models beside the evaluated one that it names (stage, artifact, folder or Hub name)."""
        return self.scorer_names

    @property
    def scorer_names(self) -> tuple[str, ...]:
        """Those of them that must be reward models."""
        return ()

    @property
    def compared(self) -> bool:
        """Whether it reads `Tools.baseline`: the completions of the model that others are compared with."""
        return self.judged

    @property
    def convention_name(self) -> str:
        """The short name of its convention, for tables; `honest`: fp32, a tie counts half."""
        return str(getattr(self, "scoring", "honest"))

    @classmethod
    def kind_name(cls) -> str:
        """Its `kind` in a config."""
        return str(get_args(cls.model_fields["kind"].annotation)[0])

    @classmethod
    def measure(cls, metric: str) -> Measure | None:
        """How it describes a metric, or `METRIC[PART]` of some rows; None where it has no such metric."""
        name, _, part = metric.rstrip("]").partition("[")
        measure = next((measure for measure in cls.metrics if measure.name == name), None)
        if measure is None or not part:
            return measure
        return replace(measure, name=metric, label=f"{measure.label}: {part.replace('_', ' ')}")
