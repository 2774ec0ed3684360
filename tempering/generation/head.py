"""A causal LM's head: what its own forward does after the backbone.

Most models multiply the states by the output embeddings and stop. Others scale before or after (Cohere,
Granite, MiniCPM3), cap (Gemma 2, RecurrentGemma), cut the vocabulary (Inkling), or have more layers there
(ModernBERT), each under names of its own. No table keeps up with them. So the model's own forward is run
around given states, its backbone replaced by one that returns them; only where that is the plain product, as
states with logits around 100 show, is the product taken directly.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from tempering.models.reading import backbone_of

_LOGIT = 100.0  # beyond the caps that models have
_PLAIN: "WeakKeyDictionary[nn.Module, bool]" = WeakKeyDictionary()


def head_logits(model: Any, states: Tensor) -> Tensor:
    """(N, V) logits of a causal LM (without PEFT's wrapper) from the last states (N, H) of its backbone."""
    plain = _PLAIN.get(model)
    if plain is None:
        plain = _is_plain(model, states)
        if plain is not None:
            _PLAIN[model] = plain
    if plain:
        logits: Tensor = model.get_output_embeddings()(states)
        return logits
    own = _own_logits(model, states)
    assert own is not None, "a forward that asks its backbone does so each time"
    return own


@torch.no_grad()
def _is_plain(model: Any, like: Tensor) -> bool | None:
    """Whether the head is the product with the output embeddings; None: zeros do not tell (a new head)."""
    if like.is_meta:
        return True
    embeddings = model.get_output_embeddings()
    if embeddings is None:
        return False
    # Two states of fixed random numbers, as large as it takes to meet every cap.
    numbers = torch.randn(2, like.shape[-1], generator=torch.Generator().manual_seed(0))
    states = numbers.to(like.device, like.dtype)
    largest = float(embeddings(states).abs().max())
    if largest == 0:
        return None
    states = states * (_LOGIT / largest)
    direct, own = embeddings(states[None])[0], _own_logits(model, states)
    if own is None:  # its forward asks a part of the backbone (OPT): the product it is
        return True
    rounding = 4 * torch.finfo(direct.dtype).eps * _LOGIT
    return own.shape == direct.shape and bool((own.float() - direct.float()).abs().max() <= rounding)


def _own_logits(model: Any, states: Tensor) -> Tensor | None:
    """(N, V) logits by the model's own forward; None where it does not ask its backbone."""
    ids = torch.zeros(1, len(states), dtype=torch.long, device=states.device)
    with _returning(backbone_of(model), states[None]) as asked:
        logits: Tensor = model.forward(input_ids=ids, use_cache=False).logits
    return logits[0] if asked else None


@contextmanager
def _returning(backbone: Any, states: Tensor) -> Iterator[list[bool]]:
    """`backbone` returns `states`, whatever it is asked; a note for each time it was."""
    asked: list[bool] = []

    def forward(*_: Any, **__: Any) -> _States:
        asked.append(True)
        return _States(states)

    before = backbone.__dict__.get("forward")  # a trainer's, where it has put one
    backbone.forward = forward
    try:
        yield asked
    finally:
        del backbone.forward
        if before is not None:
            backbone.forward = before


class _States:
    """A backbone's output that has nothing but its last hidden states."""

    def __init__(self, states: Tensor) -> None:
        self.last_hidden_state = states

    def __getitem__(self, place: Any) -> Any:
        return (self.last_hidden_state,)[place]

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)
