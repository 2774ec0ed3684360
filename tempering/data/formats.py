"""How a conversation becomes text, and where in it the answers are.

The mask of what is trained on comes from rendering, not from a template's marks: what the template
writes up to an answer, with its generation prompt, must be how the whole conversation begins, and
what follows, up to and with EOS, is the answer. So the mask can be neither all zero nor without EOS,
whatever the template, marked with `{% generation %}` or not.
"""

from collections.abc import Generator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, TypeVar

from tempering.data.rows import Message
from tempering.data.tokenizers import chat_template
from tempering.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PromptFormat = Literal["chat", "plain", "role_markers", "turn_markers"]
"""chat: the tokenizer's chat template; plain: the bare texts, a space before the answer, for base models;
role_markers: `User: ...` and `Assistant: ...` as text; turn_markers: EOS after every turn, no roles
(the form of DialoGPT, Zhang et al. 2020)."""


class Unfit(Exception):
    """A row that cannot be encoded; the message is the reason it is counted under."""


@dataclass(frozen=True)
class Text:
    """Text to be tokenised. `literal`: special tokens written out in it stay text."""

    text: str
    literal: bool = False


Ids = list[int]
Found = TypeVar("Found")
Tokenising = Generator[list[Text], list[Ids], Found]
"""Work that asks for texts to be tokenised and is sent their ids: so that many rows go in one batch."""


@dataclass(frozen=True)
class Segments:
    """A rendered conversation: `text[: cuts[0]]` is prompt, then answers and prompts take turns."""

    text: str
    cuts: tuple[int, ...]
    literal: bool = False

    def parts(self) -> list[str]:
        """The text between the cuts: prompt, answer, prompt, answer, ..."""
        return [self.text[start:end] for start, end in zip((0, *self.cuts), (*self.cuts, None), strict=True)]


def render_prompt(
    tokenizer: "PreTrainedTokenizerBase", messages: list[Message], prompt_format: PromptFormat
) -> str:
    """The prompt as text: with its generation prompt, or the bare contents (plain).

    Raises:
        Unfit: when the template refuses the conversation.
    """
    if prompt_format == "plain":
        return _plain_text(messages)
    return _render(tokenizer, messages, prompt_format, add_generation_prompt=True)


def render_answers(
    tokenizer: "PreTrainedTokenizerBase",
    messages: list[Message],
    prompt_format: PromptFormat,
    start: int | None = None,
) -> Segments:
    """A conversation that ends with an answer, and where its answers are.

    Args:
        start: messages before this one are prompt; null: every turn of the assistant is an answer.

    Raises:
        Unfit: when the template refuses the conversation.
        DataError: when the rendered prompt is not the beginning of the rendered conversation.
    """
    starts = [start] if start is not None else _answer_starts(messages)
    ends = [_turn_end(messages, at) if start is None else len(messages) for at in starts]
    whole = render_conversation(tokenizer, messages, prompt_format)
    cuts: list[int] = []
    for at, end in zip(starts, ends, strict=True):
        before = render_prompt(tokenizer, messages[:at], prompt_format) if at else ""
        upto = (
            whole if end == len(messages) else render_conversation(tokenizer, messages[:end], prompt_format)
        )
        for piece in (before, upto):
            if not whole.startswith(piece):
                raise _crooked(piece, whole)
        cuts += [len(before), len(upto)]
    return Segments(whole, tuple(cuts[:-1]), prompt_format == "plain")


def tokenise_answers(
    tokenizer: "PreTrainedTokenizerBase", segments: Segments, leading: Ids
) -> Tokenising[list[Ids]]:
    """The ids of prompt, answer, prompt, answer, ...; the last one ends with EOS, what follows it is cut.

    The ids are those of the whole text where its parts can be found in them; else (a token reaches over
    a border) the parts are tokenised apart, as generation would.
    """
    parts = segments.parts()
    whole, *apart = yield [Text(text, segments.literal) for text in (segments.text, *parts)]
    if [token for part in apart for token in part] != whole:
        upto = yield [Text(segments.text[:cut], segments.literal) for cut in segments.cuts]
        if all(whole[: len(ids)] == ids for ids in upto):
            cuts = [0, *map(len, upto), len(whole)]
            apart = [whole[start:end] for start, end in pairwise(cuts)]
    apart[0] = [*leading, *apart[0]]
    return [*apart[:-1], _ended(apart[-1], tokenizer.eos_token_id)]


def format_prompt(
    tokenizer: "PreTrainedTokenizerBase", messages: list[Message], prompt_format: PromptFormat
) -> Ids:
    """Token ids of a prompt, ready to be continued by an answer."""
    text = render_prompt(tokenizer, messages, prompt_format)
    (ids,) = tokenise(tokenizer, [Text(text, prompt_format == "plain")])
    return [*leading_for(tokenizer, prompt_format), *ids]


def split_completion(
    tokenizer: "PreTrainedTokenizerBase",
    prompt: list[Message],
    completion: list[Message],
    prompt_format: PromptFormat,
) -> tuple[Ids, Ids]:
    """`(prompt ids, completion ids with EOS as the last)`; the prompt ids are those of `format_prompt`.

    Raises:
        Unfit: when the template refuses the conversation, or the completion is empty.
        DataError: when the rendered prompt is not the beginning of the rendered conversation.
    """
    segments = render_answers(tokenizer, [*prompt, *completion], prompt_format, len(prompt))
    leading = leading_for(tokenizer, prompt_format)
    before, answer = finish(tokenizer, tokenise_answers(tokenizer, segments, leading))
    if answer == [tokenizer.eos_token_id]:
        raise Unfit("no completion token is left")
    return before, answer


def finish(tokenizer: "PreTrainedTokenizerBase", work: Tokenising[Found]) -> Found:
    """Do one piece of work by itself."""
    try:
        texts = next(work)
        while True:
            texts = work.send(tokenise(tokenizer, texts))
    except StopIteration as end:
        found: Found = end.value
        return found


def tokenise(tokenizer: "PreTrainedTokenizerBase", texts: list[Text]) -> list[Ids]:
    """Ids of each text, without special tokens added; all texts in one batch of each kind."""
    ids: list[Ids] = [[] for _ in texts]
    for literal in (False, True):
        chosen = [index for index, one in enumerate(texts) if one.literal is literal]
        found = encode_texts(tokenizer, [texts[index].text for index in chosen], literal=literal)
        for index, tokens in zip(chosen, found, strict=True):
            ids[index] = tokens
    return ids


def encode_texts(tokenizer: "PreTrainedTokenizerBase", texts: list[str], *, literal: bool) -> list[Ids]:
    """Ids of `texts` by the tokenizer's own batch call, on all cores where the environment allows it."""
    if not texts:
        return []
    backend = tokenizer.backend_tokenizer
    kept = backend.encode_special_tokens
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = literal
    try:
        return [found.ids for found in backend.encode_batch_fast(texts, add_special_tokens=False)]
    finally:
        backend.encode_special_tokens = kept


def leading_ids(tokenizer: "PreTrainedTokenizerBase") -> Ids:
    """The BOS token, where the tokenizer puts one before every text; else nothing."""
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and tokenizer("a", verbose=False)["input_ids"][:1] == [bos] else []


def leading_for(tokenizer: "PreTrainedTokenizerBase", prompt_format: PromptFormat) -> Ids:
    """What stands before every prompt of a format; a chat template writes BOS itself."""
    return [] if prompt_format == "chat" else leading_ids(tokenizer)


def _answer_starts(messages: list[Message]) -> list[int]:
    roles = [message["role"] for message in messages]
    return [at for at in range(1, len(roles)) if roles[at] == "assistant" != roles[at - 1]]


def _turn_end(messages: list[Message], start: int) -> int:
    return next(
        (at for at in range(start, len(messages)) if messages[at]["role"] != "assistant"), len(messages)
    )


def _ended(ids: Ids, eos: int) -> Ids:
    if eos in ids:  # templates may write a newline after it
        return ids[: len(ids) - ids[::-1].index(eos)]
    return [*ids, eos]


def render_conversation(
    tokenizer: "PreTrainedTokenizerBase", messages: list[Message], prompt_format: PromptFormat
) -> str:
    """A whole conversation as text.

    Raises:
        Unfit: when the template refuses it.
    """
    if prompt_format == "plain":
        return _plain_text(messages)
    return _render(tokenizer, messages, prompt_format, add_generation_prompt=False)


def _plain_text(messages: list[Message]) -> str:
    """The contents: an answer follows its question after a space, all else after a blank line."""
    text, before = "", ""
    for message in messages:
        role, content = message["role"], message["content"]
        if role == "assistant" != before:
            joint = "" if not text or text[-1:].isspace() or content[:1].isspace() else " "
        else:
            joint = "\n\n" if before else ""
        text, before = text + joint + content, role
    return text


def _crooked(before: str, whole: str) -> DataError:
    return DataError(
        "the chat template renders a prompt with its generation prompt differently from the beginning "
        f"of the whole conversation: {before[-60:]!r} is not in {whole[: len(before) + 20][-80:]!r}",
        expected="a template whose generation prompt begins the assistant's turn",
        fix="give the tokenizer another chat template, or set `prompt_format: plain`",
    )


def _render(
    tokenizer: "PreTrainedTokenizerBase",
    messages: list[Message],
    prompt_format: PromptFormat,
    *,
    add_generation_prompt: bool,
) -> str:
    from jinja2 import TemplateError

    template = None
    if prompt_format in ("role_markers", "turn_markers"):
        template = chat_template(prompt_format)
    try:
        text: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt, chat_template=template
        )
    except TemplateError as error:  # some templates know no system turn, or want strict alternation
        raise Unfit(f"the chat template refuses the conversation: {error}") from None
    return text
