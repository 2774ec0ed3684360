"""`runtime.log_with`: log rows in TensorBoard too, none twice after a resume; a missing package is said."""

from importlib.util import find_spec
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from flows.options import Options
from flows.run import run_pipeline
from tempering.artifacts.tables import read_rows
from tempering.errors import ConfigError
from tempering.runtime import RuntimeConfig, require_tracker

ROOT = Path(__file__).parent.parent.parent


def test_a_missing_package_is_said_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempering.runtime.find_spec", lambda name: None)
    options = Options(str(ROOT / "configs/ppo.yaml"), ("ppo.log_with=wandb",), store=str(tmp_path / "store"))
    display: Any = None
    with pytest.raises(ConfigError, match=r"pip install 'tempering\[wandb\]'"):
        run_pipeline(options, display)
    assert not list(tmp_path.glob("store/runs/*"))
    with pytest.raises(ConfigError, match="log_with: tensorboard, and the package"):
        train(tmp_path / "draft", log_with="tensorboard")
    train(tmp_path / "plain", log_with=None)


def test_a_folder_called_wandb_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """wandb itself leaves such a folder where it runs."""
    if find_spec("wandb") is not None:
        pytest.skip("wandb is installed")
    (tmp_path / "wandb").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="not installed"):
        require_tracker("wandb")


def test_tensorboard_has_the_rows_of_the_log_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = train(tmp_path / "draft", log_with="tensorboard", max_steps=3)
    log = EventAccumulator(str(out / "tracking"))
    log.Reload()
    rows = read_rows(out / "metadata/training_stats.parquet")
    shown = log.Scalars("train/loss")
    assert [event.step for event in shown] == [row["step"] for row in rows] == [1, 2, 3]
    assert [event.value for event in shown] == pytest.approx([row["loss"] for row in rows])
    rmtree(out / "checkpoints/checkpoint_48_tokens")  # as if killed after step 3, before its checkpoint
    train(out, log_with="tensorboard", max_steps=5)
    log.Reload()
    assert [event.step for event in log.Scalars("train/loss")] == [1, 2, 3, 4, 5]
    assert not log.Tags()["tensors"], "no arguments with the paths of this machine"


def train(folder: Path, *, log_with: Any, max_steps: int = 2) -> Path:
    """A few steps of a tiny model, with the callbacks that every trainer here has."""
    import torch
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

    from tempering.artifacts.draft import Draft
    from tempering.training.config import SFTConfig
    from tempering.training.trainer import TokenTrainer, training_arguments

    class Tiny(TokenTrainer, Trainer):  # type: ignore[misc]
        pass

    runtime = RuntimeConfig(device="cpu", log_with=log_with)
    out = Draft(folder, runtime=runtime)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
        )
    )
    config = SFTConfig(batch_size=2, max_steps=max_steps, num_epochs=9, checkpoint_interval=16)
    row = {"input_ids": list(range(8)), "labels": list(range(8)), "attention_mask": [1] * 8}
    trainer = Tiny(
        model=model,
        config=config,
        out=out,
        train_dataset=Dataset.from_list([row] * 4),
        args=TrainingArguments(**training_arguments(config, out)),
    )
    trainer.train_or_resume()
    return folder
