"""`kgram`: a neural k-gram (Bengio et al. 2003), an MLP over the embeddings of the last k tokens.

    y_t = x_t + V [P x_(t-k+1); ...; P x_t]        then residual blocks  y + down(silu(gate(y)) * up(y))

P narrows each token before the window, which allows a large k; V is the first layer of the MLP; the blocks
(SwiGLU, Shazeer 2020) are the rest of it. Only the window sees more than one position, so the model is
causal by construction and depends on exactly k tokens. Before the start of a sequence there are zeros.
"""

import torch
from torch import Tensor, nn

from tempering.models.families.config import KGramModelConfig
from tempering.models.families.sequence import (
    SequenceForCausalLM,
    SequenceForSequenceClassification,
    SequenceLayer,
    SequenceModel,
)
from tempering.models.families.state import Memory


class WindowLayer(SequenceLayer):
    """Brings the last k tokens together at each position."""

    def __init__(self, config: KGramModelConfig) -> None:
        super().__init__()
        self.context, self.width = config.context_size, config.token_size
        self.token = nn.Linear(config.hidden_size, config.token_size, bias=False)
        self.mix = nn.Linear(config.context_size * config.token_size, config.hidden_size, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, hidden: Tensor, memory: Memory | None, lengths: Tensor | None, keep: bool
    ) -> tuple[Tensor, Memory | None]:
        """See `SequenceLayer`; the memory is the last k - 1 narrowed tokens, (B, k - 1, token_size)."""
        tokens = self.token(hidden)
        batch, length, _ = tokens.shape
        past = memory[0].to(tokens.dtype) if memory else tokens.new_zeros(batch, self.context - 1, self.width)
        line = torch.cat([past, tokens], dim=1)  # (B, k - 1 + T, token_size)
        windows = line.unfold(1, self.context, 1).transpose(2, 3).reshape(batch, length, -1)
        hidden = hidden + self.dropout(self.mix(windows))
        return hidden, (self._last(line, lengths),) if keep else None

    def _last(self, line: Tensor, lengths: Tensor | None) -> Tensor:
        """The k - 1 entries of each row that end with its last real token."""
        if lengths is None:
            return line[:, line.shape[1] - self.context + 1 :].clone()
        positions = lengths[:, None] + torch.arange(self.context - 1, device=line.device)  # (B, k - 1)
        return line.gather(1, positions[..., None].expand(-1, -1, self.width))


class MLPLayer(SequenceLayer):
    """A block of the MLP, at each position alone: it needs no memory."""

    def __init__(self, config: KGramModelConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.norm = nn.RMSNorm(width, eps=config.rms_norm_eps)
        self.gate = nn.Linear(width, inner, bias=False)
        self.up = nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, hidden: Tensor, memory: Memory | None, lengths: Tensor | None, keep: bool
    ) -> tuple[Tensor, Memory | None]:
        """See `SequenceLayer`."""
        inputs = self.norm(hidden)
        update = self.down(nn.functional.silu(self.gate(inputs)) * self.up(inputs))
        return hidden + self.dropout(update), None


class KGramModel(SequenceModel):
    """The backbone."""

    config_class = KGramModelConfig

    def make_layers(self, config: KGramModelConfig) -> list[SequenceLayer]:
        """The window, then `num_hidden_layers` blocks."""
        return [WindowLayer(config), *(MLPLayer(config) for _ in range(config.num_hidden_layers))]


class KGramForCausalLM(SequenceForCausalLM):
    """The language model."""

    config_class = KGramModelConfig
    backbone_class = KGramModel


class KGramForSequenceClassification(SequenceForSequenceClassification):
    """The classifier."""

    config_class = KGramModelConfig
    backbone_class = KGramModel
