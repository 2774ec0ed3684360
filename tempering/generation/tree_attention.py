"""Attention of tokens to their own ancestors, in a tree of texts that begin alike.

The tokens of a tree stand in the order of a walk, so a branch is a stretch: token i sees token j where
j <= i < end of j's branch. Numerators and normaliser are sums of one product with the values and a column of
ones, which adds in the order of the tokens: what lies between them adds zeros, and a row's numbers do not
depend on the rest of its tree. (A softmax adds by the places of its numbers in a vector register.) Libraries
keep that order in sums of up to `LONGEST` terms.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface

LANES = 16
LONGEST = 256
_NAME = "tempering_tree"
_UNKNOWN = ("softcap", "s_aux", "position_bias", "cache")
"""What some models add to attention, and this one does not know."""


def tree_mask(ends: Tensor) -> Tensor:
    """(B, 1, T, T) True where a token sees another one, from where each token's branch ends (B, T)."""
    places = torch.arange(ends.shape[1], device=ends.device)
    return ((places <= places[:, None]) & (places[:, None] < ends[:, None, :]))[:, None]


def tree_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """(B, T, heads, size) from queries, keys and values (B, heads, T, size), as transformers calls it."""
    known = all(more.get(name) is None for name in _UNKNOWN)
    if not known or attention_mask is None or (sliding_window is not None and sliding_window < LONGEST):
        raise NotImplementedError("attention of another kind")
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = (query @ key.transpose(-1, -2)).mul_(scale).masked_fill_(~attention_mask, float("-inf"))
    weights = scores.sub_(scores.amax(-1, keepdim=True)).exp_()
    sums = weights @ torch.cat([value, value.new_ones(*value.shape[:-1], 1)], dim=-1)
    return (sums[..., :-1] / sums[..., -1:]).transpose(1, 2).contiguous(), None


AttentionInterface.register(_NAME, tree_attention)


@contextmanager
def reading_trees(model: Any) -> Iterator[None]:
    """Let the model's attention be that of trees."""
    config = model.config
    before = config._attn_implementation
    config._attn_implementation = _NAME
    try:
        yield
    finally:
        config._attn_implementation = before
