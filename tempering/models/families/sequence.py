"""A language model with a state: the parts that `lstm` and `kgram` share.

Embeddings, residual layers, a final norm. A family says which layers; each takes its own memory and
returns it, so reading on from a cache, padding, hidden states and checkpointing are written once. The
classes have the form that transformers and TRL ask for: the backbone sits at `self.model`, the heads are
called `lm_head` and `score`.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    CausalLMOutputWithPast,
    SequenceClassifierOutputWithPast,
)
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils import can_return_tuple

from tempering.models.families.config import SequenceConfig
from tempering.models.families.padding import alignment
from tempering.models.families.state import Memory, State
from tempering.models.pooling import last_real_token


class SequenceLayer(GradientCheckpointingLayer):
    """A layer of a family: adds to (B, T, H) and keeps a memory where it needs one."""

    def forward(
        self, hidden: Tensor, memory: Memory | None, lengths: Tensor | None, keep: bool
    ) -> tuple[Tensor, Memory | None]:
        """One layer.

        Args:
            hidden: (B, T, H) with the real tokens of each row in front.
            memory: what this layer returned last time; None at the start of a sequence.
            lengths: (B,) real tokens of each row; None: all are.
            keep: return the memory after each row's last real token (else None).
        """
        raise NotImplementedError

    def initialise(self) -> None:
        """Set the layer's own parameters, beside those of the modules in it."""


class SequencePreTrainedModel(PreTrainedModel):
    """What every class of both families is to transformers."""

    config_class = SequenceConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = ["LSTMLayer", "WindowLayer", "MLPLayer"]
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values"]
    _is_stateful = True

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # keys and values of attention are no state of ours

    def new_cache(self) -> State:
        """An empty cache of this model's own kind; decoders ask for it before they make a KV cache."""
        return State()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, std=module.in_features**-0.5)
        if isinstance(module, SequenceLayer):
            module.initialise()


class SequenceModel(SequencePreTrainedModel):
    """The backbone: ids or embeddings in, hidden states out."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(self.make_layers(config))
        self.norm = nn.RMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    def make_layers(self, config: Any) -> list[SequenceLayer]:
        """The layers of the family."""
        raise NotImplementedError

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: State | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        **_: Any,
    ) -> Any:
        """Hidden states (B, T, H) of ids (B, T).

        Args:
            attention_mask: 0 at padding, wherever it is; with a cache it may cover the past too.
            position_ids: accepted and not used; order is all these models know.
            past_key_values: the state to go on from; it is changed in place.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        keep = self.config.use_cache and not self.training if use_cache is None else use_cache
        state = past_key_values if past_key_values is not None else State()
        aligned = alignment(attention_mask, hidden.shape[1])
        hidden = self.dropout(aligned.to_front(hidden) if aligned else hidden)
        seen = [hidden]
        for index, layer in enumerate(self.layers):
            hidden, memory = layer(hidden, state.get(index), aligned and aligned.lengths, keep)
            seen.append(hidden)
            if keep:
                state.memories[index] = memory
        state.seen += hidden.shape[1] if keep else 0
        hidden = seen[-1] = self.norm(hidden)
        if aligned:
            hidden = aligned.back(hidden)
            seen = [aligned.back(one) for one in seen] if output_hidden_states else []
        return BaseModelOutputWithPast(
            last_hidden_state=hidden,
            past_key_values=state if keep else None,
            hidden_states=tuple(seen) if output_hidden_states else None,
        )


class SequenceForCausalLM(SequencePreTrainedModel, GenerationMixin):
    """The backbone with a language model head, tied to the embeddings unless the config says otherwise."""

    backbone_class: ClassVar[type[SequenceModel]]
    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = self.backbone_class(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: State | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> Any:
        """Logits (B, T, V), of the last `logits_to_keep` positions where that is not 0."""
        found = self.model(
            input_ids=input_ids, attention_mask=attention_mask, past_key_values=past_key_values,
            inputs_embeds=inputs_embeds, use_cache=use_cache, output_hidden_states=output_hidden_states,
        )  # fmt: skip
        logits = self.lm_head(slice_logits_to_keep(found.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs
            )
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=found.past_key_values,
            hidden_states=found.hidden_states,
        )


class SequenceForSequenceClassification(SequencePreTrainedModel):
    """The backbone with a linear head on the state of the last real token: a reward model with one output.

    The attention mask says which token that is, so padding may be on either side and may be the EOS token.
    """

    backbone_class: ClassVar[type[SequenceModel]]

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = self.backbone_class(config)
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: State | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        **_: Any,
    ) -> Any:
        """Scores (B, num_labels)."""
        found = self.model(
            input_ids=input_ids, attention_mask=attention_mask, past_key_values=past_key_values,
            inputs_embeds=inputs_embeds, use_cache=use_cache, output_hidden_states=output_hidden_states,
        )  # fmt: skip
        hidden = found.last_hidden_state
        last = hidden.shape[1] - 1
        if attention_mask is not None:
            last = last_real_token(attention_mask[:, -hidden.shape[1] :])
        scores = self.score(hidden[torch.arange(len(hidden), device=hidden.device), last])
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, logits=scores, pooled_logits=scores, config=self.config)
        return SequenceClassifierOutputWithPast(
            loss=loss,
            logits=scores,
            past_key_values=found.past_key_values,
            hidden_states=found.hidden_states,
        )
