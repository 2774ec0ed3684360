"""Talking to a model of the store, in the prompt format it was trained on."""

import sys
from typing import Any, TextIO

import torch

from tempering.artifacts.kinds import ModelArtifact
from tempering.evaluation.language_model import LanguageModel
from tempering.onpolicy.rollout import Sampling
from tempering.training.run import check_language_model

Messages = list[dict[str, str]]


class Speaker:
    """A model with its sampling.

    Raises:
        ArtifactError: the artifact is a reward model or a bare adapter.
    """

    def __init__(self, artifact: ModelArtifact, sampling: Sampling, seed: int) -> None:
        check_language_model(artifact)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        prompt_format: Any = artifact.details.get("prompt_format", "chat")
        self.model = LanguageModel(artifact.model_dir, prompt_format, device)
        self.sampling, self.seed = sampling, seed

    def answer(self, conversations: list[Messages]) -> list[tuple[str, bool]]:
        """The answer to each conversation, and whether it ended by itself."""
        return self.model.complete([self._fit(talk) for talk in conversations], self.sampling, self.seed)

    def stream(self, conversation: Messages, file: TextIO = sys.stdout) -> str:
        """Write the answer token by token; the whole of it is returned."""
        tokenizer, ids, said = self.model.tokenizer, self._fit(conversation), ""
        generator = torch.Generator(self.model.model.device).manual_seed(self.seed + len(conversation))
        made: list[int] = []
        for token in self.model.decoder().stream(ids, self.sampling, generator):
            made.append(token)
            text = tokenizer.decode(made, skip_special_tokens=True)
            if not text.endswith("\ufffd"):  # half a character: wait for its other bytes
                file.write(text[len(said) :])
                file.flush()
                said = text
        file.write("\n")
        return said

    def _fit(self, conversation: Messages) -> list[int]:
        room = getattr(self.model.model.config.get_text_config(), "max_position_embeddings", 1 << 20)
        keep = max(1, room - self.sampling.max_new_tokens)
        return self.model.prompt(conversation)[-keep:]
