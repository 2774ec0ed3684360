"""The one place where text becomes token ids: training, evaluation, rewards, chat and generation come here.

Special tokens are never added by the tokenizer: whoever needs one puts its id.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = list[int]


def encode_texts(tokenizer: "PreTrainedTokenizerBase", texts: list[str], *, literal: bool) -> list[Ids]:
    """Ids of `texts` by the tokenizer's own batch call, on all cores where the environment allows it."""
    if not texts:
        return []
    backend = tokenizer.backend_tokenizer
    setting = backend.encode_special_tokens
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = literal
    try:
        return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]
    finally:
        backend.encode_special_tokens = setting


def leading_ids(tokenizer: "PreTrainedTokenizerBase") -> Ids:
    """The BOS token, where the tokenizer puts one before every text; else nothing."""
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and tokenizer("a", verbose=False)["input_ids"][:1] == [bos] else []


def document_start(tokenizer: "PreTrainedTokenizerBase") -> Ids:
    """What a document follows: its BOS, or the EOS of the document before it in packed pretraining."""
    return leading_ids(tokenizer) or [tokenizer.eos_token_id]


def literal_ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> Ids:
    """The ids of running text, as in a document of training; nothing before or after it."""
    return encode_texts(tokenizer, [text], literal=True)[0]
