"""A language model with a state: the parts that `lstm` and `kgram` share.

Embeddings, residual layers, a final norm. A family defines the layers; each takes and returns its own memory,
so continuing from a cache, padding, hidden states and checkpointing are written once. The classes have the
form that transformers and TRL expect: the backbone is `self.model`, the heads are `lm_head` and `score`.
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
    """A layer of a family: adds to (B, T, H) and has a memory if it needs one."""

    def forward(
        self, hidden: Tensor, memory: Memory | None, lengths: Tensor | None, keep: bool
    ) -> tuple[Tensor, Memory | None]:
        """The new (B, T, H) and the memory.

        Args:
            hidden: (B, T, H) with the real tokens of each row first.
            memory: what this layer returned last time; None at the start of a sequence.
            lengths: (B,) number of real tokens of each row; None: all are real.
            keep: return the memory after each row's last real token (else None).
        """
        raise NotImplementedError

    def initialise(self) -> None:
        """Initialise the parameters that are not in a submodule."""


class SequencePreTrainedModel(PreTrainedModel):
    """What transformers must know about every class of both families."""

    config_class = SequenceConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = ["LSTMLayer", "WindowLayer", "MLPLayer"]
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values"]
    _is_stateful = True

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # the default cache holds keys and values, which these models do not have

    def new_cache(self) -> State:
        """An empty cache of this model's own kind; decoders use it instead of a KV cache."""
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
            position_ids: accepted but not used; these models only know the order of tokens.
            past_key_values: the state to continue from; changed in place.
        """
        # Inputs: embeddings, whether to keep a state, and the state so far.
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        hidden = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        keep = self.config.use_cache and not self.training if use_cache is None else use_cache
        state = past_key_values if past_key_values is not None else State()
        # Padding moves behind the real tokens of its row, where no layer's state meets it.
        aligned = alignment(attention_mask, hidden.shape[1])
        hidden = self.dropout(aligned.to_front(hidden) if aligned else hidden)
        # Each layer continues from its own memory.
        layer_outputs = [hidden]
        for index, layer in enumerate(self.layers):
            hidden, memory = layer(hidden, state.get(index), aligned and aligned.lengths, keep)
            layer_outputs.append(hidden)
            if keep:
                state.memories[index] = memory
        state.seen += hidden.shape[1] if keep else 0
        hidden = layer_outputs[-1] = self.norm(hidden)
        # Outputs move back to the places of their tokens.
        if aligned:
            hidden = aligned.back(hidden)
            layer_outputs = [aligned.back(output) for output in layer_outputs] if output_hidden_states else []
        return BaseModelOutputWithPast(
            last_hidden_state=hidden,
            past_key_values=state if keep else None,
            hidden_states=tuple(layer_outputs) if output_hidden_states else None,
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
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
        )
        # Logits are the largest tensor: only those that are asked for are computed.
        logits = self.lm_head(slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep))
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs
            )
        return CausalLMOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
        )


class SequenceForSequenceClassification(SequencePreTrainedModel):
    """The backbone with a linear head on the state of the last real token: a reward model with one output.

    The attention mask tells which token that is: padding may be on either side, and may be the EOS token.
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
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
        )
        # The state of each row's last real token.
        hidden = outputs.last_hidden_state
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
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
        )
