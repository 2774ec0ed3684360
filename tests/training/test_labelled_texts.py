"""A reward model that classifies: its loss, its threshold, what it refuses."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import EvalPrediction

from tempering.artifacts.store import Store
from tempering.data.sample.config import SampleConfig
from tempering.errors import DataError
from tempering.rewards.learned import LearnedReward
from tempering.training.classifier import ClassifierTrainer, Collator, accuracy, check_labels
from tests.conftest import tiny_nodes
from tests.tiny import run_nodes

WORDS = {0: "bad sad grim", 1: "good glad kind"}


@pytest.fixture(scope="module")
def classifier(tiny_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A classifier of texts that one word gives away, made by a pipeline of its own."""
    path: Path = tmp_path_factory.mktemp("reviews") / "reviews.jsonl"
    texts = [
        (f"the {animal} was {word}", label)
        for label, words in WORDS.items()
        for word in words.split()
        for animal in ("cat", "dog", "fox", "hen", "cow", "owl", "bee", "ant")
    ]
    path.write_text("".join(f'{{"text": "{text}", "label": {label}}}\n' for text, label in texts))
    changes = {
        "datasets.reviews": {"kind": "sentiment", "path": str(path), "eval_fraction": 0.25},
        "samples.reviews": {
            "datasets": {"reviews": 1},
            "row_type": "classification",
            "prompt_format": "plain",
            "max_length": 24,
        },
        "reward_model": {
            "objective": "classification",
            "sample": "reviews",
            "batch_size": 8,
            "learning_rate": 5e-3,
            "num_epochs": 12,
            "model": "pretrain",
        },
    }
    return run_nodes(tiny_store, tiny_nodes(changes), "reward_model")


def test_it_learns_and_its_threshold_is_zero(classifier: Any) -> None:
    assert classifier.manifest.metrics["held_out_accuracy"] == 1.0
    reward = LearnedReward.of(classifier, "cpu")
    assert reward.classifies
    scores = reward([[{"role": "user", "content": "the cat"}]] * 2, ["was good", "was bad"])
    assert scores[0] > 0 > scores[1]


def test_what_it_reads_is_prompt_space_completion_and_eos_as_in_training(classifier: Any) -> None:
    sample = classifier.manifest.inputs["sample"]
    assert sample.id.startswith("sample-reviews")
    reward = LearnedReward.of(classifier, "cpu")
    ids = reward.encode([{"role": "user", "content": "the cat"}], "was good", True)
    whole = reward.tokenizer("the cat was good").input_ids
    assert ids == [*whole, reward.tokenizer.eos_token_id]


def test_the_loss_is_the_binary_cross_entropy_of_the_labels() -> None:
    scores, labels = [0.3, -1.2, 2.0], [1.0, 0.0, 0.0]

    class Scorer:
        def __call__(self, **inputs: Any) -> Any:
            assert set(inputs) == {"input_ids", "attention_mask"}
            return type("Output", (), {"logits": torch.tensor(scores)[:, None]})

    rows = [
        {"input_ids": [5] * length, "label": label} for length, label in zip((2, 4, 3), labels, strict=True)
    ]
    batch = Collator(0)(rows)
    assert batch["attention_mask"].sum(1).tolist() == [2, 4, 3]
    loss = ClassifierTrainer.compute_loss(object.__new__(ClassifierTrainer), Scorer(), batch)
    by_hand = [
        math.log1p(math.exp(-score if label else score)) for score, label in zip(scores, labels, strict=True)
    ]
    assert float(loss) == pytest.approx(sum(by_hand) / 3)


def test_accuracy_by_sign_and_a_score_of_nothing_counts_half() -> None:
    prediction = EvalPrediction(
        predictions=torch.tensor([1.0, -1.0, 0.0, 2.0]).numpy(), label_ids=[1, 1, 0, 1]
    )
    assert accuracy(prediction) == {"accuracy": 2.5 / 4}


@pytest.mark.parametrize("labels", [[1, 1, 1], [0, 1, 2], [0]])
def test_labels_that_one_score_cannot_tell_apart_are_refused(labels: list[int]) -> None:
    with pytest.raises(DataError, match="labels"):
        check_labels(labels, "reviews")


def test_labelled_texts_are_read_bare() -> None:
    with pytest.raises(ValidationError, match="prompt_format: plain"):
        SampleConfig(datasets={"reviews": 1}, row_type="classification")  # type: ignore[dict-item]
