"""Judges: who wins, what a tie is, what cannot be judged, and what a preference for a place does."""

import math
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tempering.errors import ConfigError, UserError
from tempering.evaluation.benchmarks.base import Tools
from tempering.evaluation.judges import AnyJudge, Verdict
from tempering.evaluation.judges.base import verdict_of_scores

PROMPT = [{"role": "user", "content": "Tell a story."}]


def config(**settings: Any) -> Any:
    return TypeAdapter(AnyJudge).validate_python(settings)


@pytest.mark.parametrize(
    ("first", "second", "preference"),
    [(2.0, 1.0, 1.0), (1.0, 2.0, 0.0), (1.5, 1.5, 0.5), (math.nan, 1.0, None), (1.0, math.inf, None)],
)
def test_the_higher_score_wins_and_what_is_no_number_is_no_verdict(
    first: float, second: float, preference: float | None
) -> None:
    verdict = verdict_of_scores(first, second)
    assert verdict.preference == preference
    assert verdict.status == ("not a number" if preference is None else "ok")


def test_too_many_pairs_without_a_verdict_end_the_stage() -> None:
    judge = config(kind="reward_model", max_unjudged=0.25)
    some = [Verdict(1.0, "ok")] * 3
    assert len(judge.accepted([*some, Verdict(None, "http 500")])) == 4
    with pytest.raises(UserError, match=r"could not judge 2 of 5 pairs: 2 x http 500"):
        judge.accepted([*some, *[Verdict(None, "http 500")] * 2])
    assert judge.accepted([]) == []


def test_settings_are_checked() -> None:
    assert config(kind="reward_model", model="rm@latest").model_names == ("rm@latest",)
    with pytest.raises(ValidationError):
        config(kind="reward_model", max_unjudged=1.5)
    with pytest.raises(ConfigError, match="not an input"):
        config(kind="reward_model").build(Tools())


@pytest.mark.slow
def test_a_reward_model_judges_as_it_scores_one_by_one(tiny: Any) -> None:
    from tempering.rewards.learned import LearnedReward

    reward_model = tiny("reward_model")
    judge = config(kind="reward_model").build(Tools(models={"reward_model": reward_model}))
    first, second = ["Lily ran.", "A dog.", "It was the end."], ["A dog.", "A dog.", "The park is big."]
    verdicts = judge.compare([PROMPT] * 3, first, second)
    alone = LearnedReward(reward_model.model_dir)
    for verdict, one, other in zip(verdicts, first, second, strict=True):
        scores = alone([PROMPT], [one])[0], alone([PROMPT], [other])[0]
        assert (verdict.score_first, verdict.score_second) == pytest.approx(scores, abs=1e-4)
        assert verdict.preference == (0.5 if one == other else float(scores[0] > scores[1]))
