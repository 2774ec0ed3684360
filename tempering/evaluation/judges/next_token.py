"""Logits of the token that would come next, for judges that read them instead of writing."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tempering.generation.head import head_logits
from tempering.generation.logprobs import hidden_states
from tempering.generation.rollout import pad_left
from tempering.rewards.learned import by_tokens

if TYPE_CHECKING:
    from tempering.generation.language_model import LanguageModel


@torch.no_grad()
def next_logits(speaker: "LanguageModel", rows: list[list[int]]) -> Iterator[tuple[int, Tensor]]:
    """(place, logits (V,) in fp32 on the CPU) for each row of token ids; short rows come first."""
    for places in by_tokens([len(row) for row in rows]):
        ids, mask = pad_left(
            [rows[place] for place in places], speaker.tokenizer.pad_token_id, speaker.model.device
        )
        states = hidden_states(speaker.model, ids, mask)[:, -1]  # (B, H)
        yield from zip(places, head_logits(speaker.model, states).float().cpu(), strict=True)
