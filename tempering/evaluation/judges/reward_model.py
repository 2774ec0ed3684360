"""A local reward model as judge: the completion with the higher score wins."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tempering.evaluation.judges.base import (
    Ended,
    Judge,
    JudgeConfig,
    Messages,
    Verdict,
    answers_of,
    device_of,
    model_of,
    verdict_of_scores,
)

if TYPE_CHECKING:
    from tempering.evaluation.benchmarks.base import Tools
    from tempering.rewards.learned import LearnedReward


class RewardModelJudge(JudgeConfig):
    """A reward model artifact, with its own tokenizer and prompt format."""

    kind: Literal["reward_model"]
    model: str = Field("reward_model", description="stage or artifact of the reward model")

    across_prompts = True

    @property
    def model_names(self) -> tuple[str, ...]:
        """Its reward model."""
        return (self.model,)

    def build(self, tools: "Tools") -> Judge:
        """The judge."""
        from tempering.rewards.learned import LearnedReward

        return ScoreJudge(self, LearnedReward.of(model_of(tools, self.model), device_of(tools)), tools)


class ScoreJudge:
    """Compares raw scores; equal answers have equal scores, whatever they were batched with."""

    facts: Mapping[str, float] = {}

    def __init__(
        self, config: RewardModelJudge, score: "LearnedReward", tools: "Tools | None" = None
    ) -> None:
        self.config, self.score, self.tools = config, score, tools

    def compare(
        self,
        prompts: Sequence[Messages],
        first: Sequence[str],
        second: Sequence[str],
        ended: Ended | None = None,
    ) -> list[Verdict]:
        """By raw scores; see `Judge`."""
        answers, pairs = answers_of(prompts, first, second, ended)
        scores = self.score(
            [answer.prompt for answer in answers],
            [answer.text for answer in answers],
            ended=[answer.ended for answer in answers],
        )
        warn_of_cuts(self.score, self.tools)
        return self.config.accepted([verdict_of_scores(scores[one], scores[other]) for one, other in pairs])


def scores_by(
    name: str, tools: "Tools", prompts: list[Messages], texts: list[str], ended: list[bool]
) -> list[float]:
    """Raw scores of completions by the reward model `name`, which the stage was given."""
    from tempering.rewards.learned import LearnedReward

    reward = LearnedReward.of(model_of(tools, name), device_of(tools))
    scores = reward(prompts, texts, ended=ended)
    warn_of_cuts(reward, tools)
    return scores


def warn_of_cuts(reward: "LearnedReward", tools: "Tools | None") -> None:
    """Say how many prompts and answers were longer than the judge can read."""
    if tools is not None and tools.out is not None:
        for message in reward.cuts("the judge"):
            tools.out.warn(message)
