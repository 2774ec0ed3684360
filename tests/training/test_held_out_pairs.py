"""Held-out numbers of preference pairs, beside a plain forward pass of each pair."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
import torch

from tempering.models.loading import load_causal_lm, load_scorer
from tempering.training import preference
from tempering.training.config import DPOConfig, RewardModelConfig
from tests.models.outside import bare_tokenizer, outside
from tests.tiny import fresh_draft

MARKS = {"eos_token": "<|endoftext|>", "pad_token": "!"}


def pairs(count: int) -> list[dict[str, list[int]]]:
    """Sides of unlike lengths; every sixth pair is a tie."""
    draw = random.Random(0)
    rows = []
    for number in range(count):
        prompt, chosen, rejected = (
            [draw.randrange(5, 200) for _ in range(draw.randrange(2, 9))] for _ in range(3)
        )
        rejected = rejected if number % 6 else chosen
        rows.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    return rows


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, list[int]]]:
    """A batch of 32 and one of 5."""
    made = pairs(37)
    monkeypatch.setattr(preference, "read_part", lambda *_: datasets.Dataset.from_list(made))
    return made


SAMPLE: Any = SimpleNamespace(id="sample/x", details={})


@torch.no_grad()
def test_a_reward_models_numbers_are_means_over_all_pairs(rows: Any, tmp_path: Path) -> None:
    """Mutations: the mean of the batches' means; a tie counts 0; the last batch's loss counts half."""
    words = bare_tokenizer(**MARKS)
    scorer = load_scorer(outside(tmp_path / "rm", tokenizer=words, scorer=True))
    config = RewardModelConfig(center_rewards_coefficient=0.01)
    made = preference.reward_trainer(scorer, words, SAMPLE, config, fresh_draft(tmp_path / "d"))
    found = made.evaluate()

    def score(row: Any, side: str) -> torch.Tensor:
        return scorer(input_ids=torch.tensor([[*row["prompt_ids"], *row[side]]])).logits[0, 0]

    chosen, rejected = (
        torch.stack([score(row, side) for row in rows]) for side in ("chosen_ids", "rejected_ids")
    )
    margins = chosen - rejected
    losses = -torch.nn.functional.logsigmoid(margins)
    losses += config.center_rewards_coefficient * (chosen + rejected) ** 2
    assert found["eval_accuracy"] == pytest.approx(share(margins))
    assert found["eval_margin"] == pytest.approx(float(margins.mean()), abs=1e-5)
    assert found["eval_loss"] == pytest.approx(float(losses.mean()), abs=1e-5)


@torch.no_grad()
def test_dpos_numbers_are_means_over_all_pairs(rows: Any, tmp_path: Path) -> None:
    """Mutations: as above."""
    words = bare_tokenizer(**MARKS)
    model = load_causal_lm(outside(tmp_path / "lm", tokenizer=words))
    other = load_causal_lm(outside(tmp_path / "ref", "gpt2", tokenizer=words)).eval()
    config = DPOConfig(beta=0.1)
    made = preference.dpo_trainer(model, words, SAMPLE, config, fresh_draft(tmp_path / "d"), other)
    found = made.evaluate()

    def logprob(model: Any, row: Any, side: str) -> torch.Tensor:
        ids = torch.tensor([[*row["prompt_ids"], *row[side]]])
        logs = model(input_ids=ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])
        return logs[len(row["prompt_ids"]) - 1 :].sum()

    margins = config.beta * torch.stack(
        [
            sum(
                sign * (logprob(model, row, side) - logprob(other, row, side))
                for sign, side in ((1, "chosen_ids"), (-1, "rejected_ids"))
            )
            for row in rows
        ]
    )
    losses = -torch.nn.functional.logsigmoid(margins)
    assert found["eval_rewards/accuracies"] == pytest.approx(share(margins))
    assert found["eval_rewards/margins"] == pytest.approx(float(margins.mean()), abs=1e-4)
    assert found["eval_loss"] == pytest.approx(float(losses.mean()), abs=1e-4)


def share(margins: torch.Tensor) -> float:
    return float(((margins > 0) + (margins == 0) / 2).mean())
