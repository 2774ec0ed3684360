"""The prompts of a sample, in the order in which rollouts take them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch


class Prompts:
    """The prompts of a sample: token ids, messages and further columns.

    Each pass over them has its own order, made from the seed and the number of the pass; `ordered`
    ones (by a curriculum) keep theirs.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], seed: int, *, ordered: bool = False) -> None:
        self.rows, self.seed, self.ordered = rows, seed, ordered
        self._order: tuple[int, list[int]] = (-1, [])  # the pass it belongs to

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rollout: int, config: Any) -> list[Mapping[str, Any]]:
        """The prompts of a rollout, each `num_completions` times, siblings side by side."""
        count = config.rollout_batch_size // config.num_completions
        picked = [self._at(rollout * count + index) for index in range(count)]
        return [row for row in picked for _ in range(config.num_completions)]

    def _at(self, position: int) -> Mapping[str, Any]:
        epoch, index = divmod(position, len(self.rows))
        if self.ordered:
            return self.rows[index]
        if self._order[0] != epoch:
            generator = torch.Generator().manual_seed(self.seed * 7919 + epoch)
            self._order = epoch, torch.randperm(len(self.rows), generator=generator).tolist()
        return self.rows[self._order[1][index]]
