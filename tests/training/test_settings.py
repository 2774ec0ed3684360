"""Schedules, precision, other names of settings, and the refusal of a first step that learns nothing."""

from types import SimpleNamespace
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from tempering.errors import ConfigError, DataError
from tempering.training.config import DPOConfig, Schedule, SFTConfig
from tempering.training.schedule import learning_rate_factor
from tests.conftest import tiny_nodes

SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "cosine_with_restarts": ({"cosine_cycles": 2}, {"num_cycles": 2}),
    "cosine_with_min_lr": ({"min_lr_fraction": 0.2}, {"min_lr_rate": 0.2}),
    "polynomial": ({"min_lr_fraction": 0.2}, {"lr_end": 0.2}),
    "warmup_stable_decay": ({"decay_fraction": 0.5}, {"num_decay_steps": 45, "min_lr_ratio": 0.0}),
}


@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_every_schedule_has_the_shape_of_transformers(schedule: Any) -> None:
    import torch
    from transformers import get_scheduler

    ours, theirs = SETTINGS.get(schedule, ({}, {}))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    reference = get_scheduler(name, optimizer, 10, 100, theirs)
    config = SFTConfig(lr_schedule=schedule, warmup_fraction=0.1, **ours)
    scale = 1.0
    if schedule == "inverse_sqrt":  # it decays from the end of warm-up, whatever the unit of a step is
        scale = learning_rate_factor(config, 0.1) / reference.lr_lambdas[0](10)
    for step in (0, 3, 10, 30, 54, 56, 77, 100):
        wanted = reference.lr_lambdas[0](step)
        assert learning_rate_factor(config, step / 100) == pytest.approx(scale * wanted, abs=1e-4)


def test_two_cycles_begin_again_half_way() -> None:
    config = SFTConfig(scheduler="cosine_with_restarts", cosine_cycles=2, warmup_fraction=0)
    found = [learning_rate_factor(config, progress) for progress in (0, 0.25, 0.499, 0.5, 0.75, 1)]
    assert found == pytest.approx([1, 0.5, 0, 1, 0.5, 0], abs=1e-4)


def test_a_setting_of_another_schedule_is_refused() -> None:
    with pytest.raises(ValidationError, match="cosine_cycles is set"):
        SFTConfig(lr_schedule="cosine", cosine_cycles=2)


@pytest.mark.parametrize("loss", ["ipo", "hinge"])
def test_label_smoothing_is_refused_where_the_loss_does_not_read_it(loss: Any) -> None:
    with pytest.raises(ValidationError, match="it is for sigmoid and robust"):
        DPOConfig(loss_type=loss, label_smoothing=0.3)
    assert DPOConfig(loss_type=loss, label_smoothing=0.0).beta == 0.1, "a default says nothing"


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ({"scheduler": "linear"}, "lr_schedule", "linear"),
        ({"lr_scheduler_type": "constant_with_warmup"}, "lr_schedule", "constant"),
        ({"lr": 1e-4}, "learning_rate", 1e-4),
        ({"warmup_ratio": 0.2}, "warmup_fraction", 0.2),
        ({"num_train_epochs": 3}, "num_epochs", 3),
        ({"epochs": 3}, "num_epochs", 3),
        ({"bf16": True}, "precision", "bf16"),
        ({"fp16": True}, "precision", "fp16"),
        ({"bf16": False}, "precision", "fp32"),
        ({"bf16": True, "fp16": False}, "precision", "bf16"),
    ],
)
def test_names_of_other_recipes_are_understood(given: Any, field: str, value: Any) -> None:
    assert getattr(SFTConfig(**given), field) == value


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scheduler": "linear", "lr_schedule": "linear"}, "two names"),
        ({"bf16": True, "precision": "bf16"}, "two names"),
        ({"bf16": True, "fp16": True}, "two names"),
        ({"bf16": "yes"}, "true or false"),
    ],
)
def test_a_setting_under_two_names_is_refused(given: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SFTConfig(**given)


def test_a_config_can_be_read_again() -> None:
    config = SFTConfig(lr_schedule="polynomial", min_lr_fraction=0.1)
    assert SFTConfig.model_validate(config.model_dump()) == config


@pytest.mark.slow
def test_the_first_limit_ends_the_run(tiny: Any, tmp_path: Any) -> None:
    """transformers would go round the rows again until max_steps."""
    whole = losses(tiny, tmp_path / "a", "sft", max_steps=None)
    assert len(losses(tiny, tmp_path / "b", "sft", max_steps=len(whole) + 5)) == len(whole)
    assert len(losses(tiny, tmp_path / "c", "sft", max_steps=2)) == 2


def test_the_pipelines_precision_is_every_trainings() -> None:
    nodes = {node.name: node.config for node in tiny_nodes({"precision": "bf16", "sft.fp16": True})}
    assert [nodes[name].precision for name in ("pretrain", "dpo", "rloo")] == ["bf16"] * 3  # type: ignore[attr-defined]
    assert nodes["sft"].precision == "fp16", "its own wins"  # type: ignore[attr-defined]


def test_fp16_is_refused_on_a_cpu() -> None:
    """accelerate would train in fp32 there without a word."""
    from tempering.training.trainer import check_precision

    with pytest.raises(ConfigError, match="fp16 on a CPU"):
        check_precision(SFTConfig(precision="fp16"), "cpu")
    check_precision(SFTConfig(precision="fp16"), "cuda")
    check_precision(SFTConfig(precision="bf16"), "cpu")


def logged(logs: dict[str, float], step: int = 1, must: bool = True) -> list[Any]:
    """What a step with these numbers reports as its progress."""
    from tempering.training.token_callback import TokenCallback

    reports: list[Any] = []
    trainer = SimpleNamespace(
        config=SFTConfig(),
        must_learn_at_once=must,
        stats=SimpleNamespace(append=lambda rows: None),
        progress=lambda step: 0.5,
        out=SimpleNamespace(progress=lambda *amounts, **live: reports.append((*amounts, live))),
    )
    state: Any = SimpleNamespace(global_step=step, num_input_tokens_seen=10, is_world_process_zero=True)
    arguments: Any = None
    TokenCallback(trainer).on_log(arguments, state, arguments, logs)
    return reports


def test_a_step_reports_what_people_watch() -> None:
    assert logged({"loss": 2.0, "grad_norm": 1.0, "learning_rate": 0.1}) == [(10, 20, {"loss": 2.0})]
    [(*_, live)] = logged({"loss": 2.0, "kl": 0.5, "entropy": 3.0, "score": 0.7})
    assert list(live.items()) == [("score", 0.7), ("kl", 0.5), ("loss", 2.0)]


def test_a_first_step_without_gradient_stops_the_training() -> None:
    def first(loss: float, norm: float, step: int = 1, must: bool = True) -> None:
        logged({"loss": loss, "grad_norm": norm}, step, must)

    with pytest.raises(DataError, match="the model learns nothing"):
        first(0.0, 0.0)
    first(0.69, 1e-4)
    first(0.0, 0.0, step=2)
    first(0.0, 0.0, must=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pretrain", "sft", "reward_model", "dpo", "ppo"])
def test_bf16_and_checkpointing_and_accumulation_train(name: str, tiny: Any, tmp_path: Any) -> None:
    """bf16 autocast moves the losses a little; recomputed activations and micro-batches not at all."""
    plain = losses(tiny, tmp_path / "a", name)
    for changes, tolerance in (
        ({"micro_batch_size": 2, "gradient_checkpointing": True}, 2e-3),
        ({"precision": "bf16"}, 0.06),
        ({"adapter": {"rank": 2}, "micro_batch_size": 4, "gradient_checkpointing": True}, None),
    ):
        if name == "pretrain" and "adapter" in changes:
            continue  # there is nothing yet to adapt
        found = losses(tiny, tmp_path / str(len(list(tmp_path.iterdir()))), name, **changes)
        if tolerance is not None:
            assert found == pytest.approx(plain, abs=tolerance)
            assert "micro_batch_size" in changes or found != plain


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pretrain", "sft", "reward_model", "dpo"])
def test_with_a_token_limit_every_step_learns(name: str, tiny: Any, tmp_path: Any) -> None:
    """The rate of a step is that of the tokens before it, so the last one's is above 0."""
    limits = {"max_steps": None, "token_limit": 1900, "lr_schedule": "linear", "warmup_fraction": 0}
    rows = log_rows(tiny, tmp_path, name, **limits)
    tokens = [0, *[row["tokens"] for row in rows]]
    assert tokens[-1] >= 1900 > tokens[-2]
    peak = rows[0]["learning_rate"]
    wanted = [peak * (1 - count / 1900) for count in tokens[:-1]]
    assert [row["learning_rate"] for row in rows] == pytest.approx(wanted, rel=1e-3)


def losses(tiny: Any, folder: Any, name: str, **changes: Any) -> list[float]:
    return [row["loss"] for row in log_rows(tiny, folder, name, **changes)]


def log_rows(tiny: Any, folder: Any, name: str, **changes: Any) -> list[dict[str, Any]]:
    from tempering.artifacts.tables import read_rows
    from tests.tiny import fresh_draft, inputs_of

    settings = {"max_steps": 3, **changes}
    node = next(n for n in tiny_nodes({f"{name}.{k}": v for k, v in settings.items()}) if n.name == name)
    draft = fresh_draft(folder)
    node.stage(draft, node.config, **inputs_of(node, tiny))
    rows = read_rows(draft.metadata_dir / "training_stats.parquet")
    assert all(row["grad_norm"] > 0 for row in rows) or name == "rloo"  # equal scores may leave it without
    return rows


def test_the_flags_of_the_recipes_set_the_precision() -> None:
    from flows.cli.main import _parse

    assert _parse(["plan", "x.yaml", "--bf16", "sft.lr=1"]).overrides == ["precision=bf16", "sft.lr=1"]
    assert _parse(["run", "--fp16"]).overrides == ["precision=fp16"]
    assert _parse(["run"]).overrides == []
