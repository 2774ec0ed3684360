"""One sample under examination: mixed and tokenised as the stage `sample` does it, then looked at.

Of the train part every row is looked at: what of it is trained on, and whether that ends with EOS. Of
the eval part rows, tokens and what did not fit are counted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tempering.data.prepare import PARTS
from tempering.data.rows import RowType, Values
from tempering.data.sample.config import SampleConfig, common_row_type
from tempering.data.sample.make import encoder_of, sources_of
from tempering.data.sample.mixing import Mix
from tempering.data.tokenizers import on_all_cores
from tempering.doctor.check import Examined
from tempering.doctor.counters import Numbers
from tempering.doctor.dataset import EXAMPLES, PROGRESS_ROWS, Dataset, Progress
from tempering.doctor.examples import token_example
from tempering.errors import DataError, UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class Sample(Examined):
    """A sample and what was found out about it.

    `counts` has `rows_without` anything to train on; `ends`: completions that end a row (documents:
    pieces), and `ended`: those whose last token is EOS; `inner_ends`, `inner_ended`: the same of the
    answers before the last one of a conversation.

    Args:
        natural: no pipeline asks for it; it is what the rows of one data set are by themselves.
        refused: what the encoding of a row failed on, for all rows.
        covered: share of each row's tokens that is trained on.
        trained: tokens that are trained on, by row.
    """

    config: SampleConfig
    natural: bool = False
    row_type: RowType | None = None
    refused: DataError | None = None
    mixes: dict[str, Mix] = field(default_factory=dict)
    covered: Numbers = field(default_factory=lambda: Numbers("d"))
    trained: Numbers = field(default_factory=Numbers)

    def rows(self, part: str) -> int:
        """Rows of a part."""
        return self.mixes[part].rows if part in self.mixes else 0

    def called(self) -> dict[str, Any]:
        """Its name and what it is made of."""
        return {"name": self.name, "datasets": sorted(self.config.datasets)}

    def known(self) -> dict[str, Any]:
        """Its form, rows, tokens and sources."""
        return {
            "row_type": str(self.row_type),
            "max_length": self.config.max_length,
            "token_limit": self.config.token_limit,
            "rows": {part: mix.rows for part, mix in self.mixes.items()},
            "tokens": self.counts.tokens.spread() or None,
            "trained_tokens": self.trained.spread() or None,
            "sources": [source.summary(part) for part, mix in self.mixes.items() for source in mix.sources],
        }


def look_at_sample(
    sample: Sample,
    datasets: Mapping[str, Dataset],
    tokenizer: "PreTrainedTokenizerBase",
    progress: Progress = lambda what, done: None,
) -> None:
    """Make a sample row by row, from data sets that have been read, and note what is found."""
    # What the sample is made from, and whether its data sets go together.
    config = sample.config
    sample.more = any(datasets[key].more for key in config.datasets)
    types = {key: datasets[key].row_type for key in config.datasets}
    folders = {key: datasets[key].folder for key in config.datasets}
    try:
        sample.row_type = common_row_type(config, types)
    except UserError as error:
        sample.error = error
        return

    # The sample as its stage would make it, with a look at every training row.
    encoder = encoder_of(config, tokenizer, sample.row_type)
    limits = {"train": config.token_limit, "eval": config.eval_token_limit}
    column = config.curriculum.column if config.curriculum else None
    try:
        with on_all_cores():
            for part in PARTS:
                sources = sources_of(config, types, folders, part)
                mix = sample.mixes[part] = Mix(sources, encoder, limits[part], config.seed, column)
                for values in mix:
                    if part == "train":
                        _look(sample, values, tokenizer.eos_token_id)
                        if len(sample.examples) < EXAMPLES:
                            sample.examples.append(token_example(tokenizer, values))
                    if mix.rows % PROGRESS_ROWS == 0:
                        progress(f"making sample {sample.name}", mix.rows)
    except DataError as error:
        sample.refused = error


def _look(sample: Sample, values: Values, eos: int) -> None:
    """Count what a row of the train part has."""
    sample.counts.tokens.add(values["num_tokens"])
    named = sample.counts.named
    if "completion_mask" in values:
        _look_at_mask(sample, values["input_ids"], values["completion_mask"], eos)
    elif "chosen_ids" in values:
        sides = (values["chosen_ids"], values["rejected_ids"])
        learnt = sum(map(len, sides))
        sample.covered.add(learnt / values["num_tokens"])
        sample.trained.add(learnt)
        ended = sum(side[-1:] == [eos] for side in sides)
        named.update(ends=2, ended=ended, rows_without=int(not all(sides)))
    elif sample.row_type is RowType.TEXT:
        named.update(ends=1, ended=int(values["input_ids"][-1:] == [eos]))


def _look_at_mask(sample: Sample, ids: list[int], mask: list[bool], eos: int) -> None:
    flags = bytes(mask) + b"\0"
    learnt = flags.count(1)
    sample.covered.add(learnt / len(mask))
    sample.trained.add(learnt)
    if not learnt:
        sample.counts.named["rows_without"] += 1
        return
    *inner, last = (ids[place] == eos for place in _ends(flags))
    sample.counts.named.update(ends=1, ended=int(last), inner_ends=len(inner), inner_ended=sum(inner))


def _ends(flags: bytes) -> Iterator[int]:
    """The last place of each run of ones."""
    place = flags.find(b"\1\0")
    while place >= 0:
        yield place
        place = flags.find(b"\1\0", place + 1)
