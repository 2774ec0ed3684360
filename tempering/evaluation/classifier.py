"""A language model that sorts texts: its body, and the head of the BabyLM evaluation pipeline.

The head is theirs (`ClassifierHead` in
https://github.com/babylm/evaluation-pipeline-2025/blob/main/evaluation_pipeline/finetune/classifier_model.py):
layer norm without weights, linear, GELU, layer norm, dropout, linear. They read the state of the first
token. Of a causal model that one has seen no other token, so that the head can tell nothing but the first
token of a text, or nothing at all behind a BOS; here it is the last real token unless asked otherwise.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from tempering.data.token_ids import document_start, encode_texts
from tempering.models.pooling import last_real_token

Ids = list[int]
Batch = tuple[Tensor, Tensor]
"""Token ids and attention mask, (B, T), padded on the right."""


class Classifier(nn.Module):
    """Logits of labels, (B, labels).

    Args:
        body: a backbone without its head.
        read: the token whose state tells the label.
    """

    def __init__(self, body: Any, labels: int, dropout: float, read: Literal["first", "last"]) -> None:
        super().__init__()
        self.body, self.read = body, read
        width = body.config.get_text_config().hidden_size
        self.head = nn.Sequential(
            nn.LayerNorm(width, 1e-5, elementwise_affine=False),
            nn.Linear(width, width),
            nn.GELU(),
            nn.LayerNorm(width, 1e-5, elementwise_affine=False),
            nn.Dropout(dropout),
            nn.Linear(width, labels),
        )

    def forward(self, ids: Tensor, attention: Tensor) -> Tensor:
        """Logits of a batch."""
        states = self.body(input_ids=ids, attention_mask=attention).last_hidden_state  # (B, T, D)
        places = last_real_token(attention) if self.read == "last" else torch.zeros_like(ids[:, 0])
        rows = torch.arange(len(states), device=states.device)
        logits: Tensor = self.head(states[rows, places.to(states.device)])
        return logits


def as_running_text(tokenizer: Any, texts: list[tuple[str, str]], longest: int) -> tuple[list[Ids], int]:
    """Ids of texts, or of two texts on lines of their own, after BOS or EOS as a document in training.

    Special tokens that a text spells stay text. Of two texts that are too long together the longer one loses
    its end.

    Returns:
        the ids of each, and how many were cut.
    """
    start = document_start(tokenizer)
    firsts = encode_texts(tokenizer, [first for first, _ in texts], literal=True)
    seconds = encode_texts(tokenizer, ["\n" * bool(second) + second for _, second in texts], literal=True)
    sequences, cut, room = [], 0, longest - len(start)
    for first, second in zip(firsts, seconds, strict=True):
        cut += len(first) + len(second) > room
        behind = min(len(second), max(room // 2, room - len(first)))
        sequences.append([*start, *first[: room - behind], *second[:behind]])
    return sequences, cut


def as_the_tokenizer_does(
    tokenizer: Any, texts: list[tuple[str, str]], longest: int
) -> tuple[list[Ids], int]:
    """Ids as the tokenizer itself joins two texts, with its own special tokens and its own way to cut.

    Returns:
        the ids of each, and how many were cut.
    """
    paired = any(second for _, second in texts)
    plain: list[Any] = [*texts] if paired else [first for first, _ in texts]
    whole = tokenizer(plain, verbose=False)["input_ids"]
    short: list[Ids] = tokenizer(plain, truncation=True, max_length=longest)["input_ids"]
    return short, sum(len(ids) > longest for ids in whole)


def padded(sequences: list[Ids], pad: int) -> Batch:
    """A batch of sequences."""
    length = max(map(len, sequences))
    ids = torch.tensor([[*line, *[pad] * (length - len(line))] for line in sequences])
    attention = torch.tensor([[1] * len(line) + [0] * (length - len(line)) for line in sequences])
    return ids, attention
