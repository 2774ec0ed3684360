"""Answer many prompts: checked first, then a window of batches at a time.

Inside a window prompts are sorted by length, so that batches hold little padding. Model, prompts, seed and
batch size decide the answers; where they are written does not.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from tempering.errors import DataError
from tempering.talk.chat_model import Speaker
from tempering.talk.files import Prompt

_WINDOW = 8  # batches


@dataclass(frozen=True)
class Looked:
    """A first look at the prompts. `cut`: running texts that are too long, whose beginning is not read."""

    count: int
    as_messages: bool
    cut: int


def look_at(speaker: Speaker, prompts: Iterable[Prompt]) -> Looked:
    """Count the prompts and check that each can be answered.

    Raises:
        DataError: naming a prompt that is too long or that the template refuses.
    """
    count = cut = 0
    as_messages = False
    for prompt in prompts:
        try:
            prepared = speaker.prepare(prompt.messages)
        except DataError as error:
            raise DataError(
                f"{prompt.where}: {error.found}", expected=error.expected, fix=error.fix
            ) from None
        count += 1
        cut += bool(prepared.dropped)
        as_messages = as_messages or not prompt.is_text
    return Looked(count, as_messages, cut)


def answers(
    speaker: Speaker,
    prompts: Iterable[Prompt],
    *,
    each: int = 1,
    as_messages: bool = False,
    progress: Callable[[int], None] = lambda count: None,
) -> Iterator[list[dict[str, Any]]]:
    """Rows `index, sample, prompt, completion, ended, tokens` in the order of the prompts, in portions.

    Args:
        each: answers to each prompt.
        progress: called after each batch with the number of its answers.

    Yields:
        the rows of one window.
    """
    # A window of several batches lets the speaker sort by length; memory stays bounded.
    source, answered = iter(prompts), 0
    size = max(1, _WINDOW * speaker.model.batch_size // each)
    while window := list(islice(source, size)):
        # Several answers to a prompt are neighbours, and each has its own seed.
        conversations = [prompt.messages for prompt in window for _ in range(each)]
        replies = speaker.answer(conversations, speaker.seed + answered * each, progress)
        yield [
            {
                "index": answered + number // each,
                "sample": number % each,
                "prompt": window[number // each].shown(as_messages),
                "completion": answer.text,
                "ended": answer.ended,
                "tokens": answer.tokens,
            }
            for number, answer in enumerate(replies)
        ]
        answered += len(window)
