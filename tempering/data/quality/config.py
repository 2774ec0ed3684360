"""Which rows of a data set are taken out for quality."""

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from tempering.config import SET, Config, Readers


class QualityConfig(Config):
    """Filters over checked rows; all are off by default."""

    read_by: ClassVar[Mapping[str, Readers]] = {
        "near_threshold": {"duplicates": ("near",)},
        "near_permutations": {"duplicates": ("near",)},
        "near_shingle": {"duplicates": ("near",)},
        "ngram": {"decontaminate": SET},
        "ngram_overlap": {"decontaminate": SET},
    }

    min_characters: int = Field(
        default=0, ge=0, description="rows with less running text are taken out, in characters"
    )
    max_characters: int | None = Field(
        default=None, ge=1, description="rows with more running text are taken out, in characters; null: off"
    )
    duplicates: Literal["keep", "exact", "near"] = Field(
        default="keep", description="exact: the same row again; near: also by MinHash; the first one stays"
    )
    near_threshold: float = Field(
        default=0.8, gt=0, le=1, description="Jaccard similarity of word shingles from which rows are near"
    )
    near_permutations: int = Field(default=128, ge=16, le=1024, description="hashes a MinHash signature has")
    near_shingle: int = Field(
        default=5, ge=1, le=1000, description="words in a shingle of the near-duplicate search"
    )
    decontaminate: tuple[str, ...] = Field(
        default=(), description="data sets whose text must not occur in the train part (evaluation sets)"
    )
    ngram: int = Field(default=13, ge=2, le=1000, description="words in an n-gram of the decontamination")
    ngram_overlap: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="share of a row's n-grams that may occur in the evaluation sets; 0: none may",
    )

    @model_validator(mode="after")
    def _some_length_is_left(self) -> Self:
        if self.max_characters is not None and self.max_characters < self.min_characters:
            raise ValueError(
                f"max_characters is {self.max_characters}, less than min_characters, "
                f"{self.min_characters}: no row could stay"
            )
        return self
