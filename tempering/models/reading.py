"""How padded rows are read.

A mask and positions that count from the first real token make padding harmless to attention. They do not for
models whose states run over all positions, or that choose what to attend to before they look at the mask:
there the real tokens of each row are moved to the front, where nothing that follows can reach them, and what
was read is moved back.
"""

from typing import Any

from torch import Tensor

from tempering.models.families.padding import alignment

READS_PADDING = frozenset({"deepseek_v4", "recurrent_gemma"})
"""Model types whose output depends on the padding before a token (`python -m tests.models.sweep`)."""


def position_ids(attention_mask: Tensor) -> Tensor:
    """(B, T) positions that count from the first real token of left-padded rows."""
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)


def reads_padding(model: Any) -> bool:
    """Whether padding before a token changes what `model` makes of it."""
    return bool({model.config.model_type, model.config.get_text_config().model_type} & READS_PADDING)


def read(backbone: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """(B, T, H) last hidden states of `backbone`, which do not depend on padding."""
    moved = alignment(attention_mask, input_ids.shape[1]) if reads_padding(backbone) else None
    if moved is not None:
        input_ids = input_ids.gather(1, moved.order)
        attention_mask = attention_mask.gather(1, moved.order)
    hidden: Tensor = backbone(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=position_ids(attention_mask),
        use_cache=False,
    ).last_hidden_state
    return hidden if moved is None else moved.back(hidden)


def without_adapter_wrapper(model: Any) -> Any:
    """The causal LM inside a PEFT model; its adapter stays active."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def backbone_of(model: Any) -> Any:
    """What a causal LM runs before its head."""
    model = without_adapter_wrapper(model)
    # Llama 4 and others with a text part name one that they do not have.
    return model.model if model.base_model is model else model.base_model
