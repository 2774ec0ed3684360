"""Builders: each normalises one foreign schema into canonical rows.

To add one, write a file with a config class (see `base`) and add the class to the `Builder` union. All rows
pass through `build`, which checks them, so that no builder can let a broken one through.
"""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from tempering.data.builders.alpaca import AlpacaConfig
from tempering.data.builders.auto import AutoConfig
from tempering.data.builders.babylm import BabyLMConfig
from tempering.data.builders.base import BuilderConfig, FileBuilderConfig, Item
from tempering.data.builders.candidates import CompsConfig, EWoKConfig
from tempering.data.builders.chat import ChatConfig
from tempering.data.builders.classification import ClassificationConfig
from tempering.data.builders.hh import HHConfig
from tempering.data.builders.kto import KTOConfig
from tempering.data.builders.minimal_pairs import MinimalPairsConfig
from tempering.data.builders.multiple_choice import MultipleChoiceConfig
from tempering.data.builders.preference import PreferenceConfig, UltraFeedbackConfig
from tempering.data.builders.prompt_response import PromptResponseConfig
from tempering.data.builders.prompts import PromptsConfig
from tempering.data.builders.reading_times import ReadingTimesConfig
from tempering.data.builders.reward_bench import RewardBenchConfig
from tempering.data.builders.scored import ScoredConfig
from tempering.data.builders.sentiment import SentimentConfig
from tempering.data.builders.sharegpt import ShareGPTConfig
from tempering.data.builders.squad import SquadConfig
from tempering.data.builders.stack_exchange import StackExchangeConfig
from tempering.data.builders.text import TextConfig
from tempering.data.builders.tinystories import TinyStoriesConfig
from tempering.data.builders.word_forms import WordFormsConfig
from tempering.data.builders.world import WorldConfig
from tempering.data.files import excerpt
from tempering.data.holdout import in_fold, is_used
from tempering.data.rows import Rejected, Row, problem

__all__ = [
    "AlpacaConfig",
    "AutoConfig",
    "BabyLMConfig",
    "Builder",
    "BuilderConfig",
    "ChatConfig",
    "ClassificationConfig",
    "CompsConfig",
    "EWoKConfig",
    "FileBuilderConfig",
    "HHConfig",
    "KTOConfig",
    "MinimalPairsConfig",
    "MultipleChoiceConfig",
    "PreferenceConfig",
    "PromptResponseConfig",
    "PromptsConfig",
    "ReadingTimesConfig",
    "RewardBenchConfig",
    "ScoredConfig",
    "SentimentConfig",
    "ShareGPTConfig",
    "SquadConfig",
    "StackExchangeConfig",
    "TextConfig",
    "TinyStoriesConfig",
    "UltraFeedbackConfig",
    "WordFormsConfig",
    "WorldConfig",
    "build",
]

Builder = Annotated[
    WorldConfig
    | AutoConfig
    | TextConfig
    | TinyStoriesConfig
    | BabyLMConfig
    | SentimentConfig
    | AlpacaConfig
    | ChatConfig
    | ShareGPTConfig
    | PromptResponseConfig
    | PromptsConfig
    | PreferenceConfig
    | UltraFeedbackConfig
    | HHConfig
    | StackExchangeConfig
    | KTOConfig
    | ScoredConfig
    | SquadConfig
    | ClassificationConfig
    | MinimalPairsConfig
    | MultipleChoiceConfig
    | RewardBenchConfig
    | EWoKConfig
    | CompsConfig
    | WordFormsConfig
    | ReadingTimesConfig,
    Field(discriminator="kind"),
]


def build(config: BuilderConfig, split: str | None = None) -> Iterator[Item]:
    """The checked rows of one split, with rejections and notices.

    Rows outside of `dataset_fraction` and `fold` are left out; `max_rows` is applied later, after the
    filters.
    """
    kind = config.row_type
    for item in config.read(split):
        if not isinstance(item, Row):
            yield item
            continue
        fault = problem(kind, item.values)
        if fault:
            yield Rejected(item.file, item.line, fault, excerpt(item.values))
            continue
        if not is_used(kind, item, config.dataset_fraction, config.seed) or not in_fold(
            kind, item, config.fold, config.seed
        ):
            continue
        yield item
