"""Prompts and answers of unusual forms: pairs without a prompt, numbers, lists, a text beside a prompt."""

import json

import pytest

from tempering.data.builders import PreferenceConfig, PromptResponseConfig, PromptsConfig
from tempering.data.rows import RowType
from tempering.data.sample.encode import Encoder
from tests.data.built import notes_of, reasons_of, rows_of


@pytest.fixture
def written(tmp_path):
    def write(*records):
        path = tmp_path / "a.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
        return path

    return write


@pytest.mark.parametrize(
    ("chosen", "rejected", "parts"),
    [
        ("Mira went to the mill.", "Mira went to sleep.", ("Mira went to", "the mill.", "sleep.")),
        ("Go to the mill.", "Go to the moon.", ("Go to the", "mill.", "moon.")),
        ("Q: why?\nA: So.", "Q: why?\nA: No.", ("Q: why?\nA:", "So.", "No.")),
        ("A b", "A b c", ("A", "b", "b c")),
        ("我们走了。", "我们来了。", ("我们", "走了。", "来了。")),
    ],
)
def test_pairs_without_a_prompt_have_what_both_begin_with(written, chosen, rejected, parts):
    config = PreferenceConfig(path=written({"chosen": chosen, "rejected": rejected}))
    (row,) = rows_of(config)
    assert tuple(row[name][0]["content"] for name in ("prompt", "chosen", "rejected")) == parts
    assert notes_of(config) == [(1, "the prompt is what chosen and rejected begin with")]
    (answer,) = rows_of(PreferenceConfig(path=config.path, rows="prompt_completion"))
    assert (answer["prompt"], answer["completion"]) == (row["prompt"], row["chosen"])


@pytest.mark.parametrize(
    ("chosen", "rejected"), [("Yes.", "No."), ("Same.", "Same."), ("A ", "A b"), ("It is.", None)]
)
def test_pairs_that_share_no_beginning_have_no_prompt(written, chosen, rejected):
    ((_, reason),) = reasons_of(PreferenceConfig(path=written({"chosen": chosen, "rejected": rejected})))
    assert reason == "there is no prompt: no column for it, and chosen and rejected share no beginning"


def test_numbers_are_answers_and_lists_are_several(written):
    answers = [4, -0.5, ["4", "four"], True, 10**400, float("nan")]
    config = PromptResponseConfig(path=written(*({"question": "q", "answer": answer} for answer in answers)))
    assert [row["completion"][0]["content"] for row in rows_of(config)] == ["4", "-0.5", str(10**400)]
    assert notes_of(config) == [(line, "an answer that is a number read as text") for line in (1, 2, 5)]
    several, boolean, nan = reasons_of(config)
    assert nan[1] == "answer: is NaN, not a text"
    assert several[1].startswith("answer: is a list of answers, not one")
    assert boolean[1] == "answer: is true, not a text"
    (row,) = rows_of(
        PromptResponseConfig(
            path=written({"question": "q", "answer": answers[2]}), columns={"answer": "answer.1"}
        )
    )
    assert row["completion"][0]["content"] == "four"


def test_the_input_of_an_instruction_is_part_of_its_prompt(written):
    path = written({"instruction": "Say", "input": "it.", "response": "It."})
    (row,) = rows_of(PromptResponseConfig(path=path))
    assert row["prompt"][0]["content"] == "Say\n\nit."
    assert "input" not in row


def test_a_text_beside_a_prompt_is_no_prompt(written, tokenizer):
    rows = [{"prompt": "p", "text": "other"}, {"prompt": None, "text": "other"}, {"text": "t", "id": 1}]
    config = PromptsConfig(path=written(*rows, {"turns": ["first", "second"], "text": "other"}))
    assert [row["prompt"][0]["content"] for row in rows_of(config)] == ["p", "t", "first"]
    assert reasons_of(config) == [(2, "prompt: is missing or null, and a text beside it is no prompt")]
    # Nor is it in rows from elsewhere that are tokenised.
    encoder = Encoder(tokenizer, RowType.PROMPT, 32, prompt_format="plain", query_lengths=(1, 20))
    row = {"prompt": [{"role": "user", "content": "Where is Mira?"}], "text": "other"}
    (encoded,) = encoder.encode(row)
    assert "Mira" in encoded.values["query"]
