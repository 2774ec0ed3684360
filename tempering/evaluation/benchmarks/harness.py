"""Tasks of lm-evaluation-harness (https://github.com/EleutherAI/lm-evaluation-harness), run by itself.

The harness loads the task's data, asks the model as it does everywhere, and aggregates; nothing is computed
again here, so the numbers are those that it gives for the exported model. An interval is its standard error
times 1.96. The package is an extra; what is not there is refused before anything is computed.
"""

import difflib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from tempering.errors import ConfigError, DataError
from tempering.evaluation.benchmarks.base import Benchmark, Measure, Row, Tools

if TYPE_CHECKING:
    from tempering.evaluation.findings import Findings


class HarnessBenchmark(Benchmark):
    """Tasks of lm-evaluation-harness; needs `tempering[harness]`."""

    kind: Literal["harness"]
    dataset: str = Field("", description="not set: tasks bring their own data")
    max_rows: int | None = Field(None, ge=1, description="use the first rows of each task only")
    tasks: list[str] = Field(min_length=1, description="tasks, groups or tags of the harness")
    task_folder: str | None = Field(
        None, description="folder of your own task files (YAML), beside the harness's own tasks"
    )
    num_fewshot: int | None = Field(
        None, ge=0, description="examples before a question; null: as the task says"
    )

    own_rows = True
    row_types = ()
    convention = (
        "As lm-evaluation-harness does it: its model `hf` on the weights in fp32, its prompts, data, metrics "
        "and standard errors (the interval is 1.96 of them)."
    )
    metrics = (Measure("METRIC[TASK]", "Metric of a task", "as the task says"),)

    @field_validator("dataset")
    @classmethod
    def _brings_its_own(cls, dataset: str) -> str:
        if dataset:
            raise ValueError("tasks of the harness bring their own data; fix: remove it")
        return dataset

    @property
    def convention_name(self) -> str:
        """Its own."""
        return "lmeval"

    @classmethod
    def measure(cls, metric: str) -> Measure:
        """Any metric: tasks name their own."""
        name, _, task = metric.rstrip("]").partition("[")
        return Measure(metric, f"{task.replace('_', ' ')}: {name}", "as the task says")

    def external_files(self) -> tuple[Path, ...]:
        """The task files and what lies beside them: changing them changes the result."""
        if self.task_folder is None:
            return ()
        folder = Path(self.task_folder).expanduser()
        if not folder.is_dir():
            raise ConfigError(
                f"the task_folder {self.task_folder} does not exist",
                fix="correct `task_folder`, or remove it",
            )
        return tuple(
            sorted(file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
        )

    def named_files(self) -> tuple[tuple[str, Path], ...]:
        """The files by their place in the folder: where it lies changes nothing."""
        root = Path(self.task_folder or "").expanduser()
        return tuple((str(file.relative_to(root)), file) for file in self.external_files())

    def check_machine(self, name: str) -> None:
        """Refuse a missing package and tasks that the harness does not know."""
        if find_spec("lm_eval") is None:
            raise ConfigError(
                f"benchmark {name} (harness): the package lm_eval is not installed",
                expected="lm-evaluation-harness",
                fix="pip install 'tempering[harness]', or remove the benchmark",
            )
        known = self._manager().all_tasks
        for task in self.tasks:
            if task not in known:
                near = difflib.get_close_matches(task, known, n=1)
                raise ConfigError(
                    f"benchmark {name}: the harness knows no task {task!r}",
                    expected="a task, group or tag of `lm-eval ls tasks`, or of a file in `task_folder`",
                    fix=f"did you mean {near[0]!r}?" if near else "correct `tasks`, or set `task_folder`",
                )

    def _manager(self) -> Any:
        """What finds tasks: among one's own alone where that is enough, since the harness has thousands."""
        from lm_eval.tasks import TaskManager

        if self.task_folder is None:
            return TaskManager()
        folder = str(Path(self.task_folder).expanduser())
        own = TaskManager(include_path=folder, include_defaults=False)
        return (
            own if {*self.tasks} <= {*own.all_subtasks, *own.all_tags} else TaskManager(include_path=folder)
        )

    def run(self, rows: list[Row], tools: Tools, findings: "Findings") -> None:
        """Every number that the harness gives, by its task."""
        import lm_eval
        from lm_eval.models.huggingface import HFLM

        assert tools.policy is not None
        assert tools.model is not None
        policy = tools.policy
        try:
            report: Any = lm_eval.simple_evaluate(
                model=HFLM(
                    pretrained=policy.model,
                    tokenizer=str(tools.model.model_dir),
                    batch_size=policy.batch_size,
                    device=str(policy.model.device),
                ),
                tasks=list(self.tasks),
                task_manager=self._manager(),
                num_fewshot=self.num_fewshot,
                limit=self.max_rows,
                log_samples=False,
            )
        except Exception as error:  # whatever a task or the loading of its data raises
            raise DataError(
                f"lm-evaluation-harness cannot run {', '.join(self.tasks)}: "
                f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}",
                expected="tasks that `lm-eval` runs here by hand",
                fix="correct the task, or fetch its data while online",
            ) from error
        findings.metrics.extend(_metrics(report, findings.name, self.convention_name))


def _metrics(report: Any, benchmark: str, convention: str) -> list[Any]:
    """The numbers of the harness's report as ours."""
    from tempering.evaluation.metrics import Z95, Metric

    metrics = []
    for task, numbers in report["results"].items():
        counts = report["n-samples"].get(task)
        for key, value in numbers.items():
            metric, _, filtered = key.partition(",")
            if not filtered or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = numbers.get(f"{metric}_stderr,{filtered}")
            half = Z95 * error if isinstance(error, int | float) else float("nan")
            part = task if filtered == "none" else f"{task},{filtered}"
            rising = report["higher_is_better"].get(task, {}).get(metric, True)
            metrics.append(
                Metric(
                    f"{metric}[{part}]",
                    float(value),
                    value - half,
                    value + half,
                    counts["effective"] if counts else _rows_of(report, task),
                    benchmark,
                    better="lower" if rising is False else "higher",
                    convention=convention,
                )
            )
    return metrics


def _rows_of(report: Any, group: str) -> int:
    """Rows of all tasks of a group."""
    tasks = report.get("group_subtasks", {}).get(group, [])
    return sum(report["n-samples"][task]["effective"] for task in tasks if task in report["n-samples"])
