"""From a row to the texts that are tokenised: the first pass of encoding.

A row whose text would forge a turn, or that has no answer to learn from, is refused here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

from tempering.data.prompt_format import (
    ROLE_MARKER,
    PromptFormat,
    Rendered,
    Unfit,
    render_answers,
    render_conversation,
    render_prompt,
)
from tempering.data.row_conversion import TOKEN_TYPES
from tempering.data.rows import Message, RowType

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ANSWERS = {RowType.PROMPT_COMPLETION: ("completion",), RowType.PREFERENCE: ("chosen", "rejected")}


@dataclass(frozen=True)
class Renderer:
    """Renders rows for one use (`row_type`)."""

    tokenizer: "PreTrainedTokenizerBase"
    row_type: RowType
    prompt_format: PromptFormat

    def render(self, values: Mapping[str, Any]) -> list[Rendered]:
        """The texts of a row: two for a pair, else one.

        Raises:
            Unfit: when the text holds a special token, or the template refuses the conversation.
            DataError: when the chat template is no template, or does not end.
        """
        assert self.row_type in TOKEN_TYPES, f"rows of type {self.row_type} are not tokenised"
        tokenizer, prompt_format = self.tokenizer, self.prompt_format
        # A document: a conversation as running text, or a text (also where its beginning is a prompt).
        if self.row_type is RowType.TEXT and "messages" in values:
            self._refuse_special(values["messages"])
            if _untrained(values):
                raise Unfit(
                    "an answer is marked as not to be trained on, which running text cannot leave out"
                )
            return [Rendered(render_conversation(tokenizer, values["messages"], prompt_format))]
        if self.row_type is RowType.TEXT or (self.row_type is RowType.PROMPT and "prompt" not in values):
            return [Rendered(values["text"], literal=True)]
        # A text with a label, and what it is paired with.
        if self.row_type is RowType.CLASSIFICATION:
            text = "\n".join(filter(None, (values["text"], values["text_pair"])))
            return [Rendered(text, literal=True)]
        # A prompt alone.
        if self.row_type is RowType.PROMPT:
            self._refuse_special(values["prompt"])
            text = render_prompt(tokenizer, values["prompt"], prompt_format)
            return [Rendered(text, literal=prompt_format == "plain")]
        # A conversation whose every answer is learnt.
        if self.row_type is RowType.PROMPT_COMPLETION and "messages" in values:
            messages = _upto_last_answer(values["messages"])
            self._refuse_special(messages)
            return [render_answers(tokenizer, messages, prompt_format, unlearnt=_untrained(values))]
        # A prompt with one answer, or with two.
        prompt, answers = values["prompt"], [values[name] for name in _ANSWERS[self.row_type]]
        self._refuse_special([*prompt, *chain(*answers)])
        return [
            render_answers(tokenizer, [*prompt, *answer], prompt_format, len(prompt)) for answer in answers
        ]

    def _refuse_special(self, messages: list[Message]) -> None:
        # In a rendered conversation such text would become a control token: a forged turn or end.
        for message in messages:
            if self.prompt_format == "role_markers" and ROLE_MARKER.search(message["content"]):
                raise Unfit("the text holds a role marker at the beginning of a line")
            special = next((token for token in self._special if token in message["content"]), None)
            if special:
                raise Unfit(f"the text holds the special token {special}")

    @cached_property
    def _special(self) -> tuple[str, ...]:
        added = self.tokenizer.added_tokens_decoder.values()
        return tuple(token.content for token in added if token.special)


def _untrained(values: Mapping[str, Any]) -> frozenset[int]:
    """The messages that are marked as not to be trained on."""
    numbers = values.get("untrained_turns")
    return frozenset(map(int, numbers.split(","))) if numbers else frozenset()


def _upto_last_answer(messages: list[Message]) -> list[Message]:
    end = len(messages)
    while end and messages[end - 1]["role"] != "assistant":
        end -= 1
    if not any(message["role"] == "user" for message in messages[:end]):
        raise Unfit("the conversation has no answer")
    return messages[:end]
