"""The value model: any backbone with a scalar head on every position, V(s_t).

The trunk is its own (a copy of the policy's or the reward model's); the head starts at zero, so
that the first advantages are the returns themselves. It is saved beside the policy in every
checkpoint.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class ValueModel(nn.Module):
    """Values (B, T) of the states before each next token."""

    def __init__(self, backbone: nn.Module, hidden_size: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(hidden_size, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @classmethod
    def from_folder(cls, folder: Path) -> "ValueModel":
        """A trunk from a causal LM or reward model folder (or one written by `save`, with its head)."""
        from transformers import AutoModel

        backbone = AutoModel.from_pretrained(str(folder), dtype=torch.float32)
        model = cls(backbone, backbone.config.get_text_config().hidden_size)
        head = folder / "value_head.safetensors"
        if head.exists():
            model.head.load_state_dict(load_file(head))
        return model

    def save(self, folder: Path) -> None:
        """Write trunk and head as safetensors."""
        self.backbone.save_pretrained(folder)
        save_file(self.head.state_dict(), folder / "value_head.safetensors")

    def forward(self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor) -> Tensor:
        hidden = self.backbone(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=False
        ).last_hidden_state
        return self.head(hidden).squeeze(-1)
