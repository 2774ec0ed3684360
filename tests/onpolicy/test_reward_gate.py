"""A reward model that is not good enough is refused before rollouts are spent on it."""

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tempering.artifacts.kinds import ModelArtifact
from tempering.artifacts.manifest import Manifest
from tempering.config import identity
from tempering.errors import ArtifactError, GateFailed
from tempering.onpolicy.config import PPOConfig, RLOOConfig
from tempering.onpolicy.reward_gate import check_reward_models, held_out_accuracy

MIXTURE = {
    "kind": "mixture",
    "components": {"good": {"kind": "model"}, "bad": {"kind": "model"}, "brief": {"kind": "random"}},
}


def reward_model(checkpoint: str | None = None, **details: Any) -> ModelArtifact:
    manifest = Manifest(stage="rm", kind="model", id="rm/one", fingerprint="00", details=details)
    return ModelArtifact(Path("nowhere"), manifest, checkpoint)


def check(min_accuracy: float | None, **details: Any) -> None:
    check_reward_models(PPOConfig(min_accuracy=min_accuracy), {"model": reward_model(**details)})


@pytest.mark.parametrize(
    ("accuracy", "rows", "min_accuracy"),
    [
        (0.7, 100, 0.7),
        (0.3, 100, 0),
        (0.51, 10_000, None),
        (0.41, 100, None),
        (None, 0, None),
        (0.3, 0, None),
    ],
)
def test_good_enough(accuracy: float | None, rows: int, min_accuracy: float | None) -> None:
    check(min_accuracy, held_out_accuracy=accuracy, held_out_rows=rows)


@pytest.mark.parametrize(
    ("accuracy", "rows", "min_accuracy", "message"),
    [
        (0.69, 100, 0.7, r"0.690 of its 100 held-out pairs right\n  expected: min_accuracy 0.7 or more"),
        (0.39, 100, None, "0.390 of its 100 held-out pairs right\n  expected: at least 0.5"),
        (0.48, 10_000, None, "at least 0.5"),
        (None, 0, 0.7, "was not measured"),
        (math.nan, 100, 0.7, "nan of its 100 held-out pairs"),
        (math.nan, 100, None, "nan of its 100 held-out pairs"),
    ],
)
def test_too_low(accuracy: float | None, rows: int, min_accuracy: float | None, message: str) -> None:
    with pytest.raises(ArtifactError if accuracy is None else GateFailed, match=message):
        check(min_accuracy, held_out_accuracy=accuracy, held_out_rows=rows)


def test_every_learned_part_of_a_mixture_is_asked() -> None:
    config = RLOOConfig(reward=MIXTURE, min_accuracy=0.6)  # type: ignore[arg-type]
    models = {name: reward_model(held_out_accuracy=share) for name, share in (("good", 0.9), ("bad", 0.5))}
    with pytest.raises(GateFailed, match=r"0\.500"):
        check_reward_models(config, models)
    check_reward_models(config, {**models, "bad": models["good"]})


def test_a_checkpoint_is_another_model() -> None:
    assert held_out_accuracy(reward_model("checkpoint_1K_tokens", held_out_accuracy=0.9)) == (None, 0)


def test_without_a_learned_reward_nothing_reads_it() -> None:
    with pytest.raises(ValidationError, match="min_accuracy is set, and nothing reads it"):
        PPOConfig(reward={"kind": "random"}, min_accuracy=0.7)  # type: ignore[arg-type]


def test_it_retrains_nothing() -> None:
    assert identity(PPOConfig(min_accuracy=0.7)) == identity(PPOConfig())


@pytest.mark.slow
def test_the_stage_asks_what_the_training_held_out(tiny: Any, tmp_path: Path) -> None:
    from tempering.onpolicy import run
    from tests.tiny import fresh_draft

    trained = tiny("reward_model")
    accuracy, pairs = held_out_accuracy(trained)
    assert accuracy == pytest.approx(trained.manifest.metrics["held_out_accuracy"], abs=5e-5)
    assert pairs == len(tiny("dataset[preferences]").rows("eval"))
    config = RLOOConfig(min_accuracy=1.0)
    if accuracy < 1:
        with pytest.raises(GateFailed, match="min_accuracy 1"):
            run.on_policy(
                fresh_draft(tmp_path), config, tiny("sft"), tiny("sample[prompts]"), {"model": trained}
            )
