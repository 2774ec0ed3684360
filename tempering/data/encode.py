"""From text rows to token rows.

The completion mask comes from the prompt, not from template marks: the prompt rendered with its
generation prompt must be the beginning of the whole conversation, and what follows, up to and
with EOS, is the completion. So the mask can be neither all zero nor without EOS, whatever the
template. A prompt that is too long loses its beginning; a completion is never cut, since a cut
answer would teach not to stop: such a row is refused and counted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from tempering.data.rows import COLUMNS, Message, RowType, Values
from tempering.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PromptFormat = Literal["chat", "plain"]
"""chat: the tokenizer's chat template; plain: prompt, a space, completion, for base models."""


class Unfit(Exception):
    """A row that cannot be encoded; the message is the reason it is counted under."""


@dataclass(frozen=True)
class Encoded:
    """A token row, and whether something of its prompt was cut off."""

    values: Values
    truncated: bool = False

    @property
    def num_tokens(self) -> int:
        """Non-pad tokens that one forward pass of this row counts (both sides of a pair)."""
        return int(self.values["num_tokens"])


@dataclass(frozen=True)
class Encoder:
    """Encodes rows of one type for one use."""

    tokenizer: "PreTrainedTokenizerBase"
    row_type: RowType
    max_length: int
    max_prompt_length: int | None = None
    prompt_format: PromptFormat = "chat"

    def encode(self, values: Mapping[str, Any]) -> Iterator[Encoded]:
        """The token rows of one row: one, or for a document its pieces of `max_length`.

        Raises:
            Unfit: when the completion does not fit, or the text holds a special token.
            DataError: when the chat template makes it impossible to tell prompt from completion.
        """
        if self.row_type is RowType.TEXT:
            yield from self._document(values["text"])
        elif self.row_type is RowType.PROMPT:
            yield self._prompt(values)
        elif self.row_type is RowType.PROMPT_COMPLETION:
            yield self._prompt_completion(values["prompt"], values["completion"])
        else:
            assert self.row_type is RowType.PREFERENCE, f"rows of type {self.row_type} are not tokenised"
            yield self._preference(values["prompt"], values["chosen"], values["rejected"])

    def _document(self, text: str) -> Iterator[Encoded]:
        ids = [*leading_ids(self.tokenizer), *_plain_ids(self.tokenizer, text), self.tokenizer.eos_token_id]
        for start in range(0, len(ids), self.max_length):
            piece = ids[start : start + self.max_length]
            yield Encoded({"input_ids": piece, "num_tokens": len(piece)})

    def _prompt(self, values: Mapping[str, Any]) -> Encoded:
        self._refuse_special(values["prompt"])
        whole = format_prompt(self.tokenizer, values["prompt"], self.prompt_format)
        kept = self._fit_prompt(whole, 0)
        truncated = len(kept) < len(whole)
        query = self.tokenizer.decode(kept) if truncated else render_prompt(
            self.tokenizer, values["prompt"], self.prompt_format
        )  # fmt: skip
        fixed = {"input_ids": kept, "query": query, "prompt": values["prompt"], "num_tokens": len(kept)}
        return Encoded({**values, **fixed}, truncated)

    def _prompt_completion(self, prompt: list[Message], completion: list[Message]) -> Encoded:
        self._refuse_special([*prompt, *completion])
        whole, answer = split_completion(self.tokenizer, prompt, completion, self.prompt_format)
        kept = self._fit_prompt(whole, len(answer))
        mask = [False] * len(kept) + [True] * len(answer)
        values = {"input_ids": [*kept, *answer], "completion_mask": mask, "num_tokens": len(mask)}
        return Encoded(values, len(kept) < len(whole))

    def _preference(self, prompt: list[Message], chosen: list[Message], rejected: list[Message]) -> Encoded:
        self._refuse_special([*prompt, *chosen, *rejected])
        whole, good = split_completion(self.tokenizer, prompt, chosen, self.prompt_format)
        other, bad = split_completion(self.tokenizer, prompt, rejected, self.prompt_format)
        assert whole == other, "the same prompt was encoded in two ways"
        if good == bad:
            raise Unfit("chosen and rejected are the same tokens")
        kept = self._fit_prompt(whole, max(len(good), len(bad)))
        tokens = 2 * len(kept) + len(good) + len(bad)
        values = {"prompt_ids": kept, "chosen_ids": good, "rejected_ids": bad, "num_tokens": tokens}
        return Encoded(values, len(kept) < len(whole))

    def _fit_prompt(self, ids: list[int], completion: int) -> list[int]:
        room = self.max_length - completion
        if room < 1:
            raise Unfit("the completion leaves no room for a prompt in max_length")
        return ids[-min(room, self.max_prompt_length or room) :]

    def _refuse_special(self, messages: list[Message]) -> None:
        # In a rendered conversation such text would become a control token: a forged turn or end.
        for message in messages:
            found = next((token for token in self._special if token in message["content"]), None)
            if found:
                raise Unfit(f"the text holds the special token {found}")

    @cached_property
    def _special(self) -> tuple[str, ...]:
        added = self.tokenizer.added_tokens_decoder.values()
        return tuple(token.content for token in added if token.special)


def format_prompt(
    tokenizer: "PreTrainedTokenizerBase", messages: list[Message], prompt_format: PromptFormat
) -> list[int]:
    """Token ids of a prompt, ready to be continued by an answer."""
    return _ids(tokenizer, render_prompt(tokenizer, messages, prompt_format), prompt_format)


def render_prompt(
    tokenizer: "PreTrainedTokenizerBase", messages: list[Message], prompt_format: PromptFormat
) -> str:
    """The prompt as text: with its generation prompt (chat), or the bare contents (plain)."""
    if prompt_format == "plain":
        return "\n\n".join(message["content"] for message in messages)
    return _render(tokenizer, messages, add_generation_prompt=True)


def split_completion(
    tokenizer: "PreTrainedTokenizerBase",
    prompt: list[Message],
    completion: list[Message],
    prompt_format: PromptFormat,
) -> tuple[list[int], list[int]]:
    """`(prompt ids, completion ids with EOS as the last)`; the prompt ids are those of `format_prompt`.

    Raises:
        Unfit: when the template refuses the conversation.
        DataError: when the rendered prompt is not the beginning of the rendered conversation.
    """
    before = render_prompt(tokenizer, prompt, prompt_format)
    whole = _render_whole(tokenizer, prompt, completion, prompt_format, before)
    prompt_ids = _ids(tokenizer, before, prompt_format)
    ids = _ids(tokenizer, whole, prompt_format)
    if ids[: len(prompt_ids)] == prompt_ids:
        answer = ids[len(prompt_ids) :]
    else:  # a token reaches over the border: encode apart, as generation would
        answer = tokenizer(whole[len(before) :], add_special_tokens=False, verbose=False)["input_ids"]
    eos = tokenizer.eos_token_id
    end = len(answer) - answer[::-1].index(eos) if eos in answer else len(answer)
    answer = answer[:end] if eos in answer else [*answer, eos]  # templates may write a newline after EOS
    if answer == [eos]:
        raise Unfit("no completion token is left")
    return prompt_ids, answer


def leading_ids(tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """The BOS token, where the tokenizer puts one before every text; else nothing."""
    bos = tokenizer.bos_token_id
    return [bos] if bos is not None and tokenizer("a", verbose=False)["input_ids"][:1] == [bos] else []


def convert(values: Values, source: RowType, target: RowType) -> Values:
    """A row of `source` for the use of `target`: a pair's chosen side as an answer, a prompt alone.

    Raises:
        DataError: when `source` has not the columns for that.
    """
    if source is target:
        return values
    if target is RowType.PROMPT and "prompt" in COLUMNS[source]:
        return {
            name: value for name, value in values.items() if name == "prompt" or name not in COLUMNS[source]
        }
    if (source, target) == (RowType.PREFERENCE, RowType.PROMPT_COMPLETION):
        return {"prompt": values["prompt"], "completion": values["chosen"]}
    missing = ", ".join(name for name in COLUMNS[target] if name not in COLUMNS[source])
    raise DataError(f"{source} rows cannot be used as {target} rows: they lack {missing}")


def _render_whole(
    tokenizer: "PreTrainedTokenizerBase",
    prompt: list[Message],
    completion: list[Message],
    prompt_format: PromptFormat,
    before: str,
) -> str:
    if prompt_format == "plain":
        answer = "\n\n".join(message["content"] for message in completion)
        apart = before[-1:].isspace() or answer[:1].isspace()
        return before + ("" if apart else " ") + answer
    whole = _render(tokenizer, [*prompt, *completion], add_generation_prompt=False)
    if not whole.startswith(before):
        raise DataError(
            "the chat template renders a prompt with its generation prompt differently from the beginning "
            f"of the whole conversation: {before[-60:]!r} is not in {whole[: len(before) + 20][-80:]!r}",
            expected="a template whose generation prompt begins the assistant's turn",
            fix="give the tokenizer another chat template, or set `prompt_format: plain`",
        )
    return whole


def _render(
    tokenizer: "PreTrainedTokenizerBase", messages: list[Message], *, add_generation_prompt: bool
) -> str:
    from jinja2 import TemplateError

    try:
        text: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except TemplateError as error:  # some templates know no system turn, or want strict alternation
        raise Unfit(f"the chat template refuses the conversation: {error}") from None
    return text


def _ids(tokenizer: "PreTrainedTokenizerBase", text: str, prompt_format: PromptFormat) -> list[int]:
    if prompt_format == "plain":
        return [*leading_ids(tokenizer), *_plain_ids(tokenizer, text)]
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _plain_ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Ids of running text; special tokens written out in it stay text."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)[
        "input_ids"
    ]
    return ids
