"""Settings of PPO and RLOO are hashed as they were before estimators had settings of their own.

tests/fixtures/onpolicy_identities.json was recorded at commit 14ff87a. Whoever moves or renames a setting
must lay the identity out as it was, or everybody's PPO and RLOO artifacts are trained again.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tempering.artifacts.fingerprint import fingerprint
from tempering.config import identity
from tempering.onpolicy.config import OnPolicyConfig, PPOConfig, RLOOConfig

STAGES: dict[str, type[OnPolicyConfig]] = {"ppo": PPOConfig, "rloo": RLOOConfig}
RECORDED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "onpolicy_identities.json").read_text("utf-8")
)


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: f"{case['stage']} {case['settings']}")
def test_identities_stay(case: dict[str, Any]) -> None:
    config = STAGES[case["stage"]](**case["settings"])
    assert identity(config) == case["identity"]
    assert fingerprint(case["stage"], 1, config, {}).hex == case["fingerprint"]
    assert identity(type(config).model_validate(config.model_dump())) == case["identity"], "read again"
