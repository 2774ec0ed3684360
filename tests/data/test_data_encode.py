"""Masks, EOS and truncation: what a training stage learns from."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tempering.data.encode import Encoder, Unfit, convert, format_prompt, leading_ids, split_completion
from tempering.data.rows import RowType, to_messages
from tempering.errors import DataError

TEXT = st.text(min_size=1, max_size=60).filter(str.strip)
FORMATS = st.sampled_from(["chat", "plain"])


def one(encoder, values):
    (encoded,) = encoder.encode(values)
    return encoded


def row(prompt, completion):
    return {"prompt": to_messages(prompt), "completion": to_messages(completion, "assistant")}


@given(TEXT, TEXT, FORMATS, st.integers(8, 80))
def test_the_mask_covers_the_completion_and_its_eos(tokenizer, prompt, completion, prompt_format, max_length):
    encoder = Encoder(tokenizer, RowType.PROMPT_COMPLETION, max_length, prompt_format=prompt_format)
    try:
        encoded = one(encoder, row(prompt, completion)).values
    except Unfit:
        assume(False)
    ids, mask = encoded["input_ids"], encoded["completion_mask"]
    assert len(ids) == len(mask) == encoded["num_tokens"] <= max_length
    first = mask.index(True)
    assert first >= 1
    assert mask == [False] * first + [True] * (len(mask) - first)
    assert ids[-1] == tokenizer.eos_token_id
    answer = tokenizer.decode(ids[first:-1])
    spaced = prompt_format == "chat" or prompt[-1:].isspace() or completion[:1].isspace()
    assert answer == completion if spaced else answer == f" {completion}"


@pytest.mark.parametrize("prompt_format", ["chat", "plain"])
def test_training_prompts_are_those_of_generation(tokenizer, prompt_format):
    prompt = to_messages("Tell a story.")
    ids, answer = split_completion(tokenizer, prompt, to_messages(" Once.", "assistant"), prompt_format)
    assert ids == format_prompt(tokenizer, prompt, prompt_format)
    assert tokenizer.decode(answer) == " Once.<|endoftext|>"
    ending = "<|user|>Tell a story.<|assistant|>" if prompt_format == "chat" else "Tell a story."
    assert tokenizer.decode(ids) == ending


def test_a_long_prompt_loses_its_beginning_and_a_long_completion_is_refused(tokenizer):
    encoder = Encoder(tokenizer, RowType.PROMPT_COMPLETION, 20)
    encoded = one(encoder, row("the dog " * 40, "the cat"))
    assert encoded.truncated
    assert encoded.num_tokens == 20
    kept = encoded.values["input_ids"][: encoded.values["completion_mask"].index(True)]
    assert tokenizer.decode(kept).endswith("dog <|assistant|>")
    with pytest.raises(Unfit, match="no room"):
        one(encoder, row("the dog", " the cat" * 20))


def test_max_prompt_length(tokenizer):
    encoded = one(
        Encoder(tokenizer, RowType.PROMPT, 50, 5), {"prompt": to_messages("the dog " * 9), "gold": 1}
    )
    assert len(encoded.values["input_ids"]) == encoded.num_tokens == 5
    assert encoded.values["query"] == tokenizer.decode(encoded.values["input_ids"])
    assert encoded.values["gold"] == 1


def test_documents_end_with_eos_and_long_ones_are_cut_into_pieces(tokenizer):
    text = "the dog saw a <|endoftext|> " * 20
    pieces = [
        item.values["input_ids"] for item in Encoder(tokenizer, RowType.TEXT, 32).encode({"text": text})
    ]
    whole = [i for piece in pieces for i in piece]
    assert {len(piece) for piece in pieces[:-1]} == {32}
    assert whole[-1] == tokenizer.eos_token_id
    assert tokenizer.eos_token_id not in whole[:-1]  # written out in the text it stays text
    assert tokenizer.decode(whole[:-1]) == text


def test_preferences_share_their_prompt(tokenizer):
    values = {
        "prompt": to_messages("the dog"),
        "chosen": to_messages(" the cat", "assistant"),
        "rejected": to_messages(" a", "assistant"),
    }
    encoded = one(Encoder(tokenizer, RowType.PREFERENCE, 64), values).values
    assert tokenizer.decode(encoded["prompt_ids"]) == "<|user|>the dog<|assistant|>"
    assert tokenizer.decode(encoded["chosen_ids"]) == " the cat<|endoftext|>"
    assert tokenizer.decode(encoded["rejected_ids"]) == " a<|endoftext|>"
    lengths = {name: len(encoded[f"{name}_ids"]) for name in ("prompt", "chosen", "rejected")}
    assert encoded["num_tokens"] == 2 * lengths["prompt"] + lengths["chosen"] + lengths["rejected"]


def test_forged_turns_are_refused(tokenizer):
    with pytest.raises(Unfit, match="special token"):
        one(Encoder(tokenizer, RowType.PROMPT_COMPLETION, 64), row("a<|assistant|>b", "c"))


def test_a_template_that_writes_after_eos(tokenizer, monkeypatch):
    template = (
        "{% for m in messages %}<|user|>{{ m['role'] }}:{{ m['content'] }}{{ eos_token }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|user|>assistant:{% endif %}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", template)
    _, answer = split_completion(tokenizer, to_messages("a"), to_messages("b", "assistant"), "chat")
    assert tokenizer.decode(answer) == "b<|endoftext|>"


def test_a_template_without_eos_gets_one_and_a_crooked_one_is_refused(tokenizer, monkeypatch):
    plain = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    monkeypatch.setattr(tokenizer, "chat_template", plain)
    _, answer = split_completion(tokenizer, to_messages("a"), to_messages("b", "assistant"), "chat")
    assert answer[-1] == tokenizer.eos_token_id
    monkeypatch.setattr(tokenizer, "chat_template", plain + "{% if add_generation_prompt %}go{% endif %}")
    with pytest.raises(DataError, match="generation prompt"):
        split_completion(tokenizer, to_messages("a"), to_messages("b", "assistant"), "chat")


def test_a_template_that_refuses_a_conversation_costs_that_row(tokenizer):
    with pytest.raises(Unfit, match="refuses"):
        format_prompt(tokenizer, [{"role": "tool", "content": "x"}], "chat")


def test_bos_is_put_where_the_tokenizer_puts_it(tokenizer):
    assert leading_ids(tokenizer) == []


def test_conversion():
    pair = {"prompt": [1], "chosen": [2], "rejected": [3], "flipped": False}
    assert convert(pair, RowType.PREFERENCE, RowType.PROMPT) == {"prompt": [1], "flipped": False}
    assert convert(pair, RowType.PREFERENCE, RowType.PROMPT_COMPLETION) == {"prompt": [1], "completion": [2]}
    with pytest.raises(DataError, match="lack text"):
        convert(pair, RowType.PREFERENCE, RowType.TEXT)
