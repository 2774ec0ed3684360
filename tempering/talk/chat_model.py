"""Talk to a model in the prompt format it was trained on.

A conversation that grows too long loses its oldest exchanges; the system turn and the last question stay.
Running text (a base model) is cut at its beginning. A stop text ends an answer and is not part of it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from tempering.data.prompt_format import PromptFormat
from tempering.data.tokenizers import load_tokenizer
from tempering.errors import DataError, UserError
from tempering.generation.language_model import LanguageModel, completed
from tempering.generation.probe import refuse_unserved
from tempering.generation.sampling import Sampling
from tempering.models.find import Source, open_language_model

Messages = list[dict[str, str]]
_DEFAULT_LENGTH = 128


@dataclass(frozen=True)
class Prepared:
    """A conversation as token ids; `dropped` counts turns (or tokens of running text) that did not fit."""

    ids: list[int]
    dropped: int = 0


@dataclass(frozen=True)
class Answer:
    """`ended`: by the model itself or at a stop text; `tokens` counts EOS."""

    text: str
    ended: bool
    tokens: int


class Speaker:
    """A model with its sampling.

    Args:
        sampling: how tokens are chosen; `max_new_tokens` 0: 128, or half of the model's positions.
        stop: texts that end an answer.
        prompt_format: None: the one it was trained on.

    Raises:
        ArtifactError: it is a reward model.
        UserError: no prompt fits beside so long an answer.
    """

    def __init__(
        self,
        source: Source,
        sampling: Sampling,
        seed: int = 0,
        *,
        stop: Sequence[str] = (),
        prompt_format: PromptFormat | None = None,
        batch_size: int = 128,
    ) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = open_language_model(source)
        if source.artifact is None:  # nobody has asked it yet
            refuse_unserved(model, source.name)
        tokenizer = completed(load_tokenizer(source.folder), source)
        prompt_format = prompt_format or source.prompt_format(tokenizer)
        self.model = LanguageModel(
            source.folder,
            prompt_format,
            device,
            batch_size,
            model,
            tokenizer,
            trained_on_rows=source.artifact is not None and source.artifact.trained_on_rows,
        )
        self.stop, self.seed = tuple(stop), seed
        self.room = self.model.room
        self.sampling = self._fitting(sampling)

    def _fitting(self, sampling: Sampling) -> Sampling:
        if sampling.max_new_tokens == 0:
            return replace(sampling, max_new_tokens=min(_DEFAULT_LENGTH, self.room // 2))
        if sampling.max_new_tokens >= self.room:
            raise UserError(
                f"--max-new-tokens is {sampling.max_new_tokens}, but the model has {self.room} positions",
                expected="room for a prompt",
                fix=f"set it to less than {self.room}",
            )
        return sampling

    @property
    def is_plain(self) -> bool:
        """Whether the model continues running text, without turns."""
        return self.model.prompt_format == "plain"

    def prepare(self, conversation: Messages) -> Prepared:
        """Its token ids, without the oldest turns if it does not fit.

        Raises:
            DataError: the last question alone is too long, or the template refuses the conversation.
        """
        keep = self.room - self.sampling.max_new_tokens
        # Running text: its end is what the answer continues.
        if self.is_plain:
            ids = self.model.prompt(conversation)
            return Prepared(ids[-keep:], max(0, len(ids) - keep))
        # Turns: drop exchanges from the oldest on, so that the first one left is a question.
        system = [turn for turn in conversation[:1] if turn["role"] == "system"]
        turns = conversation[len(system) :]
        dropped = 0
        while len(ids := self.model.prompt([*system, *turns[dropped:]])) > keep:
            starts = [at for at in range(dropped + 1, len(turns)) if turns[at]["role"] == "user"]
            if not starts:
                raise DataError(
                    f"the prompt has {len(ids)} tokens; with {self.sampling.max_new_tokens} for the answer "
                    f"that exceeds the model's {self.room} positions",
                    expected=f"at most {keep} tokens",
                    fix="shorten it, or lower --max-new-tokens",
                )
            dropped = starts[0]
        return Prepared(ids, dropped)

    def stream(self, prepared: Prepared, seed: int) -> Iterator[str]:
        """The answer, piece by piece."""
        generator = torch.Generator().manual_seed(seed)
        text, yielded = "", 0
        tokens: list[int] = []
        for token in self.model.decoder().stream(prepared.ids, self.sampling, generator):
            tokens.append(token)
            text, stopped = self._cut(self._decoded(tokens))
            end = len(text) if stopped else _certain(text, self.stop)
            if end > yielded:
                yield text[yielded:end]
                yielded = end
            if stopped:
                return
        if len(text) > yielded:
            yield text[yielded:]

    def answer(
        self,
        conversations: Sequence[Messages],
        seed: int,
        progress: Callable[[int], None] = lambda count: None,
    ) -> list[Answer]:
        """The answer to each conversation; `progress` is called with the number of answers in each batch."""
        prompts = [self.prepare(conversation).ids for conversation in conversations]
        answers: dict[int, Answer] = {}
        for places, rollout in self.model.rollouts(prompts, self.sampling, seed):
            rows = zip(places, rollout.tokens(), rollout.ended.tolist(), strict=True)
            answers |= {place: self._answer(ids, ended) for place, ids, ended in rows}
            progress(len(places))
        return [answers[place] for place in range(len(prompts))]

    def _answer(self, ids: list[int], ended: bool) -> Answer:
        text, stopped = self._cut(self._decoded(ids))
        if not stopped:
            return Answer(text, ended, len(ids))
        used = next(end for end in range(1, len(ids) + 1) if self._cut(self._decoded(ids[:end]))[1])
        return Answer(text, True, used)

    def _decoded(self, ids: list[int]) -> str:
        text: str = self.model.tokenizer.decode(ids, skip_special_tokens=True)
        return text

    def _cut(self, text: str) -> tuple[str, bool]:
        """The text before the first stop text, and whether there was one."""
        places = [at for word in self.stop if (at := text.find(word)) >= 0]
        return (text[: min(places)], True) if places else (text, False)


def _certain(text: str, stop: Sequence[str]) -> int:
    """Length of what may be shown of an unfinished text: no half character, no beginning of a stop text."""
    end = len(text.rstrip("\ufffd"))
    beginnings = [length for word in stop for length in range(1, len(word)) if text.endswith(word[:length])]
    return min(end, len(text) - max(beginnings, default=0))
