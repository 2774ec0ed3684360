"""Schedules, checkpoints, packing and what TRL is given."""

from pathlib import Path
from typing import Any

import pytest

from tempering.artifacts.atomic import here
from tempering.training.checkpoints import (
    DIGESTS,
    KEEP_RESUMABLE,
    damage,
    has_state,
    newest_first,
    prune,
    publish,
    sweep,
)
from tempering.training.config import SFTConfig
from tempering.training.schedule import learning_rate_factor


@pytest.mark.parametrize(
    ("schedule", "progress", "factor"),
    [
        ("linear", 0.05, 0.5),
        ("linear", 0.1, 1.0),
        ("linear", 0.55, 0.5),
        ("linear", 1.0, 0.0),
        ("linear", 1.3, 0.0),
        ("cosine", 0.55, 0.5),
        ("cosine", 0.325, 0.8536),
        ("constant", 0.99, 1.0),
    ],
)
def test_schedules(schedule: Any, progress: float, factor: float) -> None:
    config = SFTConfig(lr_schedule=schedule, warmup_fraction=0.1)
    assert learning_rate_factor(config, progress) == pytest.approx(factor, abs=1e-4)


def checkpoint(folder: Path, tokens: int) -> Path:
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text(f'{{"num_input_tokens_seen": {tokens}}}')
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (folder / name).write_bytes(b"x")
    return folder


def test_only_the_newest_checkpoints_can_be_resumed_from(tmp_path: Path) -> None:
    for tokens, name in ((900, "900"), (1000, "1K"), (10_000, "10K"), (2000, "2K")):
        checkpoint(tmp_path / f"checkpoint_{name}_tokens", tokens)
    prune(tmp_path)
    left = [path.name for path in newest_first(tmp_path) if has_state(path)]
    assert left == ["checkpoint_10K_tokens", "checkpoint_2K_tokens"]
    assert len(left) == KEEP_RESUMABLE
    assert all((path / "model.safetensors").exists() for path in tmp_path.glob("checkpoint_*"))


def test_a_half_written_checkpoint_is_never_used(tmp_path: Path) -> None:
    checkpoint(tmp_path / ".tmp-checkpoint_5K_tokens" / "checkpoint-3", 5000)
    assert newest_first(tmp_path) == []
    aside = tmp_path / f".old-checkpoint_3K_tokens.{here()}-{2**22 + 1}.1"  # no such process
    checkpoint(aside / "checkpoint-2", 3000)
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_3K_tokens"]


def test_publishing_again_replaces(tmp_path: Path) -> None:
    final = checkpoint(tmp_path / "checkpoint_1K_tokens", 1000)
    new = checkpoint(tmp_path / ".tmp-x", 1001)
    publish(new, final)
    assert "1001" in (final / "trainer_state.json").read_text()
    assert (final / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_what_has_been_published_is_seen_to_be_damaged(tmp_path: Path) -> None:
    """Mutation: an older checkpoint keeps the digests of files that `prune` has removed."""
    names = [tmp_path / f"checkpoint_{tokens}_tokens" for tokens in (100, 200, 300)]
    for tokens, final in enumerate(names):
        publish(checkpoint(tmp_path / ".tmp-x", tokens), final)
    assert [damage(final) for final in names] == [None, None, None]
    assert [(final / DIGESTS).exists() for final in names] == [False, True, True]
    (names[1] / "rng_state.pth").unlink()
    (names[2] / "model.safetensors").write_bytes(b"y")
    assert damage(names[1]) == "rng_state.pth: it is missing"
    assert damage(names[2]) == "model.safetensors: its content has changed"


@pytest.mark.slow
def test_packing_loses_only_the_last_short_block(tiny: Any) -> None:
    import datasets

    from tempering.training.causal import pack

    rows = [[1, 2, 3], [4, 5], [6, 7, 8, 9, 10]]
    packed = pack(datasets.Dataset.from_dict({"input_ids": rows}), 4)
    assert packed["input_ids"][:] == [[1, 2, 3, 4], [5, 6, 7, 8]]


@pytest.mark.slow
def test_the_sft_loss_covers_the_completion_only(tiny: Any, tmp_path: Path) -> None:
    from tempering.data.tokenizers import load_tokenizer
    from tempering.models.loading import load_causal_lm
    from tempering.training.causal import sft_trainer
    from tests.conftest import tiny_nodes
    from tests.tiny import fresh_draft

    config = next(node.config for node in tiny_nodes({}) if node.name == "sft")
    folder, sample = tiny("pretrain").model_dir, tiny("sample[sft]")
    trainer = sft_trainer(
        load_causal_lm(folder), load_tokenizer(folder), sample, config, fresh_draft(tmp_path)
    )
    batch = next(iter(trainer.get_train_dataloader()))
    eos = trainer.processing_class.eos_token_id
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        kept = labels[labels != -100].tolist()
        text = trainer.processing_class.decode(ids)
        assert kept[-1] == eos
        assert (
            trainer.processing_class.decode(kept[:-1])
            == text.split("<|assistant|>")[1].split("<|endoftext|>")[0]
        )


@pytest.mark.slow
def test_dpo_computes_the_reference_once(tiny: Any, tmp_path: Path, monkeypatch: Any) -> None:
    from trl import DPOTrainer

    from tempering.data.tokenizers import load_tokenizer
    from tempering.models.loading import load_causal_lm
    from tempering.training.preference import dpo_trainer
    from tests.conftest import tiny_nodes
    from tests.tiny import fresh_draft

    config = next(node.config for node in tiny_nodes({"dpo.num_epochs": 2}) if node.name == "dpo")
    seen, original = [], DPOTrainer.compute_ref_log_probs

    def counting(self: Any, model: Any, inputs: Any) -> Any:
        seen.append(len(inputs["input_ids"]) // 2)
        return original(self, model, inputs)

    monkeypatch.setattr(DPOTrainer, "compute_ref_log_probs", counting)
    folder, sample = tiny("sft").model_dir, tiny("sample[preferences]")
    trainer = dpo_trainer(
        load_causal_lm(folder), load_tokenizer(folder), sample, config, fresh_draft(tmp_path)
    )
    trainer.train_or_resume()
    assert sum(seen) == len(sample.rows("train")) + len(sample.rows("eval"))


@pytest.mark.slow
def test_dpo_against_another_reference(tiny: Any, tmp_path: Path) -> None:
    """The reference log-probabilities are those of a plain forward pass of that model."""
    import torch

    from tempering.data.tokenizers import load_tokenizer
    from tempering.models.loading import load_causal_lm
    from tempering.training.preference import dpo_trainer
    from tests.conftest import tiny_nodes
    from tests.tiny import fresh_draft

    config = next(node.config for node in tiny_nodes({"dpo.reference": "pretrain"}) if node.name == "dpo")
    start, other = tiny("sft").model_dir, load_causal_lm(tiny("pretrain").model_dir).eval()
    sample = tiny("sample[preferences]")
    trainer = dpo_trainer(
        load_causal_lm(start), load_tokenizer(start), sample, config, fresh_draft(tmp_path), other
    )
    trainer.train_or_resume()
    for row in list(trainer.train_dataset)[:4]:
        ids = torch.tensor([row["prompt_ids"] + row["chosen_ids"]])
        with torch.no_grad():
            logprobs = other(ids).logits.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None])[0, :, 0]
        expected = logprobs[len(row["prompt_ids"]) - 1 :].sum().item()
        assert row["ref_chosen_logps"] == pytest.approx(expected, abs=1e-3)
