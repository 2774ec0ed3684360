"""The cache for generation of a model with a state: what it remembers between two calls.

Per layer a tuple of tensors, batch first, whose size does not grow with the sequence. It offers what
`generate()` expects of a cache: reordering for beams, repeating, selecting. It cannot forget the last tokens,
so transformers refuses decoding that takes proposals back (assisted generation).
"""

from collections.abc import Callable

from torch import Tensor

Memory = tuple[Tensor, ...]


class State:
    """Empty at first; the model fills it in place."""

    is_compileable = False

    def __init__(self) -> None:
        self.memories: dict[int, Memory | None] = {}
        self.seen = 0

    def get(self, layer: int) -> Memory | None:
        """A layer's memory; None at the start of a sequence."""
        return self.memories.get(layer)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens read so far, padding included."""
        return self.seen

    def reset(self) -> None:
        """Return to the start of a sequence."""
        self.memories, self.seen = {}, 0

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Row i becomes what row `beam_idx[i]` was."""
        self._change(lambda tensor: tensor.index_select(0, beam_idx.to(tensor.device)))

    batch_select_indices = reorder_cache

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every row `repeats` times, its copies side by side."""
        self._change(lambda tensor: tensor.repeat_interleave(repeats, dim=0))

    def _change(self, change: Callable[[Tensor], Tensor]) -> None:
        self.memories = {
            layer: memory and tuple(map(change, memory)) for layer, memory in self.memories.items()
        }
