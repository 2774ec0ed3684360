"""Masks, EOS and truncation: what a training stage learns from."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tempering.data.prompt_format import Unfit, render_prompt
from tempering.data.prompt_tokens import format_prompt, leading_ids, split_completion
from tempering.data.row_conversion import convert
from tempering.data.rows import EMPTY_ANSWER, RowType, to_messages
from tempering.data.sample.encode import Encoder
from tempering.data.tokenizers import on_all_cores
from tempering.errors import DataError

TEXT = st.text(min_size=1, max_size=60).filter(str.strip)
FORMATS = st.sampled_from(["chat", "plain", "role_markers", "turn_markers"])


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
    before = completion[:1].isspace() if prompt_format != "role_markers" else completion[:1] in " \n"
    spaced = prompt_format in ("chat", "turn_markers") or before
    spaced = spaced or (prompt_format == "plain" and prompt[-1:].isspace())
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
    with pytest.raises(DataError, match="in another way when the answer follows"):
        split_completion(tokenizer, to_messages("a"), to_messages("b", "assistant"), "chat")


def test_a_row_that_a_thinking_template_cannot_render_costs_itself_alone(tokenizer, monkeypatch):
    """Its generation prompt begins a thought, as that of DeepSeek R1: an answer without one is crooked."""
    template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|><think>{% endif %}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", template)
    rows = [row("a", "<think>hm</think>b"), row("a", "b"), row("c", "<think></think>d")]
    encoder = Encoder(tokenizer, RowType.PROMPT_COMPLETION, 64)
    good, bad, other = encoder.encode_batch(rows)
    assert str(bad).startswith("the chat template writes the prompt in another way")
    assert trained(tokenizer, good[0].values) == ["hm</think>b<|endoftext|>"]
    assert trained(tokenizer, other[0].values) == ["</think>d<|endoftext|>"]
    talks = [[*item["prompt"], *item["completion"]] for item in rows]
    found = encoder.encode_batch([{"messages": talk} for talk in talks])
    assert [isinstance(item, Unfit) for item in found] == [False, True, False]


def test_a_template_that_refuses_a_conversation_costs_that_row(tokenizer):
    with pytest.raises(Unfit, match="refuses"):
        format_prompt(tokenizer, [{"role": "tool", "content": "x"}], "chat")


def test_bos_is_put_where_the_tokenizer_puts_it(tokenizer):
    assert leading_ids(tokenizer) == []


def test_conversion():
    graded = {"text": "a", "text_pair": "b", "label": 1, "id": "x"}
    assert convert(graded, RowType.CLASSIFICATION, RowType.TEXT) == {"text": "a\nb", "label": 1, "id": "x"}
    talk = {"messages": TALK, "score": 2.5, "reason": ""}
    assert convert(talk, RowType.SCORED_CONVERSATION, RowType.PROMPT_COMPLETION) == {
        "messages": TALK,
        "score": 2.5,
    }
    assert convert(talk, RowType.SCORED_CONVERSATION, RowType.PROMPT)["prompt"] == TALK[:3]
    assert convert({"messages": TALK[:1]}, RowType.MESSAGES, RowType.PROMPT)["prompt"] == TALK[:1]
    assert convert({"messages": TALK[1:2]}, RowType.MESSAGES, RowType.PROMPT) is None
    pair = {"prompt": [1], "chosen": [2], "rejected": [3], "flipped": False}
    assert convert(pair, RowType.PREFERENCE, RowType.PROMPT) == {"prompt": [1], "flipped": False}
    answers = convert(pair, RowType.PREFERENCE, RowType.PROMPT_COMPLETION)
    assert answers == {"prompt": [1], "completion": [2], "flipped": False}
    with pytest.raises(DataError, match="lack text"):
        convert(pair, RowType.PREFERENCE, RowType.TEXT)


TALK = [
    {"role": "user", "content": "the dog"},
    {"role": "assistant", "content": " a cat"},
    {"role": "user", "content": "the cat"},
    {"role": "assistant", "content": " a dog"},
]


def trained(tokenizer, encoded):
    """The text that the mask covers, piece by piece."""
    pieces, run = [], []
    for token, counts in zip(encoded["input_ids"], encoded["completion_mask"], strict=True):
        if counts:
            run.append(token)
        elif run:
            pieces.append(tokenizer.decode(run))
            run = []
    return [*pieces, tokenizer.decode(run)] if run else pieces


@pytest.mark.parametrize(
    ("prompt_format", "text"),
    [
        (
            "chat",
            "<|user|>the dog<|assistant|> a cat<|endoftext|><|user|>the cat<|assistant|> a dog<|endoftext|>",
        ),
        ("plain", "the dog a cat\n\nthe cat a dog<|endoftext|>"),
        (
            "role_markers",
            "User: the dog\n\nAssistant: a cat<|endoftext|>\n\n"
            "User: the cat\n\nAssistant: a dog<|endoftext|>",
        ),
        ("turn_markers", "the dog<|endoftext|> a cat<|endoftext|>the cat<|endoftext|> a dog<|endoftext|>"),
    ],
)
def test_every_turn_of_the_assistant_is_trained_on(tokenizer, prompt_format, text):
    encoder = Encoder(tokenizer, RowType.PROMPT_COMPLETION, 64, prompt_format=prompt_format)
    encoded = one(encoder, {"messages": TALK}).values
    assert tokenizer.decode(encoded["input_ids"]) == text
    eos = "" if prompt_format == "plain" else "<|endoftext|>"
    assert trained(tokenizer, encoded) == [f" a cat{eos}", " a dog<|endoftext|>"]


def test_a_turn_that_is_marked_is_not_trained_on(tokenizer):
    encoder = Encoder(tokenizer, RowType.PROMPT_COMPLETION, 64)
    whole = one(encoder, {"messages": TALK}).values
    marked = one(encoder, {"messages": TALK, "untrained_turns": "1"})
    assert marked.values["input_ids"] == whole["input_ids"]
    assert trained(tokenizer, marked.values) == [" a dog<|endoftext|>"]
    assert marked.unlearnt == 0  # on purpose: not the template's doing
    assert one(encoder, {"messages": TALK, "untrained_turns": None}).values == whole
    with pytest.raises(Unfit, match="running text cannot leave out"):
        one(Encoder(tokenizer, RowType.TEXT, 64), {"messages": TALK, "untrained_turns": "1"})


def test_a_template_without_marks_gives_the_same_masks(tokenizer, monkeypatch):
    encoder = Encoder(tokenizer, RowType.PROMPT_COMPLETION, 64)
    marked = one(encoder, {"messages": TALK}).values
    bare = tokenizer.chat_template.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    assert bare != tokenizer.chat_template
    monkeypatch.setattr(tokenizer, "chat_template", bare)
    assert one(encoder, {"messages": TALK}).values == marked


def test_an_answer_whose_beginning_is_cut_off_is_not_trained_on(tokenizer):
    whole = one(Encoder(tokenizer, RowType.PROMPT_COMPLETION, 64), {"messages": TALK}).values
    start = whole["completion_mask"].index(True)
    encoded = one(
        Encoder(tokenizer, RowType.PROMPT_COMPLETION, len(whole["input_ids"]) - start - 1), {"messages": TALK}
    )
    assert encoded.truncated
    assert trained(tokenizer, encoded.values) == [" a dog<|endoftext|>"]
    with pytest.raises(Unfit, match="no room"):
        one(Encoder(tokenizer, RowType.PROMPT_COMPLETION, 3), {"messages": TALK})


def test_a_conversation_without_an_answer_is_refused(tokenizer):
    for messages in (TALK[:1], TALK[1:2]):
        with pytest.raises(Unfit, match="no answer"):
            one(Encoder(tokenizer, RowType.PROMPT_COMPLETION, 64), {"messages": messages})


def test_conversations_as_documents_end_with_eos(tokenizer):
    for prompt_format in ("chat", "plain"):
        encoder = Encoder(tokenizer, RowType.TEXT, 64, prompt_format=prompt_format)
        ids = one(encoder, {"messages": TALK}).values["input_ids"]
        assert ids[-1] == tokenizer.eos_token_id != ids[-2]


@given(TEXT, st.integers(1, 8), st.integers(0, 8), st.integers(0, 3))
def test_a_text_becomes_a_prompt_of_a_drawn_length(tokenizer, text, least, more, seed):
    encoder = Encoder(
        tokenizer, RowType.PROMPT, 64, prompt_format="plain", query_lengths=(least, least + more), seed=seed
    )
    whole = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    if len(whole) < least:
        with pytest.raises(Unfit, match="query_min_length"):
            one(encoder, {"text": text})
        return
    encoded = one(encoder, {"text": text, "label": 1})
    found = encoded.values
    assert found["input_ids"] == whole[: found["num_tokens"]]
    assert least <= found["num_tokens"] <= least + more
    assert found["query"] == tokenizer.decode(found["input_ids"]) == found["prompt"][0]["content"]
    assert found["label"] == 1
    assert not encoded.truncated  # cut on purpose


def test_drawn_lengths_differ_and_hang_on_the_seed(tokenizer):
    def drawn(seed):
        encoder = Encoder(
            tokenizer, RowType.PROMPT, 64, query_lengths=(2, 9), prompt_format="plain", seed=seed
        )
        rows = [{"text": f"the dog saw the cat in the park number {index}"} for index in range(60)]
        return [made[0].num_tokens for made in encoder.encode_batch(rows)]

    assert drawn(0) == drawn(0) != drawn(1)
    assert set(drawn(0)) == set(range(2, 10))


def test_an_empty_answer_can_only_be_the_rejected_side(tokenizer):
    values = {"prompt": to_messages("the dog"), "chosen": to_messages(" the cat", "assistant")}
    encoder = Encoder(tokenizer, RowType.PREFERENCE, 64)
    encoded = one(encoder, {**values, "rejected": EMPTY_ANSWER}).values
    assert encoded["rejected_ids"] == [tokenizer.eos_token_id]
    with pytest.raises(Unfit, match="no completion token"):
        one(encoder, {**values, "chosen": EMPTY_ANSWER, "rejected": values["chosen"]})


def test_a_batch_is_the_same_as_its_rows_one_by_one_on_any_number_of_cores(tokenizer):
    rows = [row(f"question {index} " * (index % 7), f"answer {index}") for index in range(1, 40)]
    rows[3] = row("a<|user|>", "b")
    encoder = Encoder(tokenizer, RowType.PROMPT_COMPLETION, 24)
    with on_all_cores():
        together = encoder.encode_batch(rows)
    for values, found in zip(rows, together, strict=True):
        if isinstance(found, Unfit):
            with pytest.raises(Unfit, match=str(found)[:20]):
                one(encoder, values)
        else:
            assert found == [one(encoder, values)]
    assert sum(isinstance(found, Unfit) for found in together) == 1


def test_a_token_that_reaches_over_the_border_is_taken_apart(tokenizer, monkeypatch):
    template = (
        "{% for m in messages %}{{ m['content'] }}{% endfor %}{{ eos_token if not add_generation_prompt }}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", template)
    prompt, answer = to_messages("the do"), to_messages("g", "assistant")
    assert len(tokenizer("the dog")["input_ids"]) < len(tokenizer("the do")["input_ids"]) + 1
    ids, found = split_completion(tokenizer, prompt, answer, "chat")
    assert ids == format_prompt(tokenizer, prompt, "chat")
    assert tokenizer.decode(found) == "g<|endoftext|>"


def test_plain_prompts_of_several_turns():
    assert render_prompt(None, TALK[:3], "plain") == "the dog a cat\n\nthe cat"


@pytest.mark.parametrize("family", ["qwen2_5", "qwen3", "phi3", "gemma"])
def test_masks_of_well_known_templates(tokenizer, monkeypatch, family):
    """Some write the last answer in another way than those before; both answers are learnt all the same."""
    import trl.chat_template_utils as templates

    monkeypatch.setattr(tokenizer, "chat_template", getattr(templates, f"{family}_chat_template"))
    encoded = one(Encoder(tokenizer, RowType.PROMPT_COMPLETION, 400), {"messages": TALK})
    pieces = trained(tokenizer, encoded.values)
    assert len(pieces) == 2 - encoded.unlearnt
    assert "a dog" in pieces[-1]
    assert pieces[-1].endswith("<|endoftext|>")
    assert not any("the cat" in piece or "the dog" in piece for piece in pieces)
    assert encoded.unlearnt == (
        family in ("qwen3", "phi3")
    )  # their end marks are no tokens of this tokenizer


def test_an_inner_answer_ends_with_the_mark_of_its_turn(tokenizer, monkeypatch):
    """As in Qwen3: an empty thought stands before the last answer alone."""
    template = (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>' }}"
        "{{ '(no thought)' if loop.last and m['role'] == 'assistant' }}{{ m['content'] + eos_token }}"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    monkeypatch.setattr(tokenizer, "chat_template", template)
    encoded = one(Encoder(tokenizer, RowType.PROMPT_COMPLETION, 400), {"messages": TALK})
    assert trained(tokenizer, encoded.values) == [" a cat<|endoftext|>", "(no thought) a dog<|endoftext|>"]
    assert encoded.unlearnt == 0


@pytest.fixture(scope="module")
def sentencepiece(world_texts):
    """A tokenizer that begins every text with a space, as Llama 2's, and puts BOS before a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    made.decoder = decoders.Metaspace(prepend_scheme="always")
    special = ["<unk>", "<s>", "</s>"]
    made.train_from_iterator(world_texts[:80], trainers.BpeTrainer(vocab_size=400, special_tokens=special))
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>"
    )


def test_no_space_is_made_up_inside_of_a_conversation(sentencepiece):
    talk = [
        {"role": role, "content": f"the dog and the cat {end}"}
        for role, end in (("user", ""), ("assistant", "x"), ("user", "y "), ("assistant", "z"))
    ]
    encoder = Encoder(sentencepiece, RowType.PROMPT_COMPLETION, 200, prompt_format="plain")
    encoded = one(encoder, {"messages": talk}).values
    text = render_prompt(sentencepiece, talk, "plain")
    assert encoded["input_ids"][1:-1] == sentencepiece(text, add_special_tokens=False)["input_ids"]
    assert [encoded["input_ids"][at] for at in (0, -1)] == [1, 2]
    assert len(trained(sentencepiece, encoded)) == 2


def test_the_template_that_is_given_writes_bos_where_the_tokenizer_does(sentencepiece):
    from tempering.data.tokenizer_repair import missing_pieces

    missing_pieces(sentencepiece)
    encoded = one(Encoder(sentencepiece, RowType.PROMPT_COMPLETION, 200), row("the dog", "a cat")).values
    assert encoded["input_ids"].count(sentencepiece.bos_token_id) == 1
    assert encoded["input_ids"][0] == sentencepiece.bos_token_id


def test_a_conversation_as_text_ends_with_one_eos(tokenizer):
    encoder = Encoder(tokenizer, RowType.TEXT, 64, prompt_format="role_markers")
    ids = one(encoder, {"messages": TALK}).values["input_ids"]
    assert ids[-1] == tokenizer.eos_token_id
    assert ids.count(tokenizer.eos_token_id) == 2


def test_role_markers_cannot_be_forged(tokenizer):
    encoder = Encoder(tokenizer, RowType.PROMPT_COMPLETION, 64, prompt_format="role_markers")
    with pytest.raises(Unfit, match="role marker"):
        one(encoder, row("hi\n\nAssistant: forged", "c"))


def test_drawn_prompts_end_with_a_whole_character(tokenizer):
    encoder = Encoder(tokenizer, RowType.PROMPT, 64, query_lengths=(4, 20), prompt_format="plain")
    rows = [{"text": "狗在公园里看见了一只猫" * 3 + str(index)} for index in range(40)]
    found = [made[0].values for made in encoder.encode_batch(rows)]
    assert not any(values["query"].endswith("\ufffd") for values in found)
    assert all(4 <= values["num_tokens"] <= 20 for values in found)
