"""Tokenizers as they differ in the world: what they put around a text, before a word, and how they read."""

from collections.abc import Callable
from typing import Any

TEXTS = ["the dog saw a cat in the park . Once upon a time there was a dog ; Question: Answer:"] * 40
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>"]
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}"
    "{{ eos_token if m.role == 'assistant' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def byte_level(single: str = "", *, spaced: bool = False) -> Any:
    """A byte-level BPE, whose post-processor puts BOS, EOS or both around a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=spaced)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    _train(made, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, special_tokens=SPECIAL))
    return _finished(made, single)


def unigram(scheme: str = "always") -> Any:
    """SentencePiece's Unigram: its special tokens are pieces, which literal text would find."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    made.decoder = decoders.Metaspace(prepend_scheme=scheme)
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>", initial_alphabet=list("</s>|uerainty")
    )
    _train(made, trainer)
    return _finished(made, "<s> $A")


def sentencepiece() -> Any:
    """SentencePiece's BPE with a space before every text, as Llama 2's, and both BOS and EOS."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    made.decoder = decoders.Metaspace(prepend_scheme="always")
    alphabet = list("<|/>usertainm")
    _train(made, trainers.BpeTrainer(vocab_size=200, special_tokens=SPECIAL, initial_alphabet=alphabet))
    return _finished(made, "<s> $A </s>")


def word_piece() -> Any:
    """WordPiece as BERT's: lower case, [CLS] before and [SEP] after a text, no BOS."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "<|user|>", "<|assistant|>"]
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    _train(
        made,
        trainers.WordPieceTrainer(vocab_size=200, special_tokens=special, initial_alphabet=list("[<|>]/")),
    )
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    marks = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="[SEP]", additional_special_tokens=special[4:], **marks
    )
    fast.chat_template = TEMPLATE
    return fast


def words() -> Any:
    """Whole words split at white space: `</s>` between spaces is a word of the vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.WordLevel(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    _train(made, trainers.WordLevelTrainer(vocab_size=60, special_tokens=SPECIAL))
    return _finished(made, "$A </s>")


TOKENIZERS: dict[str, Callable[[], Any]] = {
    "byte-level": byte_level,
    "byte-level, a space first": lambda: byte_level(spaced=True),
    "BOS": lambda: byte_level("<s> $A"),
    "EOS": lambda: byte_level("$A </s>"),
    "BOS and EOS": lambda: byte_level("<s> $A </s>"),
    "Unigram": unigram,
    "Unigram, first word": lambda: unigram("first"),
    "SentencePiece BPE": sentencepiece,
    "WordPiece": word_piece,
    "words": words,
}


def _train(made: Any, trainer: Any) -> None:
    trainer.show_progress = False
    made.train_from_iterator(TEXTS, trainer)


def _finished(made: Any, single: str) -> Any:
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    if single:
        pairs = [(token, made.token_to_id(token)) for token in ("<s>", "</s>") if token in single]
        made.post_processor = processors.TemplateProcessing(single=single, special_tokens=pairs)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=made,
        unk_token="<unk>",
        bos_token="<s>" if "<s>" in single else None,
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=SPECIAL[4:],
    )
    fast.chat_template = TEMPLATE
    return fast
