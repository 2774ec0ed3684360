"""How a conversation becomes text, and where in it the answers are.

The mask of what is trained on comes from rendering, not from a template's marks: what the template
writes up to the last answer, with its generation prompt, must be how the whole conversation begins, and
what follows, up to and with EOS, is the answer. So the mask can be neither all zero nor without EOS,
whether the template is marked with `{% generation %}` or not; a template that writes a prompt otherwise when
an answer follows (DeepSeek R1 drops thoughts) costs the row. Answers before the last are found the same way.
"""

import re
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Literal

from tempering.data.rows import Message
from tempering.data.template_limits import check_length, limited, unreadable_template
from tempering.data.token_ids import specials_of
from tempering.data.tokenizers import chat_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PromptFormat = Literal["chat", "plain", "role_markers", "turn_markers"]
"""chat: the tokenizer's chat template; plain: the bare texts, a space before the answer, for base models;
role_markers: `User: ...` and `Assistant: ...` as text; turn_markers: EOS after every turn, no roles
(the form of DialoGPT, Zhang et al. 2020)."""


ROLE_MARKER = re.compile(r"(?m)^(User|Assistant|System):")
"""What begins a turn in `role_markers`: text like any other, so whoever writes it forges a turn."""

_CROOKED = (
    "the chat template writes the prompt in another way when the answer follows (a thought that is begun, "
    "dropped or missing)"
)


class Unfit(Exception):
    """A row that cannot be encoded; the message is the reason it is counted under."""


class Crooked(Unfit):
    """The template writes the prompt of a conversation in another way when the answer follows."""


@dataclass(frozen=True)
class Rendered:
    """Text to be tokenised, and where the answers in it are.

    Args:
        cuts: `text[: cuts[0]]` is prompt, then answers and prompts take turns; none: the text is one part.
        literal: special tokens written out in it stay text.
        unlearnt: answers that are part of a prompt, since the template writes them otherwise when more
            follows.
        named: its control tokens have secret names, since a message spells some (see `token_ids`).
    """

    text: str
    cuts: tuple[int, ...] = ()
    literal: bool = False
    unlearnt: int = 0
    named: bool = False

    def parts(self) -> list[str]:
        """The text between the cuts: prompt, answer, prompt, answer, ..."""
        return [self.text[start:end] for start, end in pairwise((0, *self.cuts, len(self.text)))]


def render_prompt(
    tokenizer: "PreTrainedTokenizerBase", messages: list[Message], prompt_format: PromptFormat
) -> str:
    """The prompt as text: with its generation prompt, or the bare contents (plain).

    Raises:
        Unfit: when the template refuses the conversation.
    """
    if prompt_format == "plain":
        return plain_text(messages)
    return _render(tokenizer, messages, prompt_format, add_generation_prompt=True)


def render_question(
    tokenizer: "PreTrainedTokenizerBase", messages: list[Message], prompt_format: PromptFormat
) -> Rendered:
    """The prompt, ready to be tokenised; special tokens that its messages spell stay text.

    Raises:
        Unfit: when the template refuses the conversation.
    """
    literal = prompt_format == "plain"
    hidden = messages if literal else specials_of(tokenizer).hidden(messages)
    rendered = Rendered(render_prompt(tokenizer, hidden, prompt_format), literal=literal)
    return rendered if hidden == messages else _named(tokenizer, rendered)


def render_answers(
    tokenizer: "PreTrainedTokenizerBase",
    messages: list[Message],
    prompt_format: PromptFormat,
    start: int | None = None,
    *,
    unlearnt: frozenset[int] = frozenset(),
) -> Rendered:
    """A conversation that ends with an answer, and where its answers are.

    Special tokens that its messages spell stay text.

    Args:
        start: messages before this one are prompt; null: every turn of the assistant is an answer.
        unlearnt: messages, before the last answer, that are prompt whoever says them.

    Raises:
        Unfit: when the template refuses the conversation.
        Crooked: when the rendered prompt is not the beginning of the rendered conversation.
    """
    if prompt_format == "plain":
        return _answers(tokenizer, messages, prompt_format, start, unlearnt)
    hidden = specials_of(tokenizer).hidden(messages)
    rendered = _answers(tokenizer, hidden, prompt_format, start, unlearnt)
    return rendered if hidden == messages else _named(tokenizer, rendered)


def _named(tokenizer: "PreTrainedTokenizerBase", rendered: Rendered) -> Rendered:
    """A text with placeholders, part by part with what they stand for."""
    parts = [specials_of(tokenizer).revealed(part) for part in rendered.parts()]
    cuts = (*accumulate(map(len, parts[:-1])),)
    return replace(rendered, text="".join(parts), cuts=cuts, named=True)


def _answers(
    tokenizer: "PreTrainedTokenizerBase",
    messages: list[Message],
    prompt_format: PromptFormat,
    start: int | None,
    unlearnt: frozenset[int],
) -> Rendered:
    # One answer: what stands before it is the prompt.
    if start is not None:
        before = _prompt_text(tokenizer, messages[:start], prompt_format)
        whole = render_conversation(tokenizer, messages, prompt_format)
        if not whole.startswith(before):
            raise Crooked(_CROOKED)
        return Rendered(whole, (len(before),), prompt_format == "plain")
    # Several: those before the last may be written in another way than the last.
    whole = render_conversation(tokenizer, messages, prompt_format)
    *inner, last = _answer_starts(messages)
    cuts: list[int] = []
    lost = 0
    for at in inner:
        if at in unlearnt:
            continue
        place = _inner_answer(tokenizer, messages, at, prompt_format, whole)
        cuts += place or ()
        lost += place is None
    before = _prompt_text(tokenizer, messages[:last], prompt_format)
    if not whole.startswith(before):
        raise Crooked(_CROOKED)
    return Rendered(whole, (*cuts, len(before)), prompt_format == "plain", lost)


def _prompt_text(
    tokenizer: "PreTrainedTokenizerBase", messages: list[Message], prompt_format: PromptFormat
) -> str:
    return render_prompt(tokenizer, messages, prompt_format) if messages else ""


def _inner_answer(
    tokenizer: "PreTrainedTokenizerBase",
    messages: list[Message],
    start: int,
    prompt_format: PromptFormat,
    whole: str,
) -> tuple[int, int] | None:
    """Where an answer that is not the last stands in the text; None where it cannot be told.

    Templates may write the last answer in another way than those before (Qwen3 puts an empty thought before
    it, Phi-3 an EOS after all): then its words are looked for, and the special token that ends its turn.
    """
    before = _prompt_text(tokenizer, messages[:start], prompt_format)
    if not whole.startswith(before):
        return None
    # A template that writes every answer alike: the text up to its end is a beginning of the whole.
    end = _turn_end(messages, start)
    upto = render_conversation(tokenizer, messages[:end], prompt_format)
    if whole.startswith(upto):
        return len(before), len(upto)
    # Another template: its words, then the longest special token that follows them.
    content = messages[start]["content"].strip()
    place = len(before) + len(whole[len(before) :]) - len(whole[len(before) :].lstrip())
    if end > start + 1 or not content or not whole.startswith(content, place):
        return None
    rest = place + len(content)
    marks = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    end_mark = max((mark for mark in marks if whole.startswith(mark, rest)), key=len, default=None)
    return None if end_mark is None else (len(before), rest + len(end_mark))


def _answer_starts(messages: list[Message]) -> list[int]:
    roles = [message["role"] for message in messages]
    return [at for at in range(1, len(roles)) if roles[at] == "assistant" != roles[at - 1]]


def _turn_end(messages: list[Message], start: int) -> int:
    return next(
        (at for at in range(start, len(messages)) if messages[at]["role"] != "assistant"), len(messages)
    )


def render_conversation(
    tokenizer: "PreTrainedTokenizerBase", messages: list[Message], prompt_format: PromptFormat
) -> str:
    """A whole conversation as text.

    Raises:
        Unfit: when the template refuses it.
    """
    if prompt_format == "plain":
        return plain_text(messages)
    return _render(tokenizer, messages, prompt_format, add_generation_prompt=False)


def plain_text(messages: list[Message]) -> str:
    """The contents: an answer follows its question after a space, all else after a blank line."""
    text, before = "", ""
    for message in messages:
        role, content = message["role"], message["content"]
        if role == "assistant" != before:
            joint = "" if not text or text[-1:].isspace() or content[:1].isspace() else " "
        else:
            joint = "\n\n" if before else ""
        text, before = text + joint + content, role
    return check_length(text)


def _render(
    tokenizer: "PreTrainedTokenizerBase",
    messages: list[Message],
    prompt_format: PromptFormat,
    *,
    add_generation_prompt: bool,
) -> str:
    from jinja2 import TemplateError, TemplateSyntaxError

    template = None
    if prompt_format in ("role_markers", "turn_markers"):
        template = chat_template(prompt_format)
    try:
        return apply_template(tokenizer, messages, template, add_generation_prompt=add_generation_prompt)
    except TemplateSyntaxError as error:
        raise unreadable_template(error) from None
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        # Some templates know no system turn, or want strict alternation; others are only wrong.
        raise Unfit(f"the chat template refuses the conversation: {error}") from None


def apply_template(
    tokenizer: "PreTrainedTokenizerBase",
    messages: list[Message],
    template: object = None,
    *,
    add_generation_prompt: bool = False,
) -> str:
    """What a chat template, by default the tokenizer's, writes within its limits; errors are jinja's."""
    with limited():
        text: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt, chat_template=template
        )
    return check_length(text)
