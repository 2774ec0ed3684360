"""The one place where text becomes token ids: training, evaluation, rewards, chat and generation come here.

Special tokens are never added by the tokenizer: whoever needs one puts its id. A text may spell one
(`</s>` is HTML too): a literal text keeps it as text, and in a conversation only those that the chat template
writes are control tokens, so that no question can forge a turn. The backend's `encode_special_tokens` is not
enough for that: it knows no difference within a text, and vocabularies that hold their special tokens as
pieces (Unigram) find them all the same. So such texts are encoded by a copy of the backend in which the
special tokens have secret names.
"""

import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Ids = list[int]
_NONCE = str(secrets.randbits(96))  # no text can hold a name that is drawn anew in every process


def encode_texts(
    tokenizer: "PreTrainedTokenizerBase", texts: list[str], *, literal: bool, named: bool = False
) -> list[Ids]:
    """Ids of `texts`, without special tokens added; one batch, on all cores where the environment allows it.

    Args:
        literal: special tokens that are written out stay text; else they become control tokens.
        named: control tokens have the names of `Specials.revealed`, all else stays text.
    """
    if not texts:
        return []
    specials = specials_of(tokenizer)
    if named:
        return _encoded(specials.copy, texts)
    backend = tokenizer.backend_tokenizer
    setting = backend.encode_special_tokens
    backend.encode_special_tokens = literal
    try:
        tokens = _encoded(backend, texts)
    finally:
        backend.encode_special_tokens = setting
    # A vocabulary may find a special token in literal text as a piece.
    pieces = [at for at, ids in enumerate(tokens) if literal and not specials.ids.isdisjoint(ids)]
    if pieces:
        again = _encoded(specials.copy, [texts[at] for at in pieces])
        for at, ids in zip(pieces, again, strict=True):
            tokens[at] = ids
    return tokens


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


def as_tokenizer_has_it(
    tokenizer: "PreTrainedTokenizerBase", texts: list[str], *, specials: bool
) -> list[tuple[Ids, list[tuple[int, int]]]]:
    """Ids of texts, each with its characters, as a tool makes them that only calls the tokenizer.

    Only for measuring as such a tool does: the special tokens that a text spells are control tokens.

    Args:
        specials: whether the tokenizer adds the special tokens that it adds by itself.
    """
    if not texts:
        return []
    made = tokenizer(texts, add_special_tokens=specials, return_offsets_mapping=True, verbose=False)
    return list(zip(made["input_ids"], made["offset_mapping"], strict=True))


@dataclass(frozen=True)
class Specials:
    """The special tokens of a tokenizer.

    Args:
        backend: the tokenizer of the library `tokenizers`.
        numbers: text -> id, the longest first: where two fit, the longer one is meant.
        ids: those that no literal text may have; the unknown token stands for what a vocabulary lacks.
    """

    backend: Any
    numbers: dict[str, int]
    ids: frozenset[int]

    def spelled(self, text: str) -> str | None:
        """A special token that the text spells."""
        return next((token for token in self.numbers if token in text), None)

    def hidden(self, value: Any) -> Any:
        """A message, or what is in it, with placeholders for the special tokens that it spells."""
        if isinstance(value, dict):
            # Few messages spell one.
            if all(isinstance(item, str) and not self._pattern.search(item) for item in value.values()):
                return value
            return {key: self.hidden(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.hidden(item) for item in value]
        return self._pattern.sub(self._placeholder, value) if isinstance(value, str) else value

    def revealed(self, text: str) -> str:
        """A rendered text in which special tokens have their secret names and placeholders are text again."""
        text = self._pattern.sub(lambda match: _name(self.numbers[match[0]]), text)
        texts = {str(number): token for token, number in self.numbers.items()}
        return re.sub(f"\ue0f2{_NONCE}-(\\d+)\ue0f3", lambda match: texts[match[1]], text)

    def _placeholder(self, match: re.Match[str]) -> str:
        return f"\ue0f2{_NONCE}-{self.numbers[match[0]]}\ue0f3"

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile("|".join(map(re.escape, self.numbers)) or r"(?!)")

    @cached_property
    def copy(self) -> Any:
        """The backend with secret names for the special tokens, in its vocabulary too."""
        from tokenizers import Tokenizer

        state = json.loads(self.backend.to_str())
        names = {token: _name(number) for token, number in self.numbers.items()}
        for token in state["added_tokens"]:
            if token["content"] in names:
                token |= {"content": names[token["content"]], "normalized": False}
        model = state["model"]
        vocabulary = model["vocab"]
        if isinstance(vocabulary, dict):
            model["vocab"] = {names.get(piece, piece): number for piece, number in vocabulary.items()}
        else:
            model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
        if "unk_token" in model:
            model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
        if "merges" in model:  # none may lead to a special token, or from one
            merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
            model["merges"] = [pair for pair in merges if names.keys().isdisjoint([*pair, "".join(pair)])]
        state["post_processor"] = None
        return Tokenizer.from_str(json.dumps(state))


def specials_of(tokenizer: "PreTrainedTokenizerBase") -> Specials:
    """The special tokens of a tokenizer; worked out once for each, and again when it has grown."""
    known = _SPECIALS.get(tokenizer)
    if known is None or known[0] != len(tokenizer):
        added = tokenizer.added_tokens_decoder.items()
        numbers = {token.content: number for number, token in added if token.special and token.content}
        ordered = dict(sorted(numbers.items(), key=lambda item: len(item[0]), reverse=True))
        ids = frozenset(numbers.values()) - {tokenizer.unk_token_id}
        known = _SPECIALS[tokenizer] = (len(tokenizer), Specials(tokenizer.backend_tokenizer, ordered, ids))
    return known[1]


_SPECIALS: WeakKeyDictionary[Any, tuple[int, Specials]] = WeakKeyDictionary()


def _name(number: int) -> str:
    return f"\ue0f0{_NONCE}-{number}\ue0f1"


def _encoded(backend: Any, texts: Sequence[str]) -> list[Ids]:
    backend.no_truncation()
    backend.no_padding()
    return [encoding.ids for encoding in backend.encode_batch_fast(list(texts), add_special_tokens=False)]
