"""From data sets on disk to a tokenised sample on disk: mixed, cut to its limits, in order."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tempering.data.prepare import RejectedLog
from tempering.data.rows import Rejected, RowType, Values
from tempering.data.sample.config import SampleConfig, common_row_type
from tempering.data.sample.encode import Encoder
from tempering.data.sample.mixing import Mix, Source, check_rejected
from tempering.data.schemas import token_schema
from tempering.data.shards import ShardWriter, iter_rows, writing
from tempering.data.tokenizers import on_all_cores
from tempering.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

Losses = Callable[[Iterable[Values]], "np.ndarray"]
"""The difficulty of each token row: a model's loss on it."""


@dataclass
class Sample:
    """What was written: the use its rows have, how each part was mixed, what a person should know."""

    row_type: RowType
    mixes: dict[str, Mix] = field(default_factory=dict)
    difficulty: "np.ndarray | None" = None
    warnings: list[str] = field(default_factory=list)

    def sources(self) -> list[Values]:
        """One row a source and part: rows, tokens, truncated, rejected, left out."""
        return [source.summary(part) for part, mix in self.mixes.items() for source in mix.sources]


def encoder_of(config: SampleConfig, tokenizer: "PreTrainedTokenizerBase", target: RowType) -> Encoder:
    """The encoder that a sample's settings ask for."""
    return Encoder(
        tokenizer,
        target,
        config.max_length,
        config.max_prompt_length,
        config.prompt_format,
        config.query_lengths,
        config.seed,
    )


def make_sample(
    config: SampleConfig,
    tokenizer: "PreTrainedTokenizerBase",
    types: Mapping[str, RowType],
    datasets: Mapping[str, Path],
    rows: Path,
    rejected: Path,
    *,
    losses: Losses | None = None,
    progress: Callable[[int, int | None], None] = lambda tokens, limit: None,
) -> Sample:
    """Mix and tokenise the parts `train` and `eval` of `datasets` into `rows`.

    Args:
        types: row type of each data set.
        datasets: folder of each data set, with `train/` and `eval/`.
        rejected: Parquet file for every row that cannot be used, with the data set and the row's number.
        losses: for a curriculum by loss.

    Raises:
        DataError: data sets that cannot be used so, that lose too many rows, or hold none.
    """
    # What the rows become, and by what.
    target = common_row_type(config, types)
    encoder, sample = encoder_of(config, tokenizer, target), Sample(target)
    limits = {"train": config.token_limit, "eval": config.eval_token_limit}
    column = config.curriculum.column if config.curriculum else None

    # Both parts, row by row; what is lost is logged.
    writers = {part: ShardWriter(rows / part, token_schema(target)) for part in limits}
    with writing(**writers), on_all_cores(), RejectedLog(rejected) as log:
        for part, limit in limits.items():
            mix = Mix(sources_of(config, types, datasets, part), encoder, limit, config.seed, column)
            mix.on_rejected = partial(_log_rejected, log, part)
            sample.mixes[part] = mix
            for values in mix:
                writers[part].add(values)
                if mix.rows % 1000 == 0:
                    progress(mix.tokens, mix.limit)
            check_rejected(mix, config.max_rejected_fraction)
            sample.warnings += [f"{part}: {warning}" for warning in mix.warnings]
            sample.warnings += [
                f"{part}: {source.unlearnt} answers inside of conversations of {source.name} are not "
                "trained on: the chat template writes them differently when more follows"
                for source in mix.sources
                if source.unlearnt
            ]

    # Nothing to train on is an error where nothing is there at all.
    if not any(mix.rows for mix in sample.mixes.values()):
        raise _no_rows(sample)
    if not sample.mixes["train"].rows:
        sample.warnings.append("the train part holds no rows: this sample cannot be trained on")
    if config.curriculum is not None:
        _put_in_order(sample, config, rows / "train", losses)
    return sample


def _no_rows(sample: Sample) -> DataError:
    reasons = sum((source.reasons for mix in sample.mixes.values() for source in mix.sources), Counter[str]())
    lost = ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common(5))
    return DataError(
        "no row of these data sets can be used" + (f": {lost}" if lost else ""),
        expected="at least one row",
        fix="correct what the reasons say" if lost else "check their `eval_fraction` and `max_rows`",
    )


def _log_rejected(log: RejectedLog, part: str, item: Rejected) -> None:
    log.add(replace(item, file=f"{item.file}/{part}"))


def sources_of(
    config: SampleConfig, types: Mapping[str, RowType], datasets: Mapping[str, Path], part: str
) -> list[Source]:
    """The sources of one part; limits of rows and tokens hold for the train part alone."""
    unlimited = {"rows": None, "token_limit": None}
    return [
        Source(
            name,
            types[name],
            datasets[name] / part,
            source if part == "train" else source.model_copy(update=unlimited),
        )
        for name, source in sorted(config.datasets.items())
    ]


def _put_in_order(sample: Sample, config: SampleConfig, place: Path, losses: Losses | None) -> None:
    """Measure how difficult each row of the train part is, and order the rows by it."""
    import numpy as np

    from tempering.data.sample.curriculum import order, unknown_rows
    from tempering.data.sample.ordering import reorder

    # How difficult: by a model's loss, a column, or the length.
    curriculum = config.curriculum
    assert curriculum is not None
    if curriculum.by == "loss":
        assert losses is not None, "a curriculum by loss without a model"
        difficulty = losses(iter_rows(place))
    else:
        column = "difficulty" if curriculum.by == "column" else "num_tokens"
        values = (row[column] for row in iter_rows(place, [column]))
        difficulty = np.fromiter((np.nan if value is None else value for value in values), dtype=np.float64)
    unknown = unknown_rows(difficulty)
    if unknown:
        sample.warnings.append(f"{unknown} of {len(difficulty)} rows have no difficulty; they come last")
    # The order, with the rows that have no difficulty at the end.
    places = order(difficulty, curriculum, config.seed)
    reorder(place, token_schema(sample.row_type), places)
    sample.difficulty = difficulty[places]
