"""`DatasetCombiner`: mix several data sets into one tokenised data set, from Python.

    combiner = DatasetCombiner(
        [TinyStoriesConfig(path="stories.txt"), SentimentConfig(path="imdb.jsonl")],
        tokenizer="my-tokenizer", weights=[3, 1], row_type="prompt", prompt_format="plain",
        query_min_length=4, query_max_length=12,
    )
    combiner.set_token_limit(100_000)
    dataset = combiner.load()    # input_ids, query, num_tokens, ...

In a pipeline the stages `dataset` and `sample` do the same work and keep everything as artifacts.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

from tempering.data.builders.base import BuilderConfig
from tempering.data.prepare import build_parts
from tempering.data.rows import Values
from tempering.data.sample.config import SampleConfig
from tempering.data.sample.make import make_sample
from tempering.data.tokenizers import load_tokenizer
from tempering.errors import ConfigError
from tempering.validation import validate

if TYPE_CHECKING:
    import datasets
    import numpy as np
    from transformers import PreTrainedTokenizerBase


class DatasetCombiner:
    """Mixes data sets by weight, tokenises them and cuts the mix to a token limit.

    Args:
        builders: the data sets, named `0-tinystories`, `1-sentiment` and so on.
        tokenizer: a tokenizer, or a folder or Hub name of one.
        weights: share of each data set in the tokens; equal by default.
        fractions: share of the rows of each data set that may be used.
        row_counts: maximum rows of each data set.
        seed: decides the order.
        settings: further fields of `SampleConfig` (`row_type`, `max_length`, `prompt_format`,
            `query_min_length`, ...).

    Raises:
        ConfigError: an invalid setting, or lists of different lengths.
    """

    def __init__(
        self,
        builders: Sequence[BuilderConfig],
        tokenizer: "PreTrainedTokenizerBase | str | Path",
        *,
        weights: Sequence[float] | None = None,
        fractions: Sequence[float] | None = None,
        row_counts: Sequence[int] | None = None,
        seed: int = 0,
        **settings: Any,
    ) -> None:
        # Names that are distinct, and readable in rows and messages.
        self.builders = {f"{index}-{builder.kind}": builder for index, builder in enumerate(builders)}
        self.tokenizer = load_tokenizer(tokenizer) if isinstance(tokenizer, str | Path) else tokenizer
        # Decontamination names other data sets of a pipeline.
        cleaned = [name for name, builder in self.builders.items() if builder.quality.decontaminate]
        if cleaned:
            raise ConfigError(
                f"{cleaned[0]} sets quality.decontaminate, but data sets have no names here",
                fix="decontaminate in a pipeline",
            )
        # A list per setting has one value per data set.
        shares = {"weight": weights, "fraction": fractions, "rows": row_counts}
        for setting, values in shares.items():
            if values is not None and len(values) != len(self.builders):
                raise ConfigError(
                    f"there are {len(values)} values of {setting} for {len(self.builders)} data sets",
                    expected="one per data set",
                )
        # Settings per data set, and those of the mix; a wrong one fails here, not after reading.
        self.sources: dict[str, dict[str, float | int | None]] = {
            name: {setting: values[index] for setting, values in shares.items() if values is not None}
            for index, name in enumerate(self.builders)
        }
        self.settings: dict[str, Any] = {**settings, "seed": seed}
        self.tokens = 0
        self.warnings: list[str] = []
        _ = self.config

    @property
    def config(self) -> SampleConfig:
        """The settings as a pipeline would have them."""
        return validate(SampleConfig, {"datasets": self.sources, **self.settings}, "DatasetCombiner")

    def set_token_limit(self, limit: int | None, per_source: Sequence[int | None] | None = None) -> Self:
        """Limit the tokens in total (to within one sample), and optionally per source.

        Raises:
            ConfigError: an invalid limit, or not one per data set.
        """
        self.settings["token_limit"] = limit
        if per_source is not None and len(per_source) != len(self.sources):
            raise ConfigError(
                f"there are {len(per_source)} token limits for {len(self.sources)} data sets",
                expected="one per data set, or none",
            )
        for name, most in zip(self.sources, per_source or [None] * len(self.sources), strict=True):
            self.sources[name]["token_limit"] = most
        _ = self.config
        return self

    def load(self, part: str = "train") -> "datasets.Dataset":
        """All samples of a part as a data set: `input_ids`, `query`, `num_tokens` and the rest.

        Also fills in `tokens` and `warnings`.

        Raises:
            DataError: as the stages `dataset` and `sample` do.
        """
        import datasets
        import pyarrow.parquet as pq

        with TemporaryDirectory(prefix="tempering-") as folder:
            place = self._make(Path(folder)) / part
            table = pq.read_table(place)
        rows = datasets.Dataset(table)
        if "query" in rows.column_names:
            return rows
        return rows.map(lambda row: {"query": self._query(row)}, keep_in_memory=True)

    def _make(self, folder: Path) -> Path:
        config = self.config
        types = {name: builder.row_type for name, builder in self.builders.items()}
        for name, builder in self.builders.items():
            build_parts(builder, folder / name, folder / f"{name}.rejected.parquet")
        sample = make_sample(
            config,
            self.tokenizer,
            types,
            {name: folder / name for name in self.builders},
            folder / "sample",
            folder / "sample.rejected.parquet",
            losses=self._losses,
        )
        self.tokens, self.warnings = sample.mixes["train"].tokens, sample.warnings
        return folder / "sample"

    def _losses(self, rows: Iterable[Values]) -> "np.ndarray":
        import torch

        from tempering.generation.difficulty import losses

        curriculum = self.config.curriculum
        assert curriculum is not None
        if not Path(str(curriculum.model)).is_dir():
            raise ConfigError(
                f"curriculum.model is {curriculum.model!r}",
                expected="the folder of a model: there are no stages outside a pipeline",
            )
        return losses(Path(str(curriculum.model)), rows, "cuda" if torch.cuda.is_available() else "cpu")

    def _query(self, values: Mapping[str, Any]) -> str:
        """The decoded prompt; of a document all of its text."""
        ids = values.get("prompt_ids") or values["input_ids"]
        mask = values.get("completion_mask")
        text: str = self.tokenizer.decode(ids[: mask.index(True)] if mask else ids)
        return text
