"""Learned positions end somewhere (GPT-2): what is longer is cut and counted, never an IndexError."""

from pathlib import Path
from typing import Any

import pytest

from tempering.evaluation.benchmarks import PerplexityBenchmark, Tools
from tempering.evaluation.findings import run_benchmark
from tempering.generation.language_model import LanguageModel
from tempering.generation.sampling import Sampling
from tests.models.outside import bare_tokenizer, outside


@pytest.fixture
def model(tmp_path: Path) -> LanguageModel:
    tokenizer = bare_tokenizer(eos_token="<|endoftext|>", pad_token="!")
    return LanguageModel(
        outside(tmp_path / "gpt2", "gpt2", tokenizer=tokenizer, n_positions=40), "plain", "cpu"
    )


def test_a_long_prompt_loses_its_beginning_and_is_counted(model: LanguageModel) -> None:
    long, short = [*range(5, 100)], [5, 6]
    both = model.complete([long, short], Sampling(8, temperature=0), seed=0)
    assert model.cut == 1
    assert both[0] == model.complete([long[-32:]], Sampling(8, temperature=0), seed=0)[0]


def test_answers_come_back_in_order_and_with_the_numbers_of_their_batch(model: LanguageModel) -> None:
    """Mutations: no way back from the sorted order; one seed for all batches."""
    prompts = [[*range(5, 5 + length)] for length in (9, 2, 7, 3, 12, 1)]
    sampling = Sampling(8, temperature=2.0)
    model.batch_size = 2
    places = [places for places, _ in model.rollouts(prompts, sampling, seed=3)]
    assert places == [[5, 1], [3, 2], [0, 4]], "shortest first"
    answers = model.complete(prompts, sampling, seed=3)
    pairs = [
        model.complete([prompts[place] for place in batch], sampling, seed=3 + 2 * number)
        for number, batch in enumerate(places)
    ]
    assert [answers[place] for batch in places for place in batch] == [
        text for pair in pairs for text in pair
    ]
    rows = [(prompt, [7] * length) for prompt, length in zip(prompts, (4, 1, 6, 2, 3, 5), strict=True)]
    assert list(map(len, model.logprobs(rows))) == [4, 1, 6, 2, 3, 5]


@pytest.mark.parametrize(
    "row",
    [
        {"text": "a b c d " * 30},
        {
            "prompt": [{"role": "user", "content": "a b " * 40}],
            "completion": [{"role": "assistant", "content": "c d " * 15}],
        },
    ],
)
def test_perplexity_of_rows_longer_than_the_positions(model: LanguageModel, row: dict[str, Any]) -> None:
    benchmark = PerplexityBenchmark(kind="perplexity", dataset="x", max_length=512)
    findings = run_benchmark("long", benchmark, [row], Tools(policy=model))
    assert findings.metrics[0].value > 0
