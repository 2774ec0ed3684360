"""The value model: a scalar at every position, V(s_t).

Its trunk is its own (a copy of the policy's or the reward model's, with an adapter of its own where the
policy has one), or the policy's, with a head beside the LM head. Heads start at zero, so that the first
advantages are the returns themselves. It is saved beside the policy in every checkpoint.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tempering.model_config import LoraConfig
from tempering.models.adapters import add_adapter
from tempering.models.loading import load_body
from tempering.models.reading import read
from tempering.models.saved_weights import check_tensors, check_weights, load_weights

_HEAD = "value_head.safetensors"


class ValueHead(nn.Linear):
    """A head on an existing trunk: values (B, T) from hidden states (B, T, H)."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__(hidden_size, 1)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def save(self, folder: Path) -> None:
        """Write it as safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.state_dict(), folder / _HEAD)

    def restore(self, folder: Path) -> None:
        """Take over what `save` wrote, in place."""
        self.load_state_dict(load_file(folder / _HEAD))

    def check(self, folder: Path) -> None:
        """Refuse what `restore` could not take over."""
        check_tensors(self.state_dict(), [folder / _HEAD])

    def forward(self, hidden: Tensor) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):  # half precision would quantise the values
            return super().forward(hidden.float()).squeeze(-1)


class ValueModel(nn.Module):
    """A head with a trunk of its own: values (B, T) of the states before each next token."""

    def __init__(self, backbone: nn.Module, hidden_size: int) -> None:
        super().__init__()
        self.backbone, self.head = backbone, ValueHead(hidden_size)

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        adapter: LoraConfig | None = None,
        *,
        seed: int = 0,
        trust_remote_code: bool = False,
    ) -> "ValueModel":
        """A trunk from a causal LM or reward model folder (or one written by `save`, with its head).

        Args:
            adapter: train this on a frozen trunk instead of all its weights.
        """
        weights = adapter.base_weights if adapter else "fp32"
        backbone = load_body(folder, weights=weights, trust_remote_code=trust_remote_code)
        model = cls(add_adapter(backbone, adapter, seed, None), backbone.config.get_text_config().hidden_size)
        if (folder / _HEAD).exists():
            model.head.restore(folder)
        return model

    def save(self, folder: Path) -> None:
        """Write trunk (or its adapter) and head as safetensors."""
        self.backbone.save_pretrained(folder)
        self.head.save(folder)

    def restore(self, folder: Path) -> None:
        """Take over what `save` wrote, in place."""
        load_weights(self.backbone, folder)
        self.head.restore(folder)

    def check(self, folder: Path) -> None:
        """Refuse what `restore` could not take over."""
        check_weights(self.backbone, folder)
        self.head.check(folder)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(read(self.backbone, input_ids, attention_mask))
