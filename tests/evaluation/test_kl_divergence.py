"""KL to a reference against torch.distributions on full logits, one completion at a time."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from tempering.errors import ArtifactError
from tempering.evaluation.benchmarks import KLDivergenceBenchmark, Tools
from tempering.evaluation.findings import run_benchmark
from tempering.generation import kl as kl_module
from tempering.generation.language_model import LanguageModel
from tempering.generation.sampling import Sampling
from tests.data.some_tokenizers import TOKENIZERS
from tests.models.outside import outside

ROWS = [
    {"prompt": [{"role": "user", "content": text}]}
    for text in ["the dog", "a cat saw", "in the park . Once upon"]
]


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[LanguageModel, LanguageModel]:
    """A policy, and a reference of another architecture with the same tokenizer and fewer positions."""
    tokenizer = TOKENIZERS["byte-level"]()
    folders = [
        outside(tmp_path / "policy", "gpt2", tokenizer=tokenizer, n_positions=96),
        outside(tmp_path / "reference", "llama", tokenizer=tokenizer, max_position_embeddings=64),
    ]
    policy, reference = (LanguageModel(folder, "plain", "cpu", batch_size=2) for folder in folders)
    policy.model.generation_config.eos_token_id = [*range(0, len(tokenizer), 8)]  # they end early, too
    monkeypatch.setattr("tempering.rewards.speaker.open_speaker", lambda *_: reference)
    return policy, reference


def by_hand(policy: LanguageModel, reference: LanguageModel, estimator: str, rows: Any) -> list[list[float]]:
    """The divergence at each token, from all logits of each completion by itself."""
    prompts = [policy.prompt(row["prompt"])[-(64 - 12) :] for row in rows]
    lines: dict[int, list[float]] = {}
    for places, rollout in policy.rollouts(prompts, Sampling(12, temperature=1.0), 3):
        for place, ids in zip(places, rollout.tokens(), strict=True):
            start, whole = len(prompts[place]), torch.tensor([[*prompts[place], *ids]])
            with torch.no_grad():
                both = [
                    Categorical(logits=model.model(input_ids=whole).logits[0, start - 1 : -1].double())
                    for model in (policy, reference)
                ]
            if estimator == "exact":
                lines[place] = kl_divergence(*both).tolist()
            else:
                logs, refs = (item.log_prob(torch.tensor(ids)) for item in both)
                ratio = (refs - logs).exp()
                lines[place] = (logs - refs if estimator == "k1" else ratio - 1 - ratio.log()).tolist()
    return [lines[place] for place in range(len(rows))]


@pytest.mark.parametrize("estimator", ["exact", "k1", "k3"])
def test_kl_by_hand(models: Any, monkeypatch: pytest.MonkeyPatch, estimator: Any) -> None:
    """Mutations: q || p; positions off by one; padding counted; a mean of means per token; one chunk."""
    monkeypatch.setattr(kl_module, "_LOGITS", 3 * models[0].model.config.vocab_size)
    benchmark = KLDivergenceBenchmark(
        kind="kl_divergence", dataset="x", max_new_tokens=12, estimator=estimator
    )
    tools = Tools(models[0], seed=3, models={"sft": None})  # type: ignore[dict-item]
    long = {"prompt": [{"role": "user", "content": "the dog saw a cat . " * 12}]}
    findings = run_benchmark("x", benchmark, [*ROWS, long], tools)
    lines = by_hand(*models, estimator, [*ROWS, long])
    per_token, per_completion = findings.metrics
    assert len({len(line) for line in lines}) > 1, "completions of several lengths"
    every = [value for line in lines for value in line]
    assert per_token.value == pytest.approx(sum(every) / len(every), rel=1e-4)
    assert per_completion.value == pytest.approx(sum(every) / len(lines), rel=1e-4)
    assert (per_token.convention, per_token.n) == (estimator, 4)
    assert models[0].cut == 1


def test_a_model_does_not_differ_from_itself(models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempering.rewards.speaker.open_speaker", lambda *_: models[0])
    benchmark = KLDivergenceBenchmark(kind="kl_divergence", dataset="x", max_new_tokens=4)
    findings = run_benchmark("x", benchmark, ROWS, Tools(models[0], models={"sft": None}))  # type: ignore[dict-item]
    # Mutation: zeros taken for a share, with Wilson's interval.
    for metric in findings.metrics:
        assert (metric.low, metric.value, metric.high) == pytest.approx((0, 0, 0), abs=1e-6)


def test_the_reference_itself_has_no_row() -> None:
    """Else its zero would be the best of all."""
    benchmark = KLDivergenceBenchmark(kind="kl_divergence", dataset="x")
    one, other = (SimpleNamespace(payload_digest="same") for _ in range(2))
    tools = Tools(model=one, models={"sft": other})  # type: ignore[arg-type, dict-item]
    assert run_benchmark("x", benchmark, ROWS, tools).metrics == []


def test_another_tokenizer_or_a_reward_model_is_refused_before_anything_is_loaded() -> None:
    benchmark = KLDivergenceBenchmark(kind="kl_divergence", dataset="x")
    model, twin, other, scorer = (
        SimpleNamespace(id=name, details={"tokenizer": digest, "head": head})
        for name, digest, head in [
            ("ppo", "a", "causal_lm"),
            ("sft", "a", "causal_lm"),
            ("other", "b", "causal_lm"),
            ("reward_model", "a", "score"),
        ]
    )
    benchmark.check("kl", Tools(model=model, models={"sft": twin}))  # type: ignore[arg-type, dict-item]
    for reference, message in ((other, "different tokenizers"), (scorer, "is a reward model")):
        with pytest.raises(ArtifactError, match=message):
            benchmark.check("kl", Tools(model=model, models={"sft": reference}))  # type: ignore[arg-type, dict-item]
