"""Settings of PPO and RLOO are hashed as they were before estimators had settings of their own.

tests/fixtures/onpolicy_identities.json was recorded at commit 14ff87a; rloo and grpo have versions since.
Whoever moves or renames a setting must lay the identity out as it was, or everybody's PPO and RLOO artifacts
are trained again.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tempering.artifacts.fingerprint import fingerprint
from tempering.config import Config, identity
from tempering.errors import UserError
from tempering.onpolicy.config import OnPolicyConfig, PPOConfig, RLOOConfig
from tempering.onpolicy.estimators import GroupNormalized, TokenGAE
from tempering.validation import validate

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


@pytest.mark.parametrize(
    ("stage", "flat", "own"),
    [
        (RLOOConfig, {"estimator": "grpo"}, {"estimator": {"kind": "grpo"}}),
        (RLOOConfig, {"estimator": "grpo"}, {"estimator": GroupNormalized()}),
        (
            RLOOConfig,
            {"estimator": "grpo", "epsilon": 0.1},
            {"estimator": {"kind": "grpo", "clip_range": 0.1}},
        ),
        (RLOOConfig, {"normalize_advantages": False}, {"estimator": {"normalize_advantages": False}}),
        (
            PPOConfig,
            {"gamma": 0.9, "value_trunk": "shared"},
            {"estimator": {"kind": "gae", "gamma": 0.9, "value_trunk": "shared"}},
        ),
        (PPOConfig, {"gamma": 0.9, "lam": 0.8}, {"estimator": TokenGAE(gae_lambda=0.8), "gamma": 0.9}),
    ],
)
def test_both_ways_of_writing_it_are_one_config(stage: Any, flat: Any, own: Any) -> None:
    assert stage(**flat) == stage(**own)
    assert identity(stage(**flat)) == identity(stage(**own))


@pytest.mark.parametrize(
    ("stage", "settings", "says"),
    [
        (PPOConfig, {"gamma": 0.9, "estimator": {"gamma": 0.9}}, "gamma and estimator.gamma are two names"),
        (PPOConfig, {"lam": 0.9, "estimator": {"gae_lambda": 0.9}}, "gae_lambda and estimator.gae_lambda"),
        (RLOOConfig, {"gamma": 0.9}, "gamma is set, and estimator rloo does not read it: it is for gae"),
        (RLOOConfig, {"estimator": {"kind": "grpo", "normalize_advantages": False}}, "Extra inputs"),
        (RLOOConfig, {"estimator": "grop"}, "does not match any of the expected tags: 'rloo', 'grpo'"),
        (RLOOConfig, {"estimator": {"kind": ["grpo"]}}, "expected tags"),
        (RLOOConfig, {"estimator": None}, "dictionary"),
        (PPOConfig, {"value_init": "reward_model", "reward": {"kind": "gold"}}, "needs one reward of kind"),
        (PPOConfig, {"value_init": "reward_model", "value_trunk": "shared"}, "drop value_init"),
    ],
)
def test_contradictions_are_refused(stage: type[Config], settings: Any, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        stage(**settings)


def test_a_flat_name_with_a_slip_is_told_the_nearest() -> None:
    with pytest.raises(UserError, match=r"clip_rnge: unknown key; did you mean 'clip_range'"):
        validate(RLOOConfig, {"clip_rnge": 0.1}, "a.yaml")


def test_other_estimators_in_a_stage_have_fingerprints_of_their_own() -> None:
    configs = [PPOConfig(), PPOConfig(estimator="grpo", num_completions=4), RLOOConfig(estimator="gae")]
    assert len({fingerprint("any", 1, config, {}).hex for config in configs}) == len(configs)


def test_the_model_card_reads_manifests_of_both_kinds() -> None:
    from tempering.exchange.card import _shown

    config = PPOConfig(gae_lambda=0.9)
    shown = _shown(config.model_dump(mode="json"))
    assert shown["gae_lambda"] == 0.9
    assert shown["clip_range"] == 0.2
    assert shown == _shown(identity(config))
