"""What a training stage sees: which data sets, in which shares, up to how many tokens."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from tempering.config import MOST_LENGTH, MOST_SEED, Config
from tempering.data.prompt_format import PromptFormat
from tempering.data.row_conversion import uses_of
from tempering.data.rows import COLUMNS, RowType
from tempering.data.sample.curriculum import CurriculumConfig
from tempering.errors import DataError


class SourceConfig(Config):
    """How much of one data set goes into a sample."""

    weight: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        description="share of the sample's tokens: weight / sum of weights",
    )
    fraction: float = Field(
        default=1.0, gt=0, le=1, description="share of the data set's rows that may be used, of both parts"
    )
    rows: int | None = Field(default=None, ge=1, description="rows of the train part, at most; null = all")
    token_limit: int | None = Field(
        default=None, ge=1, description="tokens of the train part from this data set, at most; null = all"
    )


class SampleConfig(Config):
    """Which rows a training stage sees, in which order, as tokens."""

    datasets: Mapping[str, SourceConfig] = Field(
        min_length=1, description="data set -> its weight (a number), or weight, fraction, rows, token_limit"
    )
    row_type: Literal["auto", "text", "prompt_completion", "preference", "prompt", "classification"] = Field(
        default="auto", description="what the rows are used as; auto: what they are"
    )
    token_limit: int | None = Field(
        default=None, ge=1, description="tokens of the train part; null = all rows"
    )
    eval_token_limit: int | None = Field(
        default=None, ge=1, description="tokens of the eval part; null = all rows"
    )
    max_length: int = Field(
        default=512,
        ge=2,
        le=MOST_LENGTH,
        description="longest row in tokens; prompts lose their beginning, documents are cut up",
    )
    max_prompt_length: int | None = Field(
        default=None,
        ge=1,
        le=MOST_LENGTH,
        description="longest prompt in tokens, not for whole conversations; null = as max_length allows",
    )
    query_min_length: int | None = Field(
        default=None,
        ge=1,
        le=MOST_LENGTH,
        description="row_type: prompt: least tokens; shorter ones are left out; null: no bound",
    )
    query_max_length: int | None = Field(
        default=None,
        ge=1,
        le=MOST_LENGTH,
        description="prompts: most tokens; of a text, its beginning, of a length drawn between the two; "
        "a longer conversation loses its beginning",
    )
    prompt_format: PromptFormat = Field(
        default="chat",
        description="chat: the chat template (token_format: standard); plain: prompt, space, completion; "
        "role_markers: `User:`, `Assistant:`; turn_markers: EOS after every turn",
    )
    curriculum: CurriculumConfig | None = Field(
        default=None, description="easy rows first; null: in random order"
    )
    max_rejected_fraction: float = Field(
        default=0.1, ge=0, le=1, description="fails when a larger share is too long or holds special tokens"
    )
    seed: int = Field(default=0, ge=0, le=MOST_SEED, description="decides the order of the rows")

    @model_validator(mode="before")
    @classmethod
    def _old_name(cls, tree: Any) -> Any:
        if not isinstance(tree, dict) or "token_format" not in tree:
            return tree
        if "prompt_format" in tree:
            raise ValueError("token_format and prompt_format are two names for one setting: set one")
        rest = {name: value for name, value in tree.items() if name != "token_format"}
        name = tree["token_format"]
        return {**rest, "prompt_format": "chat" if name == "standard" else name}

    @field_validator("datasets", mode="before")
    @classmethod
    def _weights(cls, tree: Any) -> Any:
        if not isinstance(tree, Mapping):
            return tree
        numbers = (int, float)
        return {
            name: {"weight": source}
            if isinstance(source, numbers) and not isinstance(source, bool)
            else source
            for name, source in tree.items()
        }

    @model_validator(mode="after")
    def _lengths(self) -> "SampleConfig":
        least, most = self.query_min_length, self.query_max_length
        if (least is None) != (most is None):
            raise ValueError("query_min_length and query_max_length are set together, or not at all")
        if least is not None and most is not None and not least <= most <= self.max_length:
            raise ValueError(
                f"query_min_length ({least}) <= query_max_length ({most}) <= max_length ({self.max_length}) "
                "does not hold"
            )
        return self

    @model_validator(mode="after")
    def _labelled_texts_are_plain(self) -> "SampleConfig":
        if self.row_type == "classification" and self.prompt_format != "plain":
            raise ValueError(
                "row_type: classification reads bare texts, and what is trained on it will score bare texts; "
                "fix: set prompt_format: plain"
            )
        return self

    @property
    def query_lengths(self) -> tuple[int, int] | None:
        """Least and most tokens of a prompt, where they are bounded."""
        if self.query_min_length is None or self.query_max_length is None:
            return None
        return self.query_min_length, self.query_max_length


def common_row_type(config: SampleConfig, types: Mapping[str, RowType]) -> RowType:
    """What the rows of all data sets will be used as.

    Raises:
        DataError: when a data set has not the columns for it, types are mixed without a word, or texts
            are asked for as prompts without saying how long.
    """
    # One use for all data sets.
    natural = {name: _natural_use(kind) for name, kind in types.items()}
    wanted = set(natural.values()) if config.row_type == "auto" else {RowType(config.row_type)}
    if len(wanted) > 1:
        held = ", ".join(f"{name} holds {kind} rows" for name, kind in types.items())
        raise DataError(
            f"the data sets cannot be mixed: {held}", fix="set `row_type`, or mix data sets of one type"
        )
    # Each data set must have the columns for it.
    target = next(iter(wanted))
    for name, kind in types.items():
        uses = uses_of(kind)
        if target not in uses:
            raise DataError(
                f"data set {name} holds {kind} rows ({', '.join(COLUMNS[kind])})",
                expected=f"{target} rows ({', '.join(COLUMNS[target])})" if uses else "rows to train on",
                fix=f"set `row_type` to {' or '.join(uses)}, or choose another `rows:` or data set"
                if uses
                else f"name {name} in an evaluation; {kind} rows are not trained on",
            )
        if target is RowType.PROMPT and uses[0] is RowType.TEXT:
            _check_text_prompts(config, name)
    _check_lengths(config, target, types)
    return target


def _natural_use(kind: RowType) -> RowType:
    """What rows are used as when nobody says; scored answers, good and bad, are not learnt from unasked."""
    return kind if kind is RowType.SCORED_CONVERSATION else next(iter(uses_of(kind)), kind)


def _check_lengths(config: SampleConfig, target: RowType, types: Mapping[str, RowType]) -> None:
    """Refuse bounds on prompts that would have no effect."""
    if config.query_lengths is not None and target is not RowType.PROMPT:
        raise DataError(
            f"query_min_length and query_max_length are set, and the rows are used as {target}",
            expected="row_type: prompt",
            fix="set it, or take the two lengths out",
        )
    if config.max_prompt_length is not None and target is RowType.TEXT:
        raise DataError(
            "max_prompt_length is set, and the rows are used as text, which has no prompts",
            expected="max_length alone",
            fix="take max_prompt_length out",
        )
    whole = [name for name, kind in types.items() if kind in (RowType.MESSAGES, RowType.SCORED_CONVERSATION)]
    if config.max_prompt_length is not None and target is RowType.PROMPT_COMPLETION and whole:
        raise DataError(
            f"max_prompt_length is set, and data set {whole[0]} holds whole conversations",
            expected="max_length alone",
            fix="take max_prompt_length out, or read the data set with `rows: prompt_completion`",
        )


def _check_text_prompts(config: SampleConfig, name: str) -> None:
    if config.query_lengths is None:
        raise DataError(
            f"data set {name} holds texts, and a text is no prompt before it is cut",
            expected="query_min_length and query_max_length, in tokens",
            fix="set both on this sample",
        )
    if config.prompt_format != "plain":
        raise DataError(
            f"data set {name} holds texts, whose beginnings go on as text, not as a conversation",
            expected="prompt_format: plain",
            fix="set it on this sample",
        )
