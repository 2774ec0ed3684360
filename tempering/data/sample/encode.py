"""From text rows to token rows, many at a time.

A prompt that is too long loses its beginning; a completion is never cut, since a cut answer would
teach not to stop: such a row is refused and counted. Documents are cut into pieces. There are three
passes: each row is rendered, all texts are tokenised in one batch (so that the tokenizer can use all
cores), and each row is assembled from its ids.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from tempering.data.prompt_format import PromptFormat, Rendered, Unfit
from tempering.data.prompt_tokens import ended, leading_for, tokenise
from tempering.data.rows import EMPTY_ANSWER, Message, RowType, Values
from tempering.data.sample.render import Renderer
from tempering.data.template_limits import within_limits
from tempering.data.token_ids import Ids, leading_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


Arguments = TypeVarTuple("Arguments")
Work = TypeVar("Work")


@dataclass(frozen=True)
class Encoded:
    """A token row, and whether something of its prompt was cut off."""

    values: Values
    truncated: bool = False
    unlearnt: int = 0
    """Answers inside of a conversation that the mask leaves out (see `prompt_format.Rendered`)."""

    @property
    def num_tokens(self) -> int:
        """Non-pad tokens that one forward pass of this row counts (both sides of a pair)."""
        return int(self.values["num_tokens"])


@dataclass(frozen=True)
class Encoder:
    """Encodes rows for one use.

    Args:
        row_type: what the rows become, one of `row_conversion.TOKEN_TYPES`.
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
            DataError: when the chat template is no template, or does not end.
        """
        (encoded,) = self.encode_batch([values])
        if isinstance(encoded, Unfit):
            raise encoded
        yield from encoded

    def encode_batch(self, rows: Sequence[Mapping[str, Any]]) -> list[list[Encoded] | Unfit]:
        """For each row its token rows, or why it cannot be encoded."""
        # Render: the texts of each row.
        with within_limits():
            rendered = [_or_unfit(self._renderer.render, values) for values in rows]
        # Tokenise: all texts of all rows together.
        texts = [text for item in rendered if not isinstance(item, Unfit) for text in item]
        tokens = iter(tokenise(self.tokenizer, texts))
        # Assemble: token rows from the ids of these texts.
        encoded: list[list[Encoded] | Unfit] = []
        for values, item in zip(rows, rendered, strict=True):
            if isinstance(item, Unfit):
                encoded.append(item)
            else:
                encoded.append(_or_unfit(self._assemble, values, item, [next(tokens) for _ in item]))
        return encoded

    def _assemble(
        self, values: Mapping[str, Any], rendered: list[Rendered], tokens: list[list[Ids]]
    ) -> list[Encoded]:
        """The token rows of a row; `tokens` are the ids of each part of each text."""
        if self.row_type is RowType.TEXT:
            return self._document(values, *tokens[0])
        if self.row_type is RowType.PROMPT:
            if "prompt" not in values:
                return [self._text_prompt(values, *tokens[0])]
            return [self._prompt(values, rendered[0].text, *tokens[0])]
        if self.row_type is RowType.CLASSIFICATION:
            return [self._labelled(values, *tokens[0])]
        sides = [self._with_ends(parts) for parts in tokens]
        if self.row_type is RowType.PREFERENCE:
            return [self._preference(values, *sides)]
        if "messages" in values:
            return [self._conversation(sides[0], rendered[0].unlearnt)]
        return [self._prompt_completion(*sides[0])]

    def _with_ends(self, parts: list[Ids]) -> list[Ids]:
        """The parts of a conversation, with what stands before it and with EOS at its end."""
        return [[*self._prompt_leading, *parts[0]], *parts[1:-1], ended(parts[-1], self._eos)]

    def _document(self, values: Mapping[str, Any], ids: Ids) -> list[Encoded]:
        if "messages" in values:
            ids = ended([*self._prompt_leading, *ids], self._eos)
        else:
            ids = [*self._leading, *ids, self._eos]
        pieces = [ids[start : start + self.max_length] for start in range(0, len(ids), self.max_length)]
        return [Encoded({"input_ids": piece, "num_tokens": len(piece)}) for piece in pieces]

    def _labelled(self, values: Mapping[str, Any], ids: Ids) -> Encoded:
        """A text with its label; one that is too long loses its end, and has no EOS."""
        whole = ended([*self._prompt_leading, *ids], self._eos)
        row = {"input_ids": whole[: self.max_length], "label": values["label"]}
        return Encoded({**row, "num_tokens": len(row["input_ids"])}, len(whole) > self.max_length)

    def _text_prompt(self, values: Mapping[str, Any], ids: Ids) -> Encoded:
        """The beginning of a document as a prompt, of a length drawn between the query lengths."""
        assert self.query_lengths is not None, "documents as prompts without query lengths"
        ids = [*self._leading, *ids]
        least, most = self.query_lengths
        if len(ids) < least:
            raise Unfit("the text is shorter than query_min_length")
        most = min(most, len(ids))
        length = least + _draw(self.seed, values["text"]) % (most - least + 1)
        length, query = self._whole_characters(ids, length, least, most)
        prompt: list[Message] = [{"role": "user", "content": query}]
        return self._query(values, ids[:length], query, prompt, truncated=False)  # cut on purpose

    def _whole_characters(self, ids: Ids, drawn: int, least: int, most: int) -> tuple[int, str]:
        """The drawn length, or one near it at which the text does not end inside of a character."""
        lengths = [drawn + step for step in (0, -1, -2, -3, 1, 2, 3) if least <= drawn + step <= most]
        texts = {length: self.tokenizer.decode(ids[len(self._leading) : length]) for length in lengths}
        whole = next((length for length in lengths if not texts[length].endswith("�")), drawn)
        return whole, texts[whole]

    def _prompt(self, values: Mapping[str, Any], text: str, ids: Ids) -> Encoded:
        whole = [*self._prompt_leading, *ids]
        prompt = self._fit_prompt(whole, 0)
        least, most = self.query_lengths or (0, len(prompt))
        if len(prompt) < least:
            raise Unfit("the prompt is shorter than query_min_length")
        prompt = prompt[-most:]
        truncated = len(prompt) < len(whole)
        query = self.tokenizer.decode(prompt) if truncated else text
        return self._query(values, prompt, query, values["prompt"], truncated=truncated)

    def _query(
        self, values: Mapping[str, Any], ids: Ids, query: str, prompt: list[Message], *, truncated: bool
    ) -> Encoded:
        further = {name: value for name, value in values.items() if name != "text"}
        fixed = {"input_ids": ids, "query": query, "prompt": prompt, "num_tokens": len(ids)}
        return Encoded({**further, **fixed}, truncated)

    def _prompt_completion(self, whole: Ids, answer: Ids) -> Encoded:
        self._need_answer(answer)
        prompt = self._fit_prompt(whole, len(answer))
        mask = [False] * len(prompt) + [True] * len(answer)
        row = {"input_ids": [*prompt, *answer], "completion_mask": mask, "num_tokens": len(mask)}
        return Encoded(row, len(prompt) < len(whole))

    def _conversation(self, parts: list[Ids], unlearnt: int) -> Encoded:
        """All turns of the assistant are trained on; an answer whose beginning is cut off is not."""
        self._need_answer(parts[-1])
        self._fit_prompt([], len(parts[-1]))
        cut = max(0, sum(map(len, parts)) - self.max_length)
        ids: Ids = []
        mask: list[bool] = []
        for at, part in enumerate(parts):
            learnt = at % 2 == 1 and len(ids) >= cut
            mask += self._answer_mask(part) if learnt else [False] * len(part)
            ids += part
        row = {"input_ids": ids[cut:], "completion_mask": mask[cut:], "num_tokens": len(ids) - cut}
        return Encoded(row, cut > 0, unlearnt)

    def _preference(self, values: Mapping[str, Any], chosen: list[Ids], rejected: list[Ids]) -> Encoded:
        (whole, good), (other, bad) = chosen, rejected
        assert whole == other, "the same prompt was encoded in two ways"
        if good == bad:
            raise Unfit("chosen and rejected are the same tokens")
        self._need_answer(good)
        if values["rejected"] != EMPTY_ANSWER:
            self._need_answer(bad)
        prompt = self._fit_prompt(whole, max(len(good), len(bad)))
        count = 2 * len(prompt) + len(good) + len(bad)
        row = {"prompt_ids": prompt, "chosen_ids": good, "rejected_ids": bad, "num_tokens": count}
        return Encoded(row, len(prompt) < len(whole))

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

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(self.tokenizer, self.row_type, self.prompt_format)

    @cached_property
    def _eos(self) -> int:
        return int(self.tokenizer.eos_token_id)

    @cached_property
    def _leading(self) -> Ids:
        return leading_ids(self.tokenizer)

    @cached_property
    def _prompt_leading(self) -> Ids:
        return leading_for(self.tokenizer, self.prompt_format)


def _or_unfit(work: Callable[[*Arguments], Work], *arguments: *Arguments) -> Work | Unfit:
    """What `work` makes of its arguments, or why it cannot."""
    try:
        return work(*arguments)
    except Unfit as reason:
        return reason


def _draw(seed: int, text: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
