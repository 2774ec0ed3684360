"""Judges: each is one class with its settings, and compares two completions of a prompt.

To add one, write one file with a class (see `base`) and put it into the `AnyJudge` union.
"""

from tempering.evaluation.judges.base import Judge, JudgeConfig, Messages, Verdict
from tempering.evaluation.judges.reward_model import RewardModelJudge

__all__ = ["AnyJudge", "Judge", "JudgeConfig", "Messages", "RewardModelJudge", "Verdict"]

AnyJudge = RewardModelJudge
