"""How large a new model is at least: sizes that no machine holds are refused before anything is allocated.

It goes by names in the config. Families name their sizes differently; what has none of these is not judged.
"""

from collections.abc import Mapping
from typing import Any

MOST_POSITIONS = 100_000_000
MOST_PARAMETERS = 10**12
"""Of a model made here in one process: its fp32 weights, gradients and AdamW's state are 16 TB."""

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_WIDTHS = ("hidden_size", "n_embd", "d_model", "embedding_size", "word_embed_proj_dim")
_INNER = ("intermediate_size", "n_inner", "ffn_dim", "d_ff", "state_size")
_EXPERT_INNER = ("moe_intermediate_size", "moe_hidden_size", "expert_ffn_hidden_size")
_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx")
_OTHER = ("num_attention_heads", "n_head", "num_key_value_heads", "head_dim", "context_size", "token_size")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
_MAY_BE_NONE = (*_INNER, *_EXPERT_INNER, *_EXPERTS)
_MOST = {
    **dict.fromkeys(_LAYERS, 10_000),
    **dict.fromkeys(_WIDTHS, 1_000_000),
    **dict.fromkeys((*_INNER, *_EXPERT_INNER), 10_000_000),
    **dict.fromkeys(_POSITIONS, MOST_POSITIONS),
    **dict.fromkeys((*_OTHER, *_EXPERTS), 100_000),
    "vocab_size": 10_000_000,
}


def size_problem(settings: Mapping[str, Any]) -> str:
    """What is wrong with the sizes in a Hugging Face config; "" if nothing that can be told from here."""
    inner = settings.get("text_config")  # of a model that sees or hears as well
    if isinstance(inner, Mapping):
        settings = {**settings, **inner}
    for name, most in _MOST.items():
        value = settings.get(name)
        numbers = value if isinstance(value, list) else [] if value is None else [value]
        fewest = 0 if name in _MAY_BE_NONE else 1
        if not all(isinstance(number, int) and fewest <= number <= most for number in numbers):
            return f"{name} is {value!r}; expected a whole number from {fewest} to {most:,}"
    least = least_parameters(settings)
    if least > MOST_PARAMETERS:
        return f"such a model has at least {least:.1e} parameters; expected at most {MOST_PARAMETERS:.0e}"
    return ""


def least_parameters(settings: Mapping[str, Any]) -> int:
    """Parameters that a model has at least: two matrices of attention and two of an MLP a layer.

    An expert may be smaller than a layer without experts: how wide, its own setting says, where there is one.
    """
    layers, width = _largest(settings, _LAYERS), _largest(settings, _WIDTHS)
    expert = _largest(settings, _EXPERT_INNER) or _largest(settings, _INNER)
    inner = expert * max(1, _largest(settings, _EXPERTS))
    return layers * (2 * width * width + 2 * width * inner)


def _largest(settings: Mapping[str, Any], names: tuple[str, ...]) -> int:
    return max((value for name in names if isinstance(value := settings.get(name), int)), default=0)
