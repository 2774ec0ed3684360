"""Judges: each is one class with its settings, and compares two completions of a prompt.

To add one, write one file with a class (see `base`) and put it into the `AnyJudge` union.
"""

from typing import Annotated

from pydantic import Field

from tempering.evaluation.judges.base import Judge, JudgeConfig, Messages, Verdict
from tempering.evaluation.judges.causal import CausalJudge
from tempering.evaluation.judges.endpoint import EndpointJudge
from tempering.evaluation.judges.nemotron import NemotronJudge
from tempering.evaluation.judges.reward_model import RewardModelJudge

__all__ = [
    "AnyJudge",
    "CausalJudge",
    "EndpointJudge",
    "Judge",
    "JudgeConfig",
    "Messages",
    "NemotronJudge",
    "RewardModelJudge",
    "Verdict",
]

AnyJudge = Annotated[
    RewardModelJudge | CausalJudge | EndpointJudge | NemotronJudge, Field(discriminator="kind")
]
