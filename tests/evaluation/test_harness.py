"""Beside lm-evaluation-harness itself, where it is installed."""

from pathlib import Path

import pytest

from tempering.evaluation.benchmarks import PerplexityBenchmark, Tools
from tempering.evaluation.findings import run_benchmark
from tempering.generation.language_model import LanguageModel
from tests.models.outside import bare_tokenizer, outside

TEXTS = ["Once upon a time there was a dog . " * 9, "the cat\n saw  a dog", "a dög"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = bare_tokenizer(eos_token="<|endoftext|>", pad_token="!")
    return outside(tmp_path / "gpt2", "gpt2", tokenizer=tokenizer, n_positions=40)


def test_perplexity_is_that_of_loglikelihood_rolling(folder: Path) -> None:
    """Mutations: EOS scored; windows that overlap; a window less than the positions; words by single spaces."""
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance
    from lm_eval.api.metrics import bits_per_byte, weighted_perplexity
    from lm_eval.api.task import PerplexityTask
    from lm_eval.models.huggingface import HFLM

    theirs = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=2)
    requests = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in TEXTS]
    totals = theirs.loglikelihood_rolling(requests, disable_tqdm=True)
    words = [*zip(totals, map(PerplexityTask.count_words, TEXTS), strict=True)]
    sizes = [*zip(totals, map(PerplexityTask.count_bytes, TEXTS), strict=True)]

    benchmark = PerplexityBenchmark(kind="perplexity", dataset="x", scoring="lmeval")
    model = LanguageModel(folder, "plain", "cpu")
    findings = run_benchmark("x", benchmark, [{"text": text} for text in TEXTS], Tools(policy=model))
    ours = {metric.metric: metric.value for metric in findings.metrics}
    assert ours["word_perplexity"] == pytest.approx(weighted_perplexity(words), rel=1e-5)
    assert ours["byte_perplexity"] == pytest.approx(weighted_perplexity(sizes), rel=1e-5)
    assert ours["bits_per_byte"] == pytest.approx(bits_per_byte(sizes), rel=1e-5)
    assert {metric.convention for metric in findings.metrics} == {"lmeval"}
