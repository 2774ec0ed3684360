"""An examination from start to end: read the data sets, choose a tokenizer, count, make the samples.

Nothing is kept: good rows lie in a temporary folder while they are looked at. A data set that cannot be
read does not hide the others; what is made of it is left out, and said.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tempering.data.builders.base import BuilderConfig
from tempering.data.row_conversion import uses_of
from tempering.data.rows import RowType
from tempering.data.sample.config import SampleConfig
from tempering.data.tokenizers import on_all_cores
from tempering.doctor.check import Level
from tempering.doctor.dataset import Dataset, Progress, read_dataset
from tempering.doctor.dataset_checks import dataset_checks
from tempering.doctor.sample import Sample, look_at_sample
from tempering.doctor.sample_checks import sample_checks
from tempering.doctor.token_counts import count_tokens
from tempering.doctor.tokenizer import Chosen, template_checks
from tempering.errors import DataError

Choose = Callable[[Mapping[str, Dataset]], Chosen]
"""From the data sets that could be read to the tokenizer."""
_WITH_ANSWERS = (RowType.PROMPT_COMPLETION, RowType.PREFERENCE, RowType.PROMPT)


@dataclass(frozen=True)
class Subjects:
    """What is to be examined.

    Args:
        datasets: in an order in which a data set follows those that it is decontaminated against.
        uses: data set -> what it is used for; none: unknown.
        hidden: data sets that are read because others need them, and not shown.
        natural: a sample of each data set is made besides, of what its rows naturally are, so long.
    """

    title: str
    datasets: Mapping[str, BuilderConfig]
    samples: Mapping[str, SampleConfig] = field(default_factory=dict)
    uses: Mapping[str, frozenset[str]] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    natural: int | None = None


@dataclass
class Examination:
    """All that was examined.

    Args:
        title: the config or the path.
        most: rows looked at of each data set; None: all.
        chosen: the tokenizer; None where there was no text to train one on.
        remarks: what else a person should hear.
    """

    title: str
    most: int | None
    chosen: Chosen | None = None
    datasets: list[Dataset] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Dataset | Sample]:
        yield from self.datasets
        yield from self.samples

    @property
    def level(self) -> Level:
        """The worst of all checks."""
        return max((examined.level for examined in self), default=Level.OK)

    @property
    def code(self) -> int:
        """0 fine, 1 training would be meaningless, 2 something could not be read or made."""
        if any(examined.error is not None for examined in self):
            return 2
        return 1 if self.level is Level.FATAL else 0

    @property
    def verdict(self) -> str:
        """In words: fine, warnings, meaningless, or unreadable."""
        if self.code:
            return "unreadable" if self.code == 2 else "meaningless"
        return "warnings" if self.level is Level.WARNING else "fine"

    def to_json(self) -> dict[str, Any]:
        """The whole of it as one document."""
        return {
            "examined": self.title,
            "verdict": self.verdict,
            "exit_code": self.code,
            "rows_limit": self.most,
            "tokenizer": None if self.chosen is None else self.chosen.to_json(),
            "remarks": self.remarks,
            "datasets": [dataset.to_json() for dataset in self.datasets],
            "samples": [sample.to_json() for sample in self.samples],
        }


def examine(
    subjects: Subjects,
    choose: Choose,
    *,
    most: int | None = None,
    progress: Progress = lambda what, done: None,
) -> Examination:
    """Examine data sets and samples.

    Args:
        choose: gives the tokenizer; asked once, and only if there are rows.
        most: rows to look at in each data set; None: all.

    Raises:
        UserError: when there is no tokenizer to be had.
    """
    done = Examination(subjects.title, most)
    with TemporaryDirectory(prefix="tempering-doctor-") as folder:
        # The data sets, and what they have in common.
        datasets = _read(subjects, Path(folder), most, progress)
        readable = {name: dataset for name, dataset in datasets.items() if dataset.error is None}
        if any(dataset.kept for dataset in readable.values()):
            done.chosen = choose(readable)
            with on_all_cores():
                for dataset in readable.values():
                    count_tokens(dataset, done.chosen.tokenizer, progress)
        _find_leaks([dataset for dataset in readable.values() if dataset.kept])

        # The samples; without rows there is no tokenizer, and only what is broken is said.
        samples = [Sample(name, config) for name, config in subjects.samples.items()]
        samples += _natural_samples(subjects, readable)
        for sample in samples:
            _make(sample, datasets, done.chosen, progress)
        done.samples = [sample for sample in samples if done.chosen or sample.error]

        # The verdicts. Of rows that are in a sample, its examples say more.
        sampled = {name for sample in samples for name in sample.config.datasets}
        done.datasets = [dataset for name, dataset in datasets.items() if name not in subjects.hidden]
        for dataset in done.datasets:
            dataset.checks = [] if dataset.error else dataset_checks(dataset)
            dataset.examples = [] if dataset.name in sampled else dataset.examples
    return done


def _read(subjects: Subjects, folder: Path, most: int | None, progress: Progress) -> dict[str, Dataset]:
    datasets: dict[str, Dataset] = {}
    for number, (name, config) in enumerate(subjects.datasets.items()):
        uses = subjects.uses.get(name, frozenset())
        dataset = Dataset(name, config, uses=uses, folder=folder / str(number))
        named = [datasets[other] for other in config.quality.decontaminate if other in datasets]
        read_dataset(dataset, most, [other for other in named if other.error is None], progress)
        datasets[name] = dataset
    return datasets


def _natural_samples(subjects: Subjects, datasets: Mapping[str, Dataset]) -> list[Sample]:
    """A sample of each data set that can be trained on, as what its rows naturally are."""
    if subjects.natural is None:
        return []
    samples = []
    for name, dataset in datasets.items():
        for use in uses_of(dataset.row_type)[:1]:
            settings = {"datasets": {name: 1}, "max_length": subjects.natural, "row_type": str(use)}
            samples.append(Sample(name, SampleConfig.model_validate(settings), natural=True))
    return samples


def _make(sample: Sample, datasets: Mapping[str, Dataset], chosen: Chosen | None, progress: Progress) -> None:
    """Make a sample and judge it."""
    broken = [name for name in sample.config.datasets if datasets[name].error is not None]
    if broken:
        sample.error = DataError(f"it is made of {', '.join(broken)}, which cannot be read")
    elif chosen is not None:
        look_at_sample(sample, datasets, chosen.tokenizer, progress)
        sample.checks = [] if sample.error else sample_checks(sample)
        if sample.row_type in _WITH_ANSWERS:
            sample.checks += template_checks(chosen, sample.config.prompt_format)


def _find_leaks(datasets: Sequence[Dataset]) -> None:
    """Rows held out that open as rows that are trained on do, within a data set and among several."""
    for held_out in datasets:
        measured = held_out.openings[held_out.measured_part]
        trained = [held_out] if all(held_out.totals.rows.values()) else []
        if "evaluation" in held_out.uses:
            trained += [other for other in datasets if other is not held_out and "training" in other.uses]
        for other in trained:
            count = measured.among(other.openings["train"])
            if count:
                held_out.leaks[other.name] = count
