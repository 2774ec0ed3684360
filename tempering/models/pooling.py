"""The score of a sequence is read at its last real token, by the attention mask.

transformers looks for the last token that is not the pad token: with pad == EOS it skips the EOS that ends
the answer, the very place where a reward model is trained to judge. The mask tells that EOS from padding, and
only one state per row goes through the head. With a separate pad token both ways agree.
"""

from typing import Any

import torch
from torch import Tensor


def last_real_token(attention_mask: Tensor) -> Tensor:
    """(B,) index of the last 1 in each row of (B, T), wherever the padding is."""
    positions = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    return (attention_mask.long() * positions).argmax(-1)


def pooled_at_last_real_token(model: Any) -> Any:
    """`model` (a sequence classifier with a linear `score`) with that pooling, in place."""
    if not hasattr(model, "score"):
        return model  # it pools in its own way

    # Stands in for the model's forward, with the signature that trainers look at.

    def forward(
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        from transformers.modeling_outputs import SequenceClassifierOutputWithPast

        inputs = input_ids if input_ids is not None else inputs_embeds
        assert inputs is not None, "neither ids nor embeddings"
        kwargs.pop("labels", None)  # losses are computed by trainers
        hidden = model.base_model(
            input_ids=input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, **kwargs
        ).last_hidden_state
        # One state per row, in fp32 as the head is.
        mask = attention_mask if attention_mask is not None else torch.ones(inputs.shape[:2])
        rows = torch.arange(len(hidden), device=hidden.device)
        pooled = hidden[rows, last_real_token(mask).to(hidden.device)]
        return SequenceClassifierOutputWithPast(logits=model.score(pooled.float()))

    model.forward = forward
    return model
