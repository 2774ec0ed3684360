"""An examination from start to end: read the data sets, choose a tokenizer, count, make the samples.

Nothing is kept: good rows lie in a temporary folder while they are looked at. A data set that cannot be
read does not hide the others; what is made of it is left out, and said.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tempering.data.builders.base import BuilderConfig
from tempering.data.row_conversion import uses_of
from tempering.data.rows import RowType
from tempering.data.sample.config import SampleConfig
from tempering.data.tokenizers import on_all_cores
from tempering.doctor.dataset import Dataset, Progress, read_dataset
from tempering.doctor.dataset_checks import dataset_checks
from tempering.doctor.examples import text_example, token_example
from tempering.doctor.result import Examination, Examined
from tempering.doctor.sample import SampleFindings, look_at_sample
from tempering.doctor.sample_checks import sample_checks
from tempering.doctor.token_counts import count_tokens
from tempering.doctor.tokenizer import Chosen, template_checks
from tempering.errors import DataError

Choose = Callable[[Mapping[str, Dataset]], Chosen]
"""From the data sets that could be read to the tokenizer."""


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
        read = _read(subjects, Path(folder), most, progress)
        readable = {name: one for name, one in read.items() if one.error is None}
        if any(one.kept for one in readable.values()):
            done.chosen = choose(readable)
            with on_all_cores():
                for one in readable.values():
                    one.tokens = count_tokens(one, done.chosen.tokenizer, progress)
        _find_leaks(readable.values())
        natural = _natural(subjects, readable)
        done.samples = [
            *_samples(subjects.samples, read, done.chosen, progress),
            *_samples(natural, read, done.chosen, progress, natural=True),
        ]
        samples = [*subjects.samples.values(), *natural.values()]
        sampled = {name for one in samples for name in one.datasets}
        shown = [one for name, one in read.items() if name not in subjects.hidden]
        done.datasets = [_judged(one, one.name in sampled) for one in shown]
    return done


def _read(subjects: Subjects, folder: Path, most: int | None, progress: Progress) -> dict[str, Dataset]:
    read: dict[str, Dataset] = {}
    for number, (name, config) in enumerate(subjects.datasets.items()):
        against = [read[other] for other in config.quality.decontaminate if other in read]
        read[name] = read_dataset(
            name, config, folder / str(number), uses=subjects.uses.get(name, ()), most=most,
            against=[one for one in against if one.error is None], progress=progress,
        )  # fmt: skip
    return read


def _natural(subjects: Subjects, read: Mapping[str, Dataset]) -> dict[str, SampleConfig]:
    """A sample of each data set that can be trained on, as what its rows naturally are."""
    if subjects.natural is None:
        return {}
    return {
        name: SampleConfig.model_validate(
            {"datasets": {name: 1}, "max_length": subjects.natural, "row_type": str(uses[0])}
        )
        for name, one in read.items()
        if (uses := uses_of(one.row_type))
    }


def _samples(
    samples: Mapping[str, SampleConfig],
    read: Mapping[str, Dataset],
    chosen: Chosen | None,
    progress: Progress,
    *,
    natural: bool = False,
) -> Iterator[Examined]:
    for name, config in samples.items():
        broken = [key for key in config.datasets if read[key].error is not None]
        if broken:
            error = DataError(f"it is made of {', '.join(broken)}, which cannot be read")
            yield Examined(SampleFindings(name, config, natural, error=error))
        elif chosen is not None:
            found = SampleFindings(name, config, natural)
            look_at_sample(found, read, chosen.tokenizer, progress)
            checks = [] if found.error else sample_checks(found)
            if found.row_type in (RowType.PROMPT_COMPLETION, RowType.PREFERENCE, RowType.PROMPT):
                checks += template_checks(chosen, config.prompt_format)
            examples = [token_example(chosen.tokenizer, row) for row in found.examples]
            yield Examined(found, checks, examples)


def _judged(dataset: Dataset, sampled: bool) -> Examined:
    if dataset.error is not None:
        return Examined(dataset)
    # What a sample shows of its rows says more.
    examples = [] if sampled else [text_example(dataset.row_type, row) for row in dataset.examples]
    return Examined(dataset, dataset_checks(dataset), examples)


def _find_leaks(datasets: Iterable[Dataset]) -> None:
    """Rows held out that open as rows that are trained on do, within a data set and among several."""
    known = [one for one in datasets if one.kept]
    for one in known:
        measured = one.openings[one.measured_part]
        if one.totals.rows["eval"] and one.totals.rows["train"]:
            _note_leak(one, one, measured.among(one.openings["train"].all()))
        for other in known:
            if other is not one and "evaluation" in one.uses and "training" in other.uses:
                _note_leak(one, other, measured.among(other.openings["train"].all()))


def _note_leak(held_out: Dataset, trained: Dataset, count: int) -> None:
    if count:
        held_out.leaks[trained.name] = count
