"""From text rows to token rows, many at a time.

A prompt that is too long loses its beginning; a completion is never cut, since a cut answer would
teach not to stop: such a row is refused and counted. Documents are cut into pieces. Each kind of row
is written as a generator that asks for texts to be tokenised; `encode_batch` runs many of them side
by side, so that the tokenizer always gets a whole batch and can use all cores.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tempering.data.prompt_format import (
    Ids,
    PromptFormat,
    Text,
    Tokenising,
    Unfit,
    ended,
    leading_for,
    leading_ids,
    render_answers,
    render_conversation,
    render_prompt,
    tokenise,
    tokenise_answers,
)
from tempering.data.rows import EMPTY_ANSWER, Message, RowType, Values

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


_ROLE_MARKER = re.compile(r"(?m)^(User|Assistant|System):")


@dataclass(frozen=True)
class Encoded:
    """A token row, and whether something of its prompt was cut off."""

    values: Values
    truncated: bool = False
    unlearnt: int = 0
    """Answers inside of a conversation that the mask leaves out (see `formats.Segments`)."""

    @property
    def num_tokens(self) -> int:
        """Non-pad tokens that one forward pass of this row counts (both sides of a pair)."""
        return int(self.values["num_tokens"])


@dataclass(frozen=True)
class Encoder:
    """Encodes rows for one use.

    Args:
        row_type: what the rows become, one of `uses.TOKEN_TYPES`.
        query_lengths: least and most tokens of a prompt; a document gives one prompt, of a length
            drawn between them; null: no bounds.
        seed: decides the drawn lengths.
    """

    tokenizer: "PreTrainedTokenizerBase"
    row_type: RowType
    max_length: int
    max_prompt_length: int | None = None
    prompt_format: PromptFormat = "chat"
    query_lengths: tuple[int, int] | None = None
    seed: int = 0

    def encode(self, values: Mapping[str, Any]) -> Iterator[Encoded]:
        """The token rows of one row: one, or for a document its pieces of `max_length`.

        Raises:
            Unfit: when the completion does not fit, or the text holds a special token.
            DataError: when the chat template makes it impossible to tell prompt from completion.
        """
        (found,) = self.encode_batch([values])
        if isinstance(found, Unfit):
            raise found
        yield from found

    def encode_batch(self, rows: Sequence[Mapping[str, Any]]) -> list[list[Encoded] | Unfit]:
        """For each row its token rows, or why it cannot be encoded."""
        found: list[list[Encoded] | Unfit] = [[] for _ in rows]
        waiting: dict[int, tuple[Tokenising[list[Encoded]], list[Text]]] = {}

        def step(index: int, work: Tokenising[list[Encoded]], ids: list[Ids] | None) -> None:
            try:
                waiting[index] = (work, work.send(ids) if ids is not None else next(work))
            except StopIteration as end:
                found[index] = end.value
            except Unfit as error:
                found[index] = error

        for index, values in enumerate(rows):
            step(index, self._row(values), None)
        while waiting:
            asked, waiting = waiting, {}
            ids = iter(tokenise(self.tokenizer, [text for _, texts in asked.values() for text in texts]))
            for index, (work, texts) in asked.items():
                step(index, work, [next(ids) for _ in texts])
        return found

    def _row(self, values: Mapping[str, Any]) -> Tokenising[list[Encoded]]:
        if self.row_type is RowType.TEXT:
            return self._document(values)
        if self.row_type is RowType.PROMPT:
            return self._text_prompt(values) if "text" in values else self._prompt(values)
        if self.row_type is RowType.PROMPT_COMPLETION:
            return self._conversation(values) if "messages" in values else self._prompt_completion(values)
        assert self.row_type is RowType.PREFERENCE, f"rows of type {self.row_type} are not tokenised"
        return self._preference(values)

    def _document(self, values: Mapping[str, Any]) -> Tokenising[list[Encoded]]:
        eos = self._eos
        if "messages" in values:
            self._refuse_special(values["messages"])
            text = render_conversation(self.tokenizer, values["messages"], self.prompt_format)
            (ids,) = yield [Text(text)]
            ids = [*leading_for(self.tokenizer, self.prompt_format), *ids]
            ids = ended(ids, eos)
        else:
            (ids,) = yield [Text(values["text"], literal=True)]
            ids = [*self._leading, *ids, eos]
        pieces = [ids[start : start + self.max_length] for start in range(0, len(ids), self.max_length)]
        return [Encoded({"input_ids": piece, "num_tokens": len(piece)}) for piece in pieces]

    def _text_prompt(self, values: Mapping[str, Any]) -> Tokenising[list[Encoded]]:
        """The beginning of a document as a prompt, of a length drawn between the query lengths."""
        assert self.query_lengths is not None, "documents as prompts without query lengths"
        (ids,) = yield [Text(values["text"], literal=True)]
        ids = [*self._leading, *ids]
        least, most = self.query_lengths
        if len(ids) < least:
            raise Unfit("the text is shorter than query_min_length")
        most = min(most, len(ids))
        drawn, query = self._whole_characters(
            ids, least + _draw(self.seed, values["text"]) % (most - least + 1), least, most
        )
        prompt: list[Message] = [{"role": "user", "content": query}]
        return [self._query(values, ids[:drawn], query, prompt, truncated=False)]  # cut on purpose

    def _whole_characters(self, ids: Ids, drawn: int, least: int, most: int) -> tuple[int, str]:
        """The drawn length, or one near it at which the text does not end inside of a character."""
        lengths = [drawn + step for step in (0, -1, -2, -3, 1, 2, 3) if least <= drawn + step <= most]
        texts = {length: self.tokenizer.decode(ids[len(self._leading) : length]) for length in lengths}
        found = next((length for length in lengths if not texts[length].endswith("\ufffd")), drawn)
        return found, texts[found]

    def _prompt(self, values: Mapping[str, Any]) -> Tokenising[list[Encoded]]:
        self._refuse_special(values["prompt"])
        text = render_prompt(self.tokenizer, values["prompt"], self.prompt_format)
        (ids,) = yield [Text(text, literal=self.prompt_format == "plain")]
        whole = [*self._prompt_leading, *ids]
        kept = self._fit_prompt(whole, 0)
        least, most = self.query_lengths or (0, len(kept))
        if len(kept) < least:
            raise Unfit("the prompt is shorter than query_min_length")
        kept = kept[-most:]
        truncated = len(kept) < len(whole)
        query = self.tokenizer.decode(kept) if truncated else text
        return [self._query(values, kept, query, values["prompt"], truncated=truncated)]

    def _query(
        self, values: Mapping[str, Any], ids: Ids, query: str, prompt: list[Message], *, truncated: bool
    ) -> Encoded:
        further = {name: value for name, value in values.items() if name != "text"}
        fixed = {"input_ids": ids, "query": query, "prompt": prompt, "num_tokens": len(ids)}
        return Encoded({**further, **fixed}, truncated)

    def _prompt_completion(self, values: Mapping[str, Any]) -> Tokenising[list[Encoded]]:
        prompt, completion = values["prompt"], values["completion"]
        self._refuse_special([*prompt, *completion])
        segments = render_answers(self.tokenizer, [*prompt, *completion], self.prompt_format, len(prompt))
        whole, answer = yield from tokenise_answers(self.tokenizer, segments, self._prompt_leading)
        self._need_answer(answer)
        kept = self._fit_prompt(whole, len(answer))
        mask = [False] * len(kept) + [True] * len(answer)
        row = {"input_ids": [*kept, *answer], "completion_mask": mask, "num_tokens": len(mask)}
        return [Encoded(row, len(kept) < len(whole))]

    def _conversation(self, values: Mapping[str, Any]) -> Tokenising[list[Encoded]]:
        """All turns of the assistant are trained on; an answer whose beginning is cut off is not."""
        messages = _upto_last_answer(values["messages"])
        self._refuse_special(messages)
        segments = render_answers(self.tokenizer, messages, self.prompt_format)
        parts = yield from tokenise_answers(self.tokenizer, segments, self._prompt_leading)
        self._need_answer(parts[-1])
        self._fit_prompt([], len(parts[-1]))
        cut = max(0, sum(map(len, parts)) - self.max_length)
        ids: Ids = []
        mask: list[bool] = []
        for at, part in enumerate(parts):
            whole = at % 2 == 1 and len(ids) >= cut
            mask += self._answer_mask(part) if whole else [False] * len(part)
            ids += part
        row = {"input_ids": ids[cut:], "completion_mask": mask[cut:], "num_tokens": len(ids) - cut}
        return [Encoded(row, cut > 0, segments.unlearnt)]

    def _preference(self, values: Mapping[str, Any]) -> Tokenising[list[Encoded]]:
        prompt, sides = values["prompt"], (values["chosen"], values["rejected"])
        self._refuse_special([*prompt, *sides[0], *sides[1]])
        tokens: list[list[Ids]] = []
        for side in sides:
            segments = render_answers(self.tokenizer, [*prompt, *side], self.prompt_format, len(prompt))
            tokens.append((yield from tokenise_answers(self.tokenizer, segments, self._prompt_leading)))
        (whole, good), (other, bad) = tokens
        assert whole == other, "the same prompt was encoded in two ways"
        if good == bad:
            raise Unfit("chosen and rejected are the same tokens")
        self._need_answer(good)
        if values["rejected"] != EMPTY_ANSWER:
            self._need_answer(bad)
        kept = self._fit_prompt(whole, max(len(good), len(bad)))
        count = 2 * len(kept) + len(good) + len(bad)
        row = {"prompt_ids": kept, "chosen_ids": good, "rejected_ids": bad, "num_tokens": count}
        return [Encoded(row, len(kept) < len(whole))]

    def _need_answer(self, ids: Ids) -> None:
        if ids == [self._eos]:
            raise Unfit("no completion token is left")

    def _fit_prompt(self, ids: Ids, completion: int) -> Ids:
        room = self.max_length - completion
        if room < 1:
            raise Unfit("the completion leaves no room for a prompt in max_length")
        return ids[-min(room, self.max_prompt_length or room) :]

    def _answer_mask(self, ids: Ids) -> list[bool]:
        """An answer up to and with its EOS, if it has one: a template may write more after it."""
        eos = self._eos
        end = len(ids) - ids[::-1].index(eos) if eos in ids else len(ids)
        return [True] * end + [False] * (len(ids) - end)

    def _refuse_special(self, messages: list[Message]) -> None:
        # In a rendered conversation such text would become a control token: a forged turn or end.
        for message in messages:
            if self.prompt_format == "role_markers" and _ROLE_MARKER.search(message["content"]):
                raise Unfit("the text holds a role marker at the beginning of a line")
            found = next((token for token in self._special if token in message["content"]), None)
            if found:
                raise Unfit(f"the text holds the special token {found}")

    @cached_property
    def _special(self) -> tuple[str, ...]:
        added = self.tokenizer.added_tokens_decoder.values()
        return tuple(token.content for token in added if token.special)

    @cached_property
    def _eos(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @cached_property
    def _leading(self) -> Ids:
        return leading_ids(self.tokenizer)

    @cached_property
    def _prompt_leading(self) -> Ids:
        return leading_for(self.tokenizer, self.prompt_format)


def _upto_last_answer(messages: list[Message]) -> list[Message]:
    end = len(messages)
    while end and messages[end - 1]["role"] != "assistant":
        end -= 1
    if not any(message["role"] == "user" for message in messages[:end]):
        raise Unfit("the conversation has no answer")
    return messages[:end]


def _draw(seed: int, text: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
