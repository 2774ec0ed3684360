"""Keys and values for decoding, in buffers that are allocated once.

transformers has a dynamic cache that copies all of itself at each token, and a static one whose attention
runs over its whole length at each token, as CUDA graphs need it. This layer is allocated like the static
one and read up to what is filled. Layers of other kinds (sliding windows, linear attention) stay as
transformers makes them.
"""

import inspect
from typing import Any

from torch import Tensor
from transformers import Cache, DynamicCache, StaticCache
from transformers.cache_utils import CacheLayerMixin, DynamicLayer

from tempering.models.reading import without_adapter_wrapper


class FilledLayer(CacheLayerMixin):
    """One layer's keys and values, (B, heads, length, head size)."""

    is_sliding = False

    def __init__(self, length: int) -> None:
        super().__init__()
        self.length, self.filled = length, 0

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Allocate buffers that fit the first keys and values."""
        self.keys, self.values = (
            states.new_empty(*states.shape[:2], self.length, states.shape[-1])
            for states in (key_states, value_states)
        )
        self.device, self.dtype = key_states.device, key_states.dtype
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append the new keys and values; views of all so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, self.filled = self.filled, self.filled + key_states.shape[-2]
        self.keys[:, :, start : self.filled] = key_states
        self.values[:, :, start : self.filled] = value_states
        return self.keys[:, :, : self.filled], self.values[:, :, : self.filled]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of the keys that a mask must cover."""
        return self.filled + query_length, 0

    def get_seq_length(self) -> int:
        """Tokens held."""
        return self.filled

    def get_max_length(self) -> int:
        """Tokens there is room for."""
        return self.length


def cache_name(model: Any) -> str:
    """The argument, and the field of the output, by which `model` takes and gives its cache."""
    names = inspect.signature(type(without_adapter_wrapper(model)).forward).parameters
    return "cache_params" if "cache_params" in names else "past_key_values"


def rows_stay(model: Any) -> bool:
    """Whether the rows of a batch must stay as they are: the model keeps a state that nobody can divide."""
    bare = without_adapter_wrapper(model)
    own_cache = getattr(bare, "new_cache", None) is not None
    return bare.config.model_type in _STATE_INSIDE or not (
        own_cache or bare._supports_default_dynamic_cache()
    )


_STATE_INSIDE = {"recurrent_gemma"}  # in its layers, not in the cache


def new_cache(model: Any, length: int, *, static: bool = False) -> Any:
    """The cache that `model` decodes with: the model's own, else keys and values; None: it makes one itself.

    Args:
        length: most tokens, prompt included.
        static: of fixed shape at every step, as `torch.compile` and CUDA graphs need it.
    """
    make = getattr(model, "new_cache", None)
    if make is not None:
        return make()
    if not without_adapter_wrapper(model)._supports_default_dynamic_cache():
        return None
    if static:
        return StaticCache(config=model.config, max_cache_len=length)
    layers = DynamicCache(config=model.config).layers
    return Cache([FilledLayer(length) if type(layer) is DynamicLayer else layer for layer in layers])
