"""The tokenizer that rows are examined with, and what must be said about it.

Best is the one that will be trained with. Where there is none, a small one is trained on the rows at
hand: lengths are then approximate, while everything else that is checked (masks, EOS, what does not
fit) is checked with the same template and the same code.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tempering.data.prompt_format import PromptFormat, Unfit, render_conversation
from tempering.data.tokenizers import TrainTokenizerConfig, on_all_cores, train_tokenizer
from tempering.doctor.check import Check, Level

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SMALL_VOCABULARY = 4096
_CHARACTERS = 4_000_000
_MARK = re.compile(r"\{%-?\s*generation\b")
_TURNS = (("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four"))
_PROBE = [{"role": role, "content": content} for role, content in _TURNS]


@dataclass(frozen=True)
class Chosen:
    """A tokenizer and where it comes from, in words.

    Args:
        approximate: training will use another one, so that numbers of tokens are not exact.
        added: what it lacked and was given.
    """

    tokenizer: "PreTrainedTokenizerBase"
    origin: str
    approximate: bool = False
    added: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """By name, with its size and EOS token."""
        return {
            "origin": self.origin,
            "approximate": self.approximate,
            "vocab_size": len(self.tokenizer),
            "eos_token": self.tokenizer.eos_token,
            "added": list(self.added),
        }


def complete(tokenizer: "PreTrainedTokenizerBase", origin: str) -> Chosen:
    """A tokenizer that exists, with what it lacks, as the stage `tokenizer` completes it.

    Raises:
        DataError: when it has no EOS token, or is not a fast one.
    """
    from tempering.data.tokenizer_repair import missing_pieces

    return Chosen(tokenizer, origin, added=tuple(missing_pieces(tokenizer)))


def train_small(texts: Iterable[str]) -> Chosen:
    """A small tokenizer trained on the beginning of some texts.

    Raises:
        DataError: when there is no text.
    """
    config = TrainTokenizerConfig(vocab_size=_SMALL_VOCABULARY, datasets=("-",))
    return _trained(config, _beginning(texts), "trained on these rows", approximate=True)


def train_as(config: TrainTokenizerConfig, texts: Iterable[str], *, whole: bool) -> Chosen:
    """The tokenizer that a config trains, on the texts at hand.

    Args:
        whole: these are all the texts that the config names.

    Raises:
        DataError: when there is no text.
    """
    how = "as the config says" if whole else "as the config says, but on the rows seen alone"
    return _trained(config, texts, f"trained in memory {how}", approximate=not whole)


def _trained(config: TrainTokenizerConfig, texts: Iterable[str], how: str, *, approximate: bool) -> Chosen:
    with on_all_cores():
        tokenizer = train_tokenizer(texts, config)
    return Chosen(tokenizer, f"{how}, {len(tokenizer):,} tokens", approximate)


def template_checks(chosen: Chosen, prompt_format: PromptFormat) -> Iterator[Check]:
    """Whether a conversation that is rendered in a format says where its answers end."""
    tokenizer = chosen.tokenizer
    if prompt_format == "plain":
        return
    # A conversation of two turns shows what stands between answers.
    try:
        text = render_conversation(tokenizer, _PROBE, prompt_format)
    except Unfit as error:
        text = f"two turns of each side cannot be rendered: {error}"
        yield Check("template", Level.WARNING, text)
        return
    numbers = {"eos_in_template": text.count(tokenizer.eos_token or "\0")}
    if not numbers["eos_in_template"]:
        text = (
            f"the chat template never writes the EOS token {tokenizer.eos_token}: it is put after the "
            "last answer of a row, and the answers before it end without"
        )
        fix = "give the tokenizer a template with {{ eos_token }} after each answer"
        yield Check("template", Level.WARNING, text, fix, numbers)
        return
    yield Check("template", Level.OK, "the template writes EOS", numbers=numbers)

    # Other trainers take the mask of answers from the marks.
    if prompt_format == "chat" and not _MARK.search(str(tokenizer.chat_template or "")):
        text = (
            "the chat template has no {% generation %} marks; the mask is made without them here, "
            "elsewhere it would cover nothing"
        )
        yield Check("generation_marks", Level.NOTE, text)


def _beginning(texts: Iterable[str]) -> Iterator[str]:
    size = 0
    for text in texts:
        yield text
        size += len(text)
        if size >= _CHARACTERS:
            return
