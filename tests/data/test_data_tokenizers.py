"""Tokenizers: no text is lost, EOS is not pad, and what we save loads offline."""

import copy
import json
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tempering.data import template_limits
from tempering.data.prompt_tokens import format_prompt
from tempering.data.rows import RowType
from tempering.data.sample.encode import Encoder
from tempering.data.tokenizer_repair import missing_pieces
from tempering.data.tokenizers import (
    EOS,
    PAD,
    ROLE_TOKENS,
    ExistingTokenizerConfig,
    TrainTokenizerConfig,
    chat_template,
    load_tokenizer,
    save_tokenizer,
    tokenizer_stats,
    train_tokenizer,
)
from tempering.errors import DataError

CONVERSATION = [
    {"role": "system", "content": "S"},
    {"role": "user", "content": "hi "},
    {"role": "assistant", "content": " Once\n"},
]


def foreign(**specials):
    """A tokenizer as others make it: bytes only, no template."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={char: n for n, char in enumerate(alphabet)}, merges=[]))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=raw, **specials)


@given(st.text())
def test_decoding_gives_the_text_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_are_distinct_and_there_is_no_unknown_one(tokenizer):
    ids = tokenizer.convert_tokens_to_ids([EOS, PAD, *ROLE_TOKENS])
    assert ids == [0, 1, 2, 3, 4]
    assert tokenizer.unk_token is None
    assert tokenizer.eos_token_id != tokenizer.pad_token_id


def test_a_common_word_with_its_space_is_one_token(tokenizer):
    assert tokenizer.tokenize(" Lily saw the dog.") == ["ĠLily", "Ġsaw", "Ġthe", "Ġdog", "."]


def test_the_chat_template_marks_answer_and_eos(tokenizer):
    text = tokenizer.apply_chat_template(CONVERSATION, tokenize=False)
    assert text == f"<|system|>S<|user|>hi <|assistant|> Once\n{EOS}"
    out = tokenizer.apply_chat_template(CONVERSATION, return_dict=True, return_assistant_tokens_mask=True)
    marked = [i for i, mask in zip(out["input_ids"], out["assistant_masks"], strict=True) if mask]
    assert tokenizer.decode(marked) == f" Once\n{EOS}"
    prompt = tokenizer.apply_chat_template(CONVERSATION[:2], tokenize=False, add_generation_prompt=True)
    assert text.startswith(prompt)
    assert prompt.endswith("<|assistant|>")


def test_saved_folders_load_offline_and_are_the_same_bytes(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path / "a")
    written = json.loads((tmp_path / "a" / "tokenizer_config.json").read_text())
    assert written["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert "extra_special_tokens" not in written
    assert str(tmp_path) not in json.dumps(written)
    loaded = AutoTokenizer.from_pretrained(tmp_path / "a", local_files_only=True)
    assert loaded.chat_template == tokenizer.chat_template
    assert set(loaded.all_special_tokens) == {EOS, PAD, *ROLE_TOKENS}
    assert loaded.encode("<|user|>Once upon") == tokenizer.encode("<|user|>Once upon")
    save_tokenizer(load_tokenizer(tmp_path / "a"), tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_training_again_in_another_process_gives_the_same_tokenizer(tokenizer):
    code = (
        "from tempering import world\n"
        "from tempering.data.tokenizers import TrainTokenizerConfig, train_tokenizer\n"
        "texts = [row['text'] for row in world.corpus(300, seed=0)]\n"
        "made = train_tokenizer(texts, TrainTokenizerConfig(vocab_size=600, datasets=('corpus',)))\n"
        "print(made.backend_tokenizer.to_str())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == tokenizer.backend_tokenizer.to_str()


def test_no_text_is_refused():
    with pytest.raises(DataError, match="no text"):
        train_tokenizer(["", ""], TrainTokenizerConfig(datasets=("a",)))


def test_the_package_holds_no_trap_at_import():
    code = (
        "import sys, tempering.data.builders, tempering.data.sample.config, tempering.data.tokenizers\n"
        "heavy = {'torch', 'transformers', 'pandas', 'pyarrow', 'tokenizers'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_stats(tokenizer):
    stats = tokenizer_stats(tokenizer, [" the dog", ""])
    assert stats == {"vocab_size": len(tokenizer), "tokens_per_word": 1.0, "bytes_per_token": 4.0}
    assert tokenizer_stats(tokenizer, []) == {"vocab_size": len(tokenizer)}


def test_missing_eos_is_refused():
    with pytest.raises(DataError, match="no EOS"):
        missing_pieces(foreign())


def test_pad_and_template_are_added_and_said():
    made = foreign(eos_token="</s>")
    before = len(made)
    done = missing_pieces(made)
    assert done == [
        f"pad token set to {PAD} (it had none); the vocabulary grew to {before + 1}",
        "chat template set to `Question: ... Answer: ...` (it had none)",
    ]
    text = made.apply_chat_template([*CONVERSATION, {"role": "user", "content": "x"}], tokenize=False)
    assert text == "S\n\nQuestion: hi \n\nAnswer: Once\n</s>Question: x\n\n"
    assert missing_pieces(made) == []


def test_pad_that_is_eos_is_replaced():
    made = foreign(eos_token="</s>", pad_token="</s>")
    assert "it was the EOS token" in missing_pieces(made)[0]
    assert made.pad_token_id != made.eos_token_id


def test_our_template_without_marks_gets_them_back_and_others_stay():
    made = foreign(eos_token="</s>", pad_token="<p>")
    made.chat_template = chat_template().replace("{% generation %}", "").replace("{% endgeneration %}", "")
    assert missing_pieces(made) == ["chat template given its {% generation %} marks"]
    assert made.chat_template == chat_template()
    made.chat_template = "{{ messages }}"
    assert missing_pieces(made) == []
    assert made.chat_template == "{{ messages }}"


def test_existing_local_tokenizers_count_by_content(tokenizer, tmp_path):
    save_tokenizer(tokenizer, tmp_path)
    config = ExistingTokenizerConfig(name_or_path=str(tmp_path))
    assert {path.name for path in config.external_files()} == {
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }


def test_a_folder_without_tokenizer_is_named(tmp_path):
    with pytest.raises(DataError, match="no tokenizer can be loaded"):
        load_tokenizer(tmp_path)


def test_a_well_known_template_without_marks_is_given_them(tokenizer, monkeypatch):
    from trl.chat_template_utils import qwen2_5_chat_template

    from tempering.data.rows import RowType
    from tempering.data.sample.encode import Encoder

    for part in ("<|im_start|>", "<|im_end|>"):
        assert part in qwen2_5_chat_template
    monkeypatch.setattr(tokenizer, "chat_template", qwen2_5_chat_template)
    talk = [{"role": role, "content": role} for role in ("user", "assistant") * 2]
    encoder = Encoder(tokenizer, RowType.PROMPT_COMPLETION, 400)
    before = list(encoder.encode({"messages": talk}))
    assert missing_pieces(tokenizer) == ["chat template given its {% generation %} marks"]
    assert "generation %}" in tokenizer.chat_template
    marked = tokenizer.apply_chat_template(talk, return_assistant_tokens_mask=True, return_dict=True)
    assert any(marked["assistant_masks"])
    assert list(encoder.encode({"messages": talk})) == before
    assert missing_pieces(tokenizer) == []


def test_a_word_without_end_does_not_stop_training():
    config = TrainTokenizerConfig(vocab_size=300, datasets=("a",))
    started = time.monotonic()
    made = train_tokenizer(["x" * 300_000, "the dog and the cat " * 50], config)
    assert time.monotonic() - started < 5  # a minute and more in one piece
    assert made.decode(made("x" * 1200)["input_ids"]) == "x" * 1200


# --- Files and templates that are malformed, or never end


def at(*path, value):
    """Sets a value inside of a JSON document."""

    def edit(text):
        whole = json.loads(text)
        inner = whole
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value
        return json.dumps(whole)

    return edit


ADDED = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
FOREIGN = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<q>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [],
    "special_tokens": {"<q>": {"id": "<q>", "ids": [99_999], "tokens": ["<q>"]}},
}


@pytest.mark.parametrize(
    ("name", "edit", "reason"),
    [
        ("tokenizer.json", lambda text: text[: len(text) // 2], "can be loaded"),
        ("tokenizer.json", lambda text: "[]", "can be loaded"),
        ("tokenizer.json", at("model", value=None), "can be loaded"),
        ("tokenizer.json", at("model", "vocab", value=["a"]), "can be loaded"),
        ("tokenizer.json", at("model", "vocab", value={}), "can be loaded"),
        ("tokenizer.json", at("model", "merges", value=["no such"]), "can be loaded"),
        ("tokenizer.json", at("added_tokens", value="x"), "can be loaded"),
        ("tokenizer.json", at("model", "vocab", "zzz", value=2**31), "ids reach 2,147,483,648"),
        ("tokenizer.json", at("post_processor", value=FOREIGN), "gives the id 99,999"),
        ("tokenizer_config.json", lambda text: text[:20], "can be loaded"),
        ("tokenizer_config.json", at("eos_token", value=3), "can be loaded"),
        ("tokenizer_config.json", at("model_max_length", value="lots"), "model_max_length is 'lots'"),
    ],
)
def test_malformed_files_are_refused(tokenizer, tmp_path, name, edit, reason):
    save_tokenizer(tokenizer, tmp_path)
    path = tmp_path / name
    path.write_text(edit(path.read_text("utf-8")), "utf-8")
    with pytest.raises(DataError, match=reason):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}{{ m.content }}", "cannot be read: Unexpected end"),
        ("{{ messages | nonsense }}", "cannot be read: No filter"),
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "does not end within",
        ),
        ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "RecursionError"),
        ("{{ 'a' * 10**10 }}", "MemoryError"),
        ("{{ 'a' * 10**6 }}", "makes 1,000,000 characters"),
    ],
)
def test_templates_that_are_malformed_or_never_end_are_refused(tokenizer, monkeypatch, template, reason):
    if "MemoryError" in reason and sys.platform != "linux":
        pytest.skip("the memory of a process is bounded on Linux alone")
    monkeypatch.setattr(template_limits, "SECONDS", 0.3)
    monkeypatch.setattr(template_limits, "_LONGEST", 10**5)
    broken = copy.deepcopy(tokenizer)
    broken.chat_template = template
    for refuse in (missing_pieces, lambda it: format_prompt(it, [{"role": "user", "content": "Hi"}], "chat")):
        with pytest.raises(DataError, match=reason):
            refuse(broken)
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is bounded on Linux alone")
def test_limits_are_prepared_once_for_many_and_taken_back_by_the_last_thread(tokenizer, monkeypatch):
    import resource

    def limits():
        return resource.getrlimit(resource.RLIMIT_AS)

    before, set_to, setter = limits(), [], resource.setrlimit
    monkeypatch.setattr(resource, "setrlimit", lambda *of: (set_to.append(of), setter(*of)))
    rows = [{"prompt": [{"role": "user", "content": "Hi"}]}] * 9
    assert len(Encoder(tokenizer, RowType.PROMPT, 64).encode_batch(rows)) == 9
    assert len(set_to) == 2
    # Two threads at once: the first to leave must not take the limit back, the last one must.
    inside, leave = threading.Event(), threading.Event()

    def other():
        with template_limits.limited():
            inside.set()
            leave.wait(5)

    thread = threading.Thread(target=other)
    with template_limits.within_limits():
        thread.start()
        assert inside.wait(5)
    assert limits() != before
    leave.set()
    thread.join()
    assert limits() == before


def test_a_template_that_refuses_the_probe_is_left_as_it_is(tokenizer):
    strict = copy.deepcopy(tokenizer)
    strict.chat_template = "{% for i in range(10**9) %}{% endfor %}"  # the sandbox refuses such a range
    missing_pieces(strict)
    assert strict.chat_template.startswith("{% for i")
