"""Log-probabilities of given tokens, the same however rows are batched.

Rows that begin alike (the sides of a pair, the choices of a question) are read as one tree: each common
beginning once, every token looking at its own ancestors alone. What a model cannot read so (states, windows,
places that it counts itself), and rows longer than `LONGEST`, is read row by row, padded on the right, which
a causal model cannot see. All logits never exist at once.

On a CPU a row's numbers are the same bit for bit whatever stands beside it: sums run in the order of tokens
(see `tree_attention`) over a multiple of `LANES` places, and no product has so few rows that a library takes
another kernel for it. Layers wider than about a thousand, whose sums a library may split between threads,
and experts, of which each sees few tokens, may differ in the last bits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from tempering.generation.cache import rows_stay
from tempering.generation.head import head_logits
from tempering.generation.tree_attention import LANES, LONGEST, reading_trees, tree_mask
from tempering.models.reading import backbone_of, without_adapter_wrapper

USUAL = 64
"""Tokens of a tree; up to `LONGEST` where most of what is added is there already."""
POSITIONS = 16384
"""Tokens of a batch, padding included; a single longer row is a batch by itself."""
LOGITS = 1 << 20
"""At a time on a CPU, whose caches hold so many."""
CHUNK = 4096
"""Positions whose logits exist at a time elsewhere."""

Ids = tuple[int, ...]
Row = tuple[Sequence[int], Sequence[int]]
"""Ids that are read, and those after them that are scored."""


@dataclass
class Tree:
    """Rows by their common beginnings; tokens in the order of a walk that enters each branch in turn."""

    ids: list[int] = field(default_factory=list)
    depths: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    """Where the branch of each token ends."""
    states: list[int] = field(default_factory=list)
    """The token after which each target stands."""
    targets: list[int] = field(default_factory=list)
    rows: list[tuple[int, list[int]]] = field(default_factory=list)
    """Place of each row, and those of the targets that it scores."""
    text: Ids = ()
    """The last row, its tokens and its targets."""
    path: list[int] = field(default_factory=list)
    line: list[int] = field(default_factory=list)

    def add(self, place: int, text: Ids, start: int, common: int) -> None:
        """Put in a row, of which `common` ids are the last one's; those from `start` on are scored.

        The last id of a row is predicted and not read.
        """
        kept = min(common, len(self.path), len(text) - 1)
        size = len(self.ids)
        self.ids += text[kept:-1]
        self.depths += range(kept, len(text) - 1)
        self.path = [*self.path[:kept], *range(size, len(self.ids))]
        self.ends += [0] * (len(self.ids) - size)
        for node in self.path:
            self.ends[node] = len(self.ids)
        old = max(common, 1) - 1  # targets that the last row has too
        new = range(len(self.targets), len(self.targets) + len(text) - 1 - old)
        self.line = [*self.line[:old], *new]
        self.states += self.path[old:]
        self.targets += text[old + 1 :]
        self.rows.append((place, self.line[start - 1 :]))
        self.text = text


@torch.no_grad()
def scored(model: Any, rows: Sequence[Row], batch_size: int) -> list[list[float]]:
    """Log-probability, in nats, of each id that is scored, for every row.

    Args:
        model: a causal LM in eval mode.
        batch_size: most rows at a time; changes the speed alone.
    """
    longest = LONGEST if can_branch(model) else 0
    values: list[list[float]] = [[] for _ in rows]
    for batch in _batches(_trees(rows, batch_size, longest), batch_size):
        hidden = _read(model, batch, branching=len(batch[0].ids) <= longest)
        for place, line in _lines(model, hidden, batch):
            values[place] = line
    return values


def _trees(rows: Sequence[Row], batch_size: int, longest: int) -> Iterator[Tree]:
    """All rows that score something, in trees of up to `longest` tokens; a longer one by itself."""
    texts = {place: (*before, *after) for place, (before, after) in enumerate(rows) if after}
    tree = Tree()
    for place in sorted(texts, key=texts.__getitem__):
        text = texts[place]
        common = _common(tree.text, text)
        new = len(text) - 1 - common
        size = len(tree.ids) + new
        fits = size <= min(USUAL, longest) or (2 * new < len(text) and size <= longest)
        if tree.rows and (not fits or len(tree.rows) == batch_size):
            yield tree
            tree, common = Tree(), 0
        tree.add(place, text, len(rows[place][0]), common)
    if tree.rows:
        yield tree


def _common(one: Ids, other: Ids) -> int:
    """How many first ids are the same."""
    for place, (mine, its) in enumerate(zip(one, other, strict=False)):
        if mine != its:
            return place
    return min(len(one), len(other))


def _batches(trees: Iterator[Tree], batch_size: int) -> Iterator[list[Tree]]:
    """Trees of like size; those that are too long for tree attention never beside others."""
    ordered = sorted(trees, key=lambda tree: len(tree.ids))
    for _, like in groupby(ordered, key=lambda tree: len(tree.ids) > LONGEST):
        batch: list[Tree] = []
        rows = 0
        for tree in like:
            rows += len(tree.rows)
            if batch and (rows > batch_size or _up(len(tree.ids)) * (len(batch) + 1) > POSITIONS):
                yield batch
                batch, rows = [], len(tree.rows)
            batch.append(tree)
        yield batch


def _read(model: Any, batch: list[Tree], *, branching: bool) -> Tensor:
    """(B * T, H) states after the tokens of each tree."""
    width = _up(max(len(tree.ids) for tree in batch))
    room = getattr(model.config.get_text_config(), "max_position_embeddings", None) or width

    def padded(lines: list[list[int]]) -> Tensor:
        return torch.tensor([[*line, *[0] * (width - len(line))] for line in lines], device=model.device)

    ids = padded([tree.ids for tree in batch])
    backbone = backbone_of(model)
    if branching:
        depths, ends = padded([tree.depths for tree in batch]), padded([tree.ends for tree in batch])
        # Padding sees itself, as something must be seen.
        mask = tree_mask(ends) | torch.eye(width, dtype=torch.bool, device=ids.device)
        with reading_trees(model):
            output = backbone(input_ids=ids, attention_mask=mask, position_ids=depths, use_cache=False)
    else:
        places = torch.arange(width, device=ids.device).clamp(max=room - 1).expand(len(batch), -1)
        output = backbone(
            input_ids=ids, attention_mask=torch.ones_like(ids), position_ids=places, use_cache=False
        )
    hidden: Tensor = output.last_hidden_state
    return hidden.flatten(0, 1)


def _lines(model: Any, hidden: Tensor, batch: list[Tree]) -> Iterator[tuple[int, list[float]]]:
    """Place and log-probabilities of each row, from the states of its tree."""
    width = len(hidden) // len(batch)
    needed = [sorted({target for _, line in tree.rows for target in line}) for tree in batch]
    states = [width * row + tree.states[i] for row, tree in enumerate(batch) for i in needed[row]]
    targets = [tree.targets[i] for row, tree in enumerate(batch) for i in needed[row]]
    on_device = torch.tensor([states, targets], device=hidden.device)
    head = without_adapter_wrapper(model)
    values = iter(token_logprobs(head, hidden[on_device[0]], on_device[1]).tolist())
    for row, tree in enumerate(batch):
        own = needed[row]
        value_of = dict(zip(own, islice(values, len(own)), strict=True))
        for place, line in tree.rows:
            yield place, [value_of[i] for i in line]


def token_logprobs(model: Any, states: Tensor, tokens: Tensor) -> Tensor:
    """(N,) log-probabilities of `tokens` after `states` (N, H), in fp32, by a causal LM's head."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    chunk = CHUNK if states.device.type != "cpu" else max(LANES, LOGITS // vocabulary)
    parts = []
    for part, wanted in zip(states.split(chunk), tokens.split(chunk), strict=True):
        enough = torch.cat([part, part[-1:].expand(LANES - len(part), -1)]) if len(part) < LANES else part
        logits = head_logits(model, enough)[: len(part)].float()
        parts.append(logits.gather(-1, wanted[:, None]).squeeze(-1) - logits.logsumexp(-1))
    return torch.cat(parts)


def _up(number: int) -> int:
    return -(-number // LANES) * LANES


_CAN_BRANCH: "WeakKeyDictionary[nn.Module, bool]" = WeakKeyDictionary()


def can_branch(model: Any) -> bool:
    """Whether a model reads a tree as it reads its rows one by one: two short ones are tried."""
    if model not in _CAN_BRANCH:
        with torch.random.fork_rng(devices=[]):  # some models draw numbers
            _CAN_BRANCH[model] = _tried(model)
    return _CAN_BRANCH[model]


def _tried(model: Any) -> bool:
    text = model.config.get_text_config()
    if getattr(model, "new_cache", None) is not None or rows_stay(model):
        return False
    layers = DynamicCache(config=model.config).layers
    if not all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers):
        return False
    length = min(LANES, getattr(text, "max_position_embeddings", None) or LANES)
    size = model.get_input_embeddings().weight.shape[0]
    ids = torch.linspace(0.1 * size, 0.9 * size, 2 * length).long().tolist()
    rows = [(ids[:1], ids[1:length]), (ids[:1], [*ids[1 : length // 2], *ids[length:]][: length - 1])]
    try:
        gaps = [
            [line for _, line in sorted(_lines(model, _read(model, batch, branching=branching), batch))]
            for branching, longest in ((True, LONGEST), (False, 0))
            for batch in [[*_trees(rows, 2, longest)]]
        ]
    except Exception:  # whatever a model raises when it is used in a way that it does not know
        return False
    branched, whole = (torch.tensor(lines) for lines in gaps)
    return bool((branched - whole).abs().max() <= _ROUNDING)


_ROUNDING = 1e-5
"""Nats; a model with more of it is read row by row, which is slower and never wrong."""
