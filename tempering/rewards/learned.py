"""The learned reward: a Bradley-Terry model's score of prompt and completion.

It gets text and uses its own tokenizer and chat template, so it may come from another family
than the policy. EOS is there exactly as in its training: the template writes it after a complete
answer, and it is removed from an answer that was cut short.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tempering.artifacts.kinds import ModelArtifact
from tempering.data.prompt_format import PromptFormat, Unfit
from tempering.data.prompt_tokens import format_prompt, split_completion
from tempering.data.tokenizers import load_tokenizer
from tempering.models.loading import load_scorer

TOGETHER = 8192  # tokens per forward pass, padding included


class LearnedReward:
    """Callable in TRL's signature; scores are raw (unscaled) logits.

    Args:
        folder: a reward model folder (score head and tokenizer).
        device: where to run it.
        prompt_format: how its training data was rendered.
        trust_remote_code: the model brings its own code.
    """

    def __init__(
        self,
        folder: Path,
        device: Any = "cpu",
        prompt_format: PromptFormat = "chat",
        *,
        trust_remote_code: bool = False,
    ) -> None:
        self.tokenizer, self.prompt_format = load_tokenizer(folder), prompt_format
        self.model = load_scorer(folder, trust_remote_code=trust_remote_code).to(device)
        self.room: int = (
            getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 1 << 30
        )
        self.cut_prompts = self.cut_answers = 0

    classifies = False
    """Whether a score is the logit of a label, so that above 0 says yes."""

    @classmethod
    def of(cls, artifact: ModelArtifact, device: Any) -> "LearnedReward":
        """The reward of a model artifact, in the prompt format it was trained on."""
        prompt_format: Any = artifact.details.get("prompt_format", "chat")
        reward = cls(artifact.model_dir, device, prompt_format, trust_remote_code=artifact.trusts_remote_code)
        reward.classifies = bool(artifact.details.get("classifies"))
        return reward

    def __call__(
        self, prompts: list[Any], completions: list[str], ended: list[bool] | None = None, **_: Any
    ) -> list[float]:
        endings = ended or [True] * len(completions)
        rows = [self.encode(*item) for item in zip(prompts, completions, endings, strict=True)]
        scores = [0.0] * len(rows)
        for batch in by_tokens([len(row) for row in rows]):
            for index, score in zip(batch, self._score([rows[index] for index in batch]), strict=True):
                scores[index] = score
        return scores

    def encode(self, prompt: list[dict[str, str]], completion: str, ended: bool) -> list[int]:
        """Token ids as in the reward model's training; a prompt that is too long loses its start."""
        answer = [{"role": "assistant", "content": completion}]
        try:
            prompt_ids, ids = split_completion(self.tokenizer, prompt, answer, self.prompt_format)
        except Unfit:  # an empty answer: EOS, or not even that
            prompt_ids = format_prompt(self.tokenizer, prompt, self.prompt_format)
            ids = [self.tokenizer.eos_token_id]
        ids = ids if ended else ids[:-1]
        room = max(1, self.room - len(ids))
        self.cut_prompts += len(prompt_ids) > room
        self.cut_answers += len(ids) >= self.room
        return [*prompt_ids[-room:], *ids][-self.room :]

    def cuts(self, who: str) -> Iterator[str]:
        """What was scored without its beginning, as messages."""
        for name, count in (("prompts", self.cut_prompts), ("answers", self.cut_answers)):
            if count:
                where = f"{who} reads {self.room} tokens"
                yield f"{count} {name} lost their beginning before they were scored: {where}"

    @torch.no_grad()
    def _score(self, rows: list[list[int]]) -> list[float]:
        width = max(map(len, rows))
        ids = torch.full((len(rows), width), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):  # right padding, as in training
            ids[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = 1
        device = self.model.device
        logits = self.model(input_ids=ids.to(device), attention_mask=mask.to(device)).logits
        return logits.float().squeeze(-1).tolist()  # type: ignore[no-any-return]


def by_tokens(lengths: list[int]) -> Iterator[list[int]]:
    """Indices of rows in batches of similar length, of at most `TOGETHER` tokens each, padding included."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > TOGETHER:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
