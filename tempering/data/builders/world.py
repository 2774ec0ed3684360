"""The embedded story world as a data set: any size, from a seed, offline.

`split: test` draws from combinations that never occur in `split: train`, so evaluation prompts are new.
Completions keep their leading space, so that prompt + completion is, letter for letter, a document of the
corpus.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from tempering import world
from tempering.data.builders.base import BuilderConfig, Item
from tempering.data.builders.corruptions import CorruptionConfig, corrupted_pairs
from tempering.data.rows import Row, RowType, Values, to_messages

_TYPES: Mapping[str, RowType] = {
    "corpus": RowType.TEXT,
    "demonstrations": RowType.PROMPT_COMPLETION,
    "preferences": RowType.PREFERENCE,
    "prompts": RowType.PROMPT,
    "questions": RowType.QUESTION,
    "question_completions": RowType.PROMPT_COMPLETION,
    "question_preferences": RowType.PREFERENCE,
    "minimal_pairs": RowType.MINIMAL_PAIR,
    "flaw_pairs": RowType.PREFERENCE,
}
_SHARES: Mapping[str, Mapping[str, float]] = {
    "corpus": {"header_share": 0.8, "question_share": 0.1},
    "demonstrations": {"flawed_share": 0.35},
    "preferences": {"noise": 0.1},
}
_QUESTIONS = ("questions", "question_completions", "question_preferences")
_COMPLETIONS = ("completion", "chosen", "rejected")


class WorldConfig(BuilderConfig):
    """Rows of the story world. A share that is not given has the world's default for these rows."""

    kind: Literal["world"] = "world"
    rows: Literal[
        "corpus",
        "demonstrations",
        "preferences",
        "prompts",
        "questions",
        "question_completions",
        "question_preferences",
        "minimal_pairs",
        "flaw_pairs",
    ] = Field(
        description="which rows to make (question_preferences: right against corrupted answers; flaw_pairs: "
        "one known flaw a pair, in the column flaw)"
    )
    size: int = Field(ge=1, le=1_000_000_000, description="rows to make")
    split: Literal["train", "test"] = Field(
        default="train", description="test: from combinations that no training row has"
    )
    train_split: Literal["train", "test"] | None = Field(
        default=None, description="split of the train part; set with eval_split, instead of eval_fraction"
    )
    eval_split: Literal["train", "test"] | None = Field(
        default=None, description="split of the eval part, `size` rows of it"
    )
    header_share: float | None = Field(default=None, ge=0, le=1, description="corpus: share with a prompt")
    question_share: float | None = Field(
        default=None, ge=0, le=1, description="corpus: share with a question"
    )
    flawed_share: float | None = Field(
        default=None, ge=0, le=1, description="demonstrations: share with flaws"
    )
    noise: float | None = Field(
        default=None, ge=0, le=1, description="preferences: share with the sides swapped"
    )

    corruptions: CorruptionConfig | None = Field(
        default=None, description="question_preferences: how wrong answers are made; null: the default shares"
    )

    @model_validator(mode="before")
    @classmethod
    def _resolve_shares(cls, settings: Any) -> Any:
        if not isinstance(settings, dict):
            return settings
        if settings.get("rows") == "question_preferences" and settings.get("corruptions") is None:
            settings = {**settings, "corruptions": CorruptionConfig()}
        return {**_SHARES.get(str(settings.get("rows")), {}), **settings}

    @model_validator(mode="after")
    def _refuse_other_shares(self) -> "WorldConfig":
        for rows, shares in _SHARES.items():
            wrong = [name for name in shares if rows != self.rows and getattr(self, name) is not None]
            if wrong:
                raise ValueError(f"{wrong[0]} is a setting of rows: {rows}, not of rows: {self.rows}")
        if self.corruptions is not None and self.rows != "question_preferences":
            raise ValueError(f"corruptions is a setting of question_preferences, not of rows: {self.rows}")
        if (self.header_share or 0) + (self.question_share or 0) > 1:
            raise ValueError("header_share and question_share are together more than 1")
        return self

    @property
    def row_type(self) -> RowType:
        """As `rows` says."""
        return _TYPES[self.rows]

    def read(self, split: str | None) -> Iterator[Item]:
        """The rows; their line is their index."""
        rows = self._world_rows(split)
        return rows if self.corruptions is None else corrupted_pairs(rows, self.corruptions, self.seed)

    def _world_rows(self, split: str | None) -> Iterator[Row]:
        shares = {name: getattr(self, name) for name in _SHARES.get(self.rows, {})}
        is_question = self.rows in _QUESTIONS
        name = "questions" if is_question else self.rows
        rows = getattr(world, name)(self.size, self.seed, split=split or self.split, **shares)
        for index, values in enumerate(rows):
            answered = self.rows == "question_completions"
            row = _with_answer(values) if answered else _with_messages(values)
            yield Row(row, f"world/{self.rows}", index, values["context"] if is_question else "")


def _with_answer(values: Mapping[str, Any]) -> Values:
    prompt = world.question_prompt(values["context"], values["question"])
    return {"prompt": to_messages(prompt), "completion": to_messages(values["answers"][0], "assistant")}


def _with_messages(values: Mapping[str, Any]) -> Values:
    return {name: _column(name, value) for name, value in values.items()}


def _column(name: str, value: Any) -> Any:
    if name == "prompt":
        return to_messages(value)
    return to_messages(value, "assistant") if name in _COMPLETIONS else value
