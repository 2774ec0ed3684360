"""One sample under examination: mixed and tokenised as the stage `sample` does it, then looked at.

Of the train part every row is looked at: what of it is trained on, and whether that ends with EOS. Of
the eval part rows, tokens and what did not fit are counted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tempering.data.prepare import PARTS
from tempering.data.rows import RowType, Values
from tempering.data.sample.config import SampleConfig, common_row_type
from tempering.data.sample.make import encoder_of, sources_of
from tempering.data.sample.mixing import Mix
from tempering.data.tokenizers import on_all_cores
from tempering.doctor.counters import Lengths
from tempering.doctor.dataset import EXAMPLES, Dataset, Progress
from tempering.errors import DataError, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_PROGRESS_ROWS = 1_000


@dataclass
class Answers:
    """What the rows of a train part teach.

    Args:
        covered: share of each row's tokens that is trained on.
        without: rows in which nothing is.
        last, ended: completions that end a row (documents: pieces), and those whose last token is EOS.
        inner, inner_ended: answers before the last one of a conversation, and those that end with EOS.
        completions: tokens that are trained on, by row.
    """

    covered: Lengths = field(default_factory=lambda: Lengths("d"))
    without: int = 0
    last: int = 0
    ended: int = 0
    inner: int = 0
    inner_ended: int = 0
    completions: Lengths = field(default_factory=Lengths)


@dataclass
class SampleFindings:
    """A sample and what was found out about it.

    Args:
        error: why it cannot be made from these data sets; nothing else is known then.
        refused: what the encoding of a row failed on, for all rows.
        natural: no pipeline asks for it; it is what the rows of one data set are by themselves.
        more: whether its data sets have rows that were not looked at.
    """

    name: str
    config: SampleConfig
    natural: bool = False
    row_type: RowType | None = None
    error: UserError | None = None
    refused: DataError | None = None
    more: bool = False
    mixes: dict[str, Mix] = field(default_factory=dict)
    lengths: Lengths = field(default_factory=Lengths)
    answers: Answers = field(default_factory=Answers)
    examples: list[Values] = field(default_factory=list)

    @property
    def used(self) -> int:
        """Rows of the train part."""
        return self.mixes["train"].rows if "train" in self.mixes else 0


def look_at_sample(
    found: SampleFindings,
    datasets: Mapping[str, Dataset],
    tokenizer: "PreTrainedTokenizerBase",
    progress: Progress = lambda what, done: None,
) -> None:
    """Make a sample row by row, from data sets that have been read, and note what is found."""
    config = found.config
    found.more = any(datasets[key].more for key in config.datasets)
    types = {key: datasets[key].row_type for key in config.datasets}
    folders: dict[str, Path] = {key: datasets[key].folder for key in config.datasets}
    try:
        found.row_type = common_row_type(config, types)
    except UserError as error:
        found.error = error
        return
    encoder = encoder_of(config, tokenizer, found.row_type)
    limits = {"train": config.token_limit, "eval": config.eval_token_limit}
    column = config.curriculum.column if config.curriculum else None
    try:
        with on_all_cores():
            for part in PARTS:
                mix = Mix(
                    sources_of(config, types, folders, part), encoder, limits[part], config.seed, column
                )
                found.mixes[part] = mix
                for values in mix:
                    if part == "train":
                        _look(found, values, tokenizer.eos_token_id)
                    if mix.rows % _PROGRESS_ROWS == 0:
                        progress(f"making sample {found.name}", mix.rows)
    except DataError as error:
        found.refused = error


def _look(found: SampleFindings, values: Values, eos: int) -> None:
    if len(found.examples) < EXAMPLES:
        found.examples.append(values)
    found.lengths.add(values["num_tokens"])
    answers = found.answers
    if "completion_mask" in values:
        _look_at_mask(answers, values["input_ids"], values["completion_mask"], eos)
    elif "chosen_ids" in values:
        sides = (values["chosen_ids"], values["rejected_ids"])
        learnt = sum(map(len, sides))
        answers.covered.add(learnt / values["num_tokens"])
        answers.completions.add(learnt)
        answers.without += not all(sides)
        answers.last += 2
        answers.ended += sum(side[-1:] == [eos] for side in sides)
    elif found.row_type is RowType.TEXT:
        answers.last += 1
        answers.ended += values["input_ids"][-1:] == [eos]


def _look_at_mask(answers: Answers, ids: list[int], mask: list[bool], eos: int) -> None:
    flags = bytes(mask) + b"\0"
    learnt = flags.count(1)
    answers.covered.add(learnt / len(mask))
    answers.completions.add(learnt)
    if not learnt:
        answers.without += 1
        return
    ends = list(_ends(flags))
    answers.last += 1
    answers.ended += ids[ends[-1]] == eos
    answers.inner += len(ends) - 1
    answers.inner_ended += sum(ids[at] == eos for at in ends[:-1])


def _ends(flags: bytes) -> Iterator[int]:
    """The last place of each run of ones."""
    at = flags.find(b"\1\0")
    while at >= 0:
        yield at
        at = flags.find(b"\1\0", at + 1)
