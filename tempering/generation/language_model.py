"""What every benchmark asks of a causal LM: completions, and log-probabilities of text."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from tempering.data.prompt_format import ROLE_MARKER, PromptFormat, Unfit
from tempering.data.prompt_tokens import format_prompt, split_completion
from tempering.data.token_ids import document_start, leading_ids, literal_ids
from tempering.data.tokenizers import load_tokenizer
from tempering.errors import DataError
from tempering.generation.decoder import Decoder
from tempering.generation.rollout import Rollout, length_batches
from tempering.generation.sampling import Sampling
from tempering.generation.scoring import scored
from tempering.models.find import Source
from tempering.models.loading import load_causal_lm, stop_ids

Messages = list[dict[str, str]]


class LanguageModel:
    """A policy with its tokenizer and the prompt format it was trained on.

    Args:
        folder: Hugging Face model folder.
        prompt_format: `chat` (chat template) or `plain` (a base model: it continues text).
        device: where to run.
        batch_size: sequences per forward pass.
        model, tokenizer: parts of the folder already in memory.
        trained_on_rows: its prompts begin a row, and not a document that follows another one.
    """

    def __init__(
        self,
        folder: Any,
        prompt_format: PromptFormat,
        device: Any,
        batch_size: int = 128,
        model: Any = None,
        tokenizer: Any = None,
        *,
        trained_on_rows: bool = False,
    ):
        self.tokenizer = load_tokenizer(folder) if tokenizer is None else tokenizer
        self.model = (load_causal_lm(folder) if model is None else model).to(device)
        self.prompt_format, self.batch_size = prompt_format, batch_size
        self.trained_on_rows = trained_on_rows
        self.room: int = (
            getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30
        )
        """Positions of the model: prompt and answer together."""
        self.cut = 0
        """Prompts that lost their beginning to fit."""

    def prompt(self, messages: Messages, prompt_format: PromptFormat | None = None) -> list[int]:
        """Token ids up to where the answer starts; in the model's own format unless another is named."""
        form = prompt_format or self.prompt_format
        asked = [turn["content"] for turn in messages if turn["role"] != "assistant"]
        try:
            if form == "role_markers" and any(map(ROLE_MARKER.search, asked)):
                raise Unfit("the text holds a role marker at the beginning of a line")
            return self._after_start(format_prompt(self.tokenizer, messages, form), form)
        except Unfit as error:
            raise DataError(
                f"a prompt cannot be rendered: {error}", fix="correct the prompt or the template"
            ) from None

    def pair(
        self, messages: Messages, answer: Messages, prompt_format: PromptFormat | None = None
    ) -> tuple[list[int], list[int]]:
        """Token ids of a prompt and of its answer with EOS; in the model's own format unless one is named."""
        form = prompt_format or self.prompt_format
        try:
            prompt, completion = split_completion(self.tokenizer, messages, answer, form)
        except Unfit as error:
            raise DataError(f"a row cannot be rendered: {error}", fix="correct or remove the row") from None
        return self._after_start(prompt, form), completion

    def document(self, text: str) -> tuple[list[int], list[int]]:
        """What a document follows (BOS, or the EOS of another one), and its token ids, as in training."""
        return document_start(self.tokenizer), literal_ids(self.tokenizer, text)

    def fitting(self, prompt: list[int], following: int) -> list[int]:
        """The end of a prompt that leaves room for `following` tokens."""
        end = prompt[-max(1, self.room - following) :]
        self.cut += len(end) < len(prompt)
        return end

    def _after_start(self, prompt: list[int], prompt_format: PromptFormat) -> list[int]:
        # In packed pretraining a document follows the EOS of the one before it; a plain row follows nothing.
        is_row = self.trained_on_rows and self.prompt_format == "plain"
        begins = prompt_format == "plain" and not is_row and not leading_ids(self.tokenizer)
        return [*document_start(self.tokenizer), *prompt] if begins or not prompt else prompt

    def decoder(self) -> Decoder:
        """The engine that completes prompts with this model."""
        return Decoder(self.model, stop_ids(self.model, self.tokenizer), self.tokenizer.pad_token_id)

    def complete(self, prompts: list[list[int]], sampling: Sampling, seed: int) -> list[tuple[str, bool]]:
        """Completion text and whether it ends with EOS, for each prompt, in order."""
        prompts = [self.fitting(prompt, sampling.max_new_tokens) for prompt in prompts]
        answers: dict[int, tuple[str, bool]] = {}
        for places, rollout in self.rollouts(prompts, sampling, seed):
            texts, ends = rollout.texts(self.tokenizer), rollout.ended.tolist()
            answers.update(zip(places, zip(texts, ends, strict=True), strict=True))
        return [answers[place] for place in range(len(prompts))]

    def rollouts(
        self, prompts: list[list[int]], sampling: Sampling, seed: int
    ) -> Iterator[tuple[list[int], Rollout]]:
        """Completions of prompts of like length, batch by batch, with their places in `prompts`.

        The numbers of a batch come from `seed` + the rows before it.
        """
        decoder, before = self.decoder(), 0
        for places in length_batches([*map(len, prompts)], self.batch_size):
            uniform = sampling.numbers(len(places), torch.Generator().manual_seed(seed + before))
            yield places, decoder.generate([prompts[place] for place in places], sampling, uniform)
            before += len(places)

    def logprobs(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[list[float]]:
        """Log-probability of each completion token, for (prompt ids, completion ids) rows; fp32.

        A row's numbers do not depend on the batch size or on the other rows (see `scoring`).
        """
        lines: list[list[float]] = scored(self.model, rows, self.batch_size)
        return lines


def completed(tokenizer: Any, source: Source) -> Any:
    """A tokenizer that can pad: external models often name no pad token.

    Raises:
        DataError: it has no EOS, so that no answer would end, or is not a fast one.
    """
    if not tokenizer.is_fast:
        raise DataError(
            f"the tokenizer of {source.name} is not a fast one",
            expected="a tokenizer.json",
            fix="convert it with transformers' convert_slow_tokenizer",
        )
    if tokenizer.eos_token_id is None:
        raise DataError(
            f"the tokenizer of {source.name} has no EOS token",
            expected="a token that ends an answer",
            fix="set eos_token in its tokenizer_config.json",
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = tokenizer.eos_token_id
    return tokenizer
