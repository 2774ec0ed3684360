"""One small trained tokenizer for all data tests."""

from pathlib import Path

import pytest

from tempering import world
from tempering.data.tokenizers import TrainTokenizerConfig, train_tokenizer

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="session")
def fixtures():
    return FIXTURES


@pytest.fixture(scope="session")
def world_texts():
    return [row["text"] for row in world.corpus(300, seed=0)]


@pytest.fixture(scope="session")
def tokenizer(world_texts):
    return train_tokenizer(world_texts, TrainTokenizerConfig(vocab_size=600, datasets=("corpus",)))
