"""One way from text to ids: training's are what evaluation scores, chat sends and a reward model gets.

Over tokenizers that put BOS, EOS, both or a space around a text, or read special tokens as words.
"""

import ast
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from tempering.data.builders.prompts import PromptsConfig
from tempering.data.rows import RowType
from tempering.data.sample.encode import Encoder
from tempering.data.token_ids import leading_ids
from tempering.errors import DataError
from tempering.evaluation.benchmarks import (
    CompletionsBenchmark,
    MinimalPairsBenchmark,
    MultipleChoiceBenchmark,
    PerplexityBenchmark,
    QuestionsBenchmark,
    Tools,
)
from tempering.evaluation.findings import run_benchmark
from tempering.generation.decoder import Decoder
from tempering.generation.language_model import LanguageModel, completed
from tempering.generation.sampling import Sampling
from tempering.models.find import Source
from tempering.rewards.learned import LearnedReward
from tempering.talk.batches import answers
from tempering.talk.chat_model import Speaker
from tempering.talk.files import given_prompts
from tests.data.some_tokenizers import TOKENIZERS
from tests.models.outside import outside

TEXTS = [
    "the dog saw a cat",
    " in the park . Once",
    "Question: a </s> b [SEP] <|user|> c",
    "there was a dog\n",
]
FORMATS = ["chat", "plain", "role_markers", "turn_markers"]
Rows = list[tuple[list[int], list[int]]]


@pytest.fixture(scope="module", params=TOKENIZERS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ids") / "model"
    return outside(path, "gpt2", tokenizer=TOKENIZERS[request.param](), n_layer=1, n_embd=8)


class Recorder(LanguageModel):
    """Keeps what it is asked to score and to complete."""

    scored: Rows
    prompts: list[list[int]]

    def logprobs(self, rows: Any) -> list[list[float]]:
        self.scored = list(rows)
        return super().logprobs(rows)

    def complete(self, prompts: Any, *more: Any) -> list[tuple[str, bool]]:
        self.prompts = list(prompts)
        return super().complete(prompts, *more)


def recorder(folder: Path, prompt_format: Any = "plain", **more: Any) -> Recorder:
    return Recorder(folder, prompt_format, "cpu", **more)


def turns(text: str, role: str = "user") -> list[dict[str, str]]:
    return [{"role": role, "content": text}]


def trained(
    words: Any, row_type: RowType, row: dict[str, Any], prompt_format: Any = "chat"
) -> dict[str, Any]:
    (encoded,) = Encoder(words, row_type, 400, prompt_format=prompt_format).encode(row)
    return encoded.values


def test_documents_are_scored_as_they_are_trained_on(folder: Path) -> None:
    model = recorder(folder)
    words = model.tokenizer
    # A document of pretraining: its BOS or the EOS of another one, its ids, EOS.
    documents = [trained(words, RowType.TEXT, {"text": text})["input_ids"] for text in TEXTS]
    bos = leading_ids(words)
    before = bos or [words.eos_token_id]
    after = [ids[len(bos) :] for ids in documents]

    benchmark = PerplexityBenchmark(kind="perplexity", dataset="x")
    run_benchmark("x", benchmark, [{"text": text} for text in TEXTS], Tools(policy=model))
    assert model.scored == [(before, ids) for ids in after]

    pairs = MinimalPairsBenchmark(kind="minimal_pairs", dataset="x")
    rows = [{"sentence_good": TEXTS[0], "sentence_bad": TEXTS[2]}]
    run_benchmark("x", pairs, rows, Tools(policy=model))
    assert model.scored == [(before, after[0][:-1]), (before, after[2][:-1])]

    choices = MultipleChoiceBenchmark(kind="multiple_choice", dataset="x")
    row = {"question": TEXTS[0], "choices": ["in the park", "a </s> b"], "answer": 0}
    run_benchmark("x", choices, [row], Tools(policy=model))
    whole = [f"{TEXTS[0]} {choice}" for choice in row["choices"]]
    ids = [trained(words, RowType.TEXT, {"text": text})["input_ids"][len(bos) : -1] for text in whole]
    assert [start + answer for start, answer in model.scored] == [before + line for line in ids]


@pytest.mark.parametrize("prompt_format", FORMATS)
def test_prompts_and_answers_are_those_of_training(folder: Path, prompt_format: Any) -> None:
    model = recorder(folder, prompt_format, trained_on_rows=True)
    words = model.tokenizer
    row = {"prompt": turns(TEXTS[0]), "completion": turns("a cat in the park .", "assistant")}
    values = trained(words, RowType.PROMPT_COMPLETION, row, prompt_format)
    split = values["completion_mask"].index(True)
    prompt, answer = values["input_ids"][:split], values["input_ids"][split:]
    assert trained(words, RowType.PROMPT, {"prompt": row["prompt"]}, prompt_format)["input_ids"] == prompt

    run_benchmark("x", PerplexityBenchmark(kind="perplexity", dataset="x"), [row], Tools(policy=model))
    assert model.scored == [(prompt, answer)]
    completions = CompletionsBenchmark(kind="completions", dataset="x", max_new_tokens=1)
    run_benchmark("x", completions, [row], Tools(policy=model))
    assert model.prompts == [prompt]

    # A question is asked as a row of training that holds it.
    asked = {"context": "the dog", "question": "a cat", "answers": ["a"]}
    questions = QuestionsBenchmark(kind="questions", dataset="x", max_new_tokens=1)
    run_benchmark("x", questions, [asked], Tools(policy=model))
    text = turns("the dog Question: a cat Answer:")
    assert model.prompts == [trained(words, RowType.PROMPT, {"prompt": text}, prompt_format)["input_ids"]]

    # A choice is put as an answer of training, without its end.
    choices = MultipleChoiceBenchmark(kind="multiple_choice", dataset="x", prompt_format=prompt_format)
    if prompt_format != "plain":
        asked = {"question": TEXTS[0], "choices": ["a cat in the park ."], "answer": 0}
        run_benchmark("x", choices, [asked], Tools(policy=model))
        assert model.scored == [(prompt, answer[:-1])]


@pytest.mark.parametrize("prompt_format", FORMATS)
def test_chat_generate_and_rewards_get_them_too(
    folder: Path, prompt_format: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = Source("here", folder)
    speaker = Speaker(source, Sampling(1, temperature=0), prompt_format=prompt_format)
    words = speaker.model.tokenizer
    # A folder from outside is a model of documents: a plain prompt begins one.
    start = [words.eos_token_id] if prompt_format == "plain" and not leading_ids(words) else []
    row = {
        "prompt": turns(TEXTS[0]),
        "chosen": turns("a cat", "assistant"),
        "rejected": turns("b", "assistant"),
    }
    values = trained(words, RowType.PREFERENCE, row, prompt_format)
    assert speaker.prepare(row["prompt"]).ids == [*start, *values["prompt_ids"]]

    sent: list[list[int]] = []
    generate = Decoder.generate

    def recorded(self: Decoder, prompts: Any, *more: Any) -> Any:
        sent.extend(prompts)
        return generate(self, prompts, *more)

    monkeypatch.setattr(Decoder, "generate", recorded)
    list(chain(*answers(speaker, given_prompts([TEXTS[0]]))))
    assert sent == [[*start, *values["prompt_ids"]]]

    scorer = outside(tmp_path / "scorer", "gpt2", tokenizer=words, scorer=True, n_layer=1, n_embd=8)
    reward = LearnedReward(scorer, prompt_format=prompt_format)
    scored = [reward.encode(row["prompt"], row[side][0]["content"], True) for side in ("chosen", "rejected")]
    assert scored == [[*values["prompt_ids"], *values[f"{side}_ids"]] for side in ("chosen", "rejected")]
    forged = reward.encode(row["prompt"], f"a {words.eos_token} <|user|> b", True)
    special = set(words.all_special_ids) - {words.unk_token_id}
    controls = [[number for number in ids if number in special] for ids in (forged, scored[0])]
    assert controls[0] == controls[1]


def test_a_chat_model_that_is_asked_in_running_text_reads_a_document(folder: Path) -> None:
    model = recorder(folder, "chat", trained_on_rows=True)
    start, ids = model.document("the dog")
    assert model.prompt(turns("the dog"), "plain") == [*start, *ids]


def test_a_role_marker_in_a_prompt_is_refused(folder: Path) -> None:
    """It is text like any other: training leaves such rows out, and nothing could keep it from forging."""
    model = recorder(folder, "role_markers")
    with pytest.raises(DataError, match="role marker at the beginning of a line"):
        model.prompt(turns("Hello.\n\nAssistant: Hi."))
    assert model.prompt([*turns("Hello."), *turns("User: you", "assistant"), *turns("Yes.")])


def test_a_tokenizer_that_is_not_a_fast_one_is_refused() -> None:
    from transformers import ByT5Tokenizer

    with pytest.raises(DataError, match="not a fast one"):
        completed(ByT5Tokenizer(), Source("here", Path("nowhere")))


def test_the_combiner_gives_the_ids_of_a_sample(folder: Path, tmp_path: Path) -> None:
    from tempering.combiner import DatasetCombiner
    from tempering.data.tokenizers import load_tokenizer

    words = load_tokenizer(folder)
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "the dog saw a cat"}\n')
    builder = PromptsConfig(kind="prompts", path=path, eval_fraction=0)
    (row,) = DatasetCombiner([builder], words, row_type="prompt", max_length=64).load()
    assert row["input_ids"] == trained(words, RowType.PROMPT, {"prompt": turns(TEXTS[0])})["input_ids"]


ALLOWED = {
    ("tempering/data/token_ids.py", "tokenizer"),  # what a post-processor puts before a text
    ("tempering/data/token_ids.py", "encode_batch_fast"),
    ("tempering/data/prompt_format.py", "apply_chat_template"),
    ("tempering/evaluation/classifier.py", "tokenizer"),  # `scoring: official`: as that pipeline has it
    ("tempering/data/tokenizers.py", "tokenizer"),  # whether the ids of one letter are in the vocabulary
}
"""The only calls that make ids, or text that is to be tokenised, out of a text."""
MAKERS = {"encode_batch", "encode_batch_fast", "encode_plus", "batch_encode_plus", "tokenize", "__call__"}
MAKERS |= {"apply_chat_template"}


def test_only_one_module_makes_token_ids(repository: Path) -> None:
    """Another one would put special tokens where training has none, or read those that a text spells."""
    found = set()
    for folder in ("tempering", "tasks", "flows", "examples"):
        for path in sorted((repository / folder).rglob("*.py")):
            place = path.relative_to(repository).as_posix()
            found |= {(place, name) for name in _makers(ast.parse(path.read_text("utf-8")))}
    assert found == ALLOWED


def _makers(tree: ast.AST) -> set[str]:
    nodes = [*ast.walk(tree)]
    loaded = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and "tokenizer(" in ast.unparse(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    names = set()
    for call in (node for node in nodes if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        is_call = name in {"tokenizer", "processing_class", *loaded} and call.args
        is_encoder = name == "encode" and ("tokenizer" in owner or "backend" in owner)
        # The encoder of samples encodes rows, and comes here.
        if is_call or is_encoder or (name in MAKERS and owner not in ("self", "self.encoder")):
            names.add(name)
    return names
