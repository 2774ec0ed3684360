"""Benchmarks against plain transformers: one row at a time, all logits, ids put together by hand."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tempering.data.answers import exact_match, f1
from tempering.evaluation.benchmarks import (
    MinimalPairsBenchmark,
    MultipleChoiceBenchmark,
    PerplexityBenchmark,
    QuestionsBenchmark,
    Tools,
)
from tempering.evaluation.benchmarks.questions import best, shortened
from tempering.evaluation.findings import Findings, run_benchmark
from tempering.evaluation.metrics import mean_metric
from tempering.generation.language_model import LanguageModel
from tests.data.some_tokenizers import TOKENIZERS
from tests.models.outside import outside

TEXTS = ["the dog saw a cat", "in the park . Once upon a time there was a dog in the park .", "a </s> b"]


@pytest.fixture(params=["byte-level", "BOS", "EOS", "BOS and EOS", "Unigram"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> LanguageModel:
    folder = outside(tmp_path / "m", "gpt2", tokenizer=TOKENIZERS[request.param](), n_positions=128)
    return LanguageModel(folder, "plain", "cpu", batch_size=2)


def metrics(findings: Findings) -> dict[str, float]:
    return {metric.metric: metric.value for metric in findings.metrics}


def pieces(model: LanguageModel, text: str) -> list[int]:
    """The ids of a text whose special tokens are no special tokens, worked out apart from the library."""
    words = model.tokenizer
    before, found, _ = text.partition("</s>")
    ids = words(before, add_special_tokens=False)["input_ids"]
    if not found:
        return list(ids)
    assert "Unigram" not in str(type(words.backend_tokenizer.model)), "its pieces are its own affair"
    return list(words(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def first(model: LanguageModel) -> int:
    bos, eos = model.tokenizer.bos_token_id, model.tokenizer.eos_token_id
    return int(eos if bos is None else bos)


def surprise(model: LanguageModel, ids: list[int], start: int = 1) -> list[float]:
    """Negative log-likelihood of each of `ids` from `start` on."""
    with torch.no_grad():
        logs = model.model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return [-logs[place - 1, ids[place]].item() for place in range(start, len(ids))]


def test_perplexity_of_texts(model: LanguageModel) -> None:
    """Mutations: BOS or an added EOS scored; a mean of means called a mean over tokens."""
    texts = TEXTS[: 2 if "Unigram" in str(type(model.tokenizer.backend_tokenizer.model)) else 3]
    texts = [*texts, f"{texts[0]}\n"]  # outer white space is no word
    findings = run_benchmark(
        "x",
        PerplexityBenchmark(kind="perplexity", dataset="x"),
        [{"text": text} for text in texts],
        Tools(model),
    )
    eos = model.tokenizer.eos_token_id
    lines = [surprise(model, [first(model), *pieces(model, text), eos]) for text in texts]
    every = [value for line in lines for value in line]
    by_row = [sum(line) / len(line) for line in lines]
    words, size = (sum(len(part(text)) for text in texts) for part in (str.split, str.encode))
    assert metrics(findings) == {
        "loss": pytest.approx(sum(every) / len(every), abs=1e-4),
        "loss_per_row": pytest.approx(sum(by_row) / len(by_row), abs=1e-4),
        "perplexity": pytest.approx(math.exp(sum(every) / len(every)), rel=1e-4),
        "word_perplexity": pytest.approx(math.exp(sum(every) / words), rel=1e-3),
        "byte_perplexity": pytest.approx(math.exp(sum(every) / size), rel=1e-4),
        "bits_per_byte": pytest.approx(sum(every) / size / math.log(2), rel=1e-4),
    }
    assert metrics(findings)["loss"] != pytest.approx(metrics(findings)["loss_per_row"], abs=1e-4)
    assert findings.metrics[0].low < findings.metrics[0].value < findings.metrics[0].high


@pytest.mark.parametrize(("max_length", "stride"), [(16, None), (16, 16), (16, 3), (512, None)])
def test_every_token_of_a_long_text_counts_once(tmp_path: Path, max_length: int, stride: int | None) -> None:
    """Mutations: the first piece alone; a token twice; less context than is stated."""
    folder = outside(tmp_path / "m", "gpt2", tokenizer=TOKENIZERS["byte-level"](), n_positions=40)
    model = LanguageModel(folder, "plain", "cpu", batch_size=4)
    text = "Once upon a time there was a dog . " * 9
    benchmark = PerplexityBenchmark(kind="perplexity", dataset="x", max_length=max_length, stride=stride)
    findings = run_benchmark("x", benchmark, [{"text": text}], Tools(model))

    eos = model.tokenizer.eos_token_id
    ids = [eos, *pieces(model, text), eos]
    assert len(ids) > 80
    # As stated: windows of `window` tokens, each further one ends `step` tokens later.
    window = min(max_length, 39)
    step = min(stride or (window + 1) // 2, window)
    total, done = 0.0, 1
    while done < len(ids):
        end = min(len(ids), done + (window if done == 1 else step))
        start = max(0, end - window - 1)
        total += sum(surprise(model, ids[start:end], done - start))
        done = end
    assert metrics(findings)["loss"] == pytest.approx(total / (len(ids) - 1), abs=1e-4)


def test_a_long_answer_is_read_to_its_end(model: LanguageModel) -> None:
    row = {
        "prompt": [{"role": "user", "content": "the dog"}],
        "completion": [{"role": "assistant", "content": "saw a cat in the park . Once upon a time"}],
    }
    benchmark = PerplexityBenchmark(kind="perplexity", dataset="x", max_length=8, stride=8)
    findings = run_benchmark("x", benchmark, [row], Tools(model))
    prompt, answer = model.pair(row["prompt"], row["completion"])
    ids, total = prompt + answer, 0.0
    for start in range(len(prompt), len(ids), 8):
        end = min(len(ids), start + 8)
        since = 0 if start == len(prompt) else max(0, end - 9)
        total += sum(surprise(model, ids[since:end], start - since))
    assert len(answer) > 10
    assert metrics(findings)["loss"] == pytest.approx(total / len(answer), abs=1e-4)


def test_minimal_pairs(model: LanguageModel) -> None:
    pairs = [("the dog saw a cat", "the cat saw a dog"), ("in the park", "the in park"), ("a dog", "a a dog")]
    rows = [{"sentence_good": good, "sentence_bad": bad} for good, bad in pairs]
    benchmark = MinimalPairsBenchmark(kind="minimal_pairs", dataset="x")
    findings = run_benchmark("x", benchmark, rows, Tools(model))
    right = [
        float(sum(surprise(model, [first(model), *pieces(model, good)]))
              < sum(surprise(model, [first(model), *pieces(model, bad)])))
        for good, bad in pairs
    ]  # fmt: skip
    assert [row["value"] for row in findings.tables["scores"]] == right


@pytest.mark.parametrize("prompt_format", ["plain", "chat"])
def test_choices(model: LanguageModel, prompt_format: Any) -> None:
    """As running text also for a chat model, unless its template is asked for."""
    context, choices = "the dog saw", ["a cat", "a park", "in the park"]
    model.prompt_format = "chat"
    form = {"prompt_format": None} if prompt_format == "chat" else {}
    benchmark = MultipleChoiceBenchmark(kind="multiple_choice", dataset="x", **form)
    row = {"question": context, "choices": choices, "answer": 0}
    table = run_benchmark("x", benchmark, [row], Tools(model)).tables["choices"]
    totals = []
    for choice in choices:
        if prompt_format == "chat":
            before, whole = f"<|user|>{context}<|assistant|>", f"<|user|>{context}<|assistant|>{choice}"
            start, ids = model.tokenizer([before, whole], add_special_tokens=False)["input_ids"]
        else:
            start = [first(model), *pieces(model, context)]
            ids = [first(model), *pieces(model, f"{context} {choice}")]
        totals.append(-sum(surprise(model, ids, len(start))))
    assert [line["logprob"] for line in table] == pytest.approx(totals, abs=1e-4)


@pytest.mark.parametrize("prompt_format", ["plain", "chat"])
def test_questions_are_answered_as_generate_does(model: LanguageModel, prompt_format: Any) -> None:
    """Mutations: a post-processor's EOS ends the prompt; a chat model is asked without its template."""
    rows = [{"context": text, "question": "a dog ;", "answers": ["x"]} for text in TEXTS[:2]]
    model.prompt_format = prompt_format
    words = model.tokenizer
    for row in rows:
        text = f"{row['context']} Question: {row['question']} Answer:"
        if prompt_format == "chat":
            ids = words(f"<|user|>{text}<|assistant|>", add_special_tokens=False)["input_ids"]
        else:
            ids = [first(model), *pieces(model, text)]
        out = model.model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            max_new_tokens=6,
            do_sample=False,
            eos_token_id=words.eos_token_id,
            pad_token_id=words.pad_token_id,
        )
        answer = words.decode(out[0, len(ids) :], skip_special_tokens=True)
        row["answers"] = ["something else", answer]
    benchmark = QuestionsBenchmark(kind="questions", dataset="x", max_new_tokens=6)
    assert metrics(run_benchmark("x", benchmark, rows, Tools(model)))["exact_match"] == 1.0


def test_a_long_context_is_cut_and_neither_question_nor_template(model: LanguageModel) -> None:
    prompts: list[list[int]] = []
    model.complete = lambda asked, *more: (prompts.extend(asked), [("", True)] * len(asked))[1]  # type: ignore[method-assign]
    model.prompt_format = "chat"
    row = {"context": "the dog saw a cat . " * 30, "question": "a dog ;", "answers": ["x"]}
    benchmark = QuestionsBenchmark(kind="questions", dataset="x", max_length=48, max_new_tokens=4)
    run_benchmark("x", benchmark, [row], Tools(model))
    text = model.tokenizer.decode(prompts[0])
    assert 30 < len(prompts[0]) <= 48
    assert text.startswith("<|user|>")
    assert text.replace(" ", "").endswith("cat.Question:adog;Answer:<|assistant|>")
    assert model.cut == 1


@pytest.mark.parametrize(
    ("answer", "gold", "exact"),
    [
        ("St. Louis. Question: Where", ["St. Louis"], 1.0),
        ("St. Louis", ["the park", "St. Louis"], 1.0),
        ("Paris. It is a city. I", ["Paris"], 1.0),
        ("Paris is a city. It", ["Paris"], 0.0),
        ("EE. UU. Y", ["EE. UU."], 1.0),
        ("one line\ntwo lines\nthree", ["one line\ntwo lines"], 1.0),
        ("one line\ntwo lines", ["one line"], 1.0),
        ("St. Paul. It", ["St. Louis"], 0.0),
        (" -5. The", ["-5"], 1.0),
        (" 5. The", ["-5"], 0.0),
    ],
)
def test_an_answer_goes_as_far_as_the_gold_one(answer: str, gold: list[str], exact: float) -> None:
    assert best(exact_match, answer, gold) == exact
    assert (best(f1, answer, gold) == 1.0) is (exact == 1.0)


def test_shortened() -> None:
    assert shortened(" St. Louis. A city. More", "New St. Louis") == "St. Louis"
    assert shortened("St. Louis", "Louis") == "St"


def test_a_weighted_mean_and_its_interval() -> None:
    metric = mean_metric("loss", [1.0, None, 4.0], "x", weights=[3.0, 100.0, 1.0], better="lower")
    assert (metric.value, metric.n) == (1.75, 2)
    assert (metric.low, metric.high) == (1.0, 4.0)
