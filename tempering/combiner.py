"""`DatasetCombiner`: several data sets in, one tokenised data set out, for use from Python.

    combiner = DatasetCombiner(
        [TinyStoriesConfig(path="stories.txt"), SentimentConfig(path="imdb.jsonl")],
        tokenizer="my-tokenizer", weights=[3, 1], row_type="prompt", prompt_format="plain",
        query_min_length=4, query_max_length=12,
    )
    combiner.set_token_limit(100_000)
    dataset = combiner.load()    # input_ids, query, num_tokens, ...

The stages `dataset` and `sample` do the same work in a pipeline, with everything kept as artifacts.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

from tempering.config import validate
from tempering.data.builders.base import BuilderConfig
from tempering.data.prepare import build_parts
from tempering.data.rows import Values
from tempering.data.sample.config import SampleConfig
from tempering.data.sample.make import make_sample
from tempering.data.tokenizers import load_tokenizer
from tempering.errors import ConfigError

if TYPE_CHECKING:
    import datasets
    import numpy as np
    from transformers import PreTrainedTokenizerBase


class DatasetCombiner:
    """Mixes data sets by weight, tokenises them and cuts the mix to a token limit.

    Args:
        builders: the data sets; they are called `0-tinystories`, `1-sentiment` and so on.
        tokenizer: a tokenizer, or a folder or Hub name of one.
        weights: share of each data set in the tokens; all alike by default.
        fractions: share of the rows of each data set that may be used.
        row_counts: most rows of each data set.
        seed: decides the order.
        settings: further fields of `SampleConfig` (`row_type`, `max_length`, `prompt_format`,
            `query_min_length`, ...).

    Raises:
        ConfigError: a setting that is not valid, or lists of different lengths.
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
        self.builders = {f"{at}-{one.kind}": one for at, one in enumerate(builders)}
        self.tokenizer = load_tokenizer(tokenizer) if isinstance(tokenizer, str | Path) else tokenizer
        cleaned = [name for name, one in self.builders.items() if one.quality.decontaminate]
        if cleaned:
            raise ConfigError(
                f"{cleaned[0]} is to be cleaned of other data sets (quality.decontaminate), "
                "which have no names here",
                fix="do that in a pipeline",
            )
        given = {"weight": weights, "fraction": fractions, "rows": row_counts}
        for what, values in given.items():
            if values is not None and len(values) != len(self.builders):
                raise ConfigError(
                    f"there are {len(values)} values of {what} for {len(self.builders)} data sets",
                    expected="one for each data set",
                )
        self.sources: dict[str, dict[str, float | int | None]] = {
            name: {what: values[at] for what, values in given.items() if values is not None}
            for at, name in enumerate(self.builders)
        }
        self.settings: dict[str, Any] = {**settings, "seed": seed}
        self.tokens = 0
        self.warnings: list[str] = []
        _ = self.config  # a wrong setting is said here, not after reading

    @property
    def config(self) -> SampleConfig:
        """The settings as a pipeline would have them."""
        return validate(SampleConfig, {"datasets": self.sources, **self.settings}, "DatasetCombiner")

    def set_token_limit(self, limit: int | None, per_source: Sequence[int | None] | None = None) -> Self:
        """At most about `limit` tokens in all (to within one sample), and of each source if wanted."""
        self.settings["token_limit"] = limit
        if per_source is not None and len(per_source) != len(self.sources):
            raise ConfigError(
                f"there are {len(per_source)} token limits for {len(self.sources)} data sets",
                expected="one for each data set, or none",
            )
        for name, most in zip(self.sources, per_source or [None] * len(self.sources), strict=True):
            self.sources[name]["token_limit"] = most
        _ = self.config
        return self

    def load(self, part: str = "train") -> "datasets.Dataset":
        """All samples of a part as a data set: `input_ids`, `query`, `num_tokens` and the rest.

        Of the further facts, `tokens` and `warnings` are filled in.

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
        made = make_sample(
            config,
            self.tokenizer,
            types,
            {name: folder / name for name in self.builders},
            folder / "sample",
            folder / "sample.rejected.parquet",
            losses=self._losses,
        )
        self.tokens, self.warnings = made.mixes["train"].tokens, made.warnings
        return folder / "sample"

    def _losses(self, rows: Iterable[Values]) -> "np.ndarray":
        import torch

        from tempering.generation.difficulty import losses

        curriculum = self.config.curriculum
        assert curriculum is not None
        if not Path(str(curriculum.model)).is_dir():
            raise ConfigError(
                f"curriculum.model is {curriculum.model!r}",
                expected="the folder of a model, outside a pipeline",
            )
        return losses(Path(str(curriculum.model)), rows, "cuda" if torch.cuda.is_available() else "cpu")

    def _query(self, values: Mapping[str, Any]) -> str:
        """The decoded prompt: of a document, the whole of it."""
        ids = values.get("prompt_ids") or values["input_ids"]
        mask = values.get("completion_mask")
        text: str = self.tokenizer.decode(ids[: mask.index(True)] if mask else ids)
        return text
