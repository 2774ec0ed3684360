"""The models of a stage as shapes: made from an architecture, or from the config.json of what exists.

Call the builders inside `trace.shapes_only()`. They go through the same code as training does
(`hf_config`, `add_adapter`), so counts are exact for every family, adapter and head.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from tempering.errors import ArtifactError
from tempering.memory.trace import nbytes, unique_parameters
from tempering.model_config import Architecture, LoraConfig
from tempering.models.adapters import add_adapter
from tempering.models.architecture import hf_config
from tempering.models.loading import DTYPES

# 4 bits a weight, and a doubly quantised scale (8 bits, 32 in 256 of them) for every 64 of them
NF4_BYTES = 0.5 + (1 + 4 / 256) / 64


@dataclass(frozen=True)
class FromArchitecture:
    """A model made from scratch for a vocabulary of this size."""

    architecture: Architecture
    vocab_size: int

    def hf_config(self) -> Any:
        """The Hugging Face config of the new model."""
        return hf_config(self.architecture, self.vocab_size, _SPECIAL)


@dataclass(frozen=True)
class FromFolder:
    """A model that exists: a folder, or a Hub name that is in the cache."""

    name: str | Path
    revision: str = "main"
    trust_remote_code: bool = False

    def hf_config(self) -> Any:
        """Its config.

        Raises:
            ArtifactError: it is not there, or of an unknown type.
        """
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(
                str(self.name),
                revision=self.revision,
                local_files_only=True,
                trust_remote_code=self.trust_remote_code,
            )
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(
                f"{self.name} cannot be inspected: {str(error).splitlines()[0]}",
                expected="a folder with config.json, or a Hub name that is in the cache",
            ) from None


Source = FromArchitecture | FromFolder


_SPECIAL: dict[str, int | None] = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}


def language_model(source: Source, adapter: LoraConfig | None = None) -> Any:
    """The causal LM to train; with an adapter on a frozen base where there is one."""
    from transformers import AutoModelForCausalLM

    with _nowhere():
        model = AutoModelForCausalLM.from_config(source.hf_config(), **_loading(source, adapter))
        model = _adapted(model, adapter, "CAUSAL_LM")
    return as_shapes(model)


def scorer(source: Source, adapter: LoraConfig | None = None) -> Any:
    """The reward model: the body of `source` with a score head, read at the last real token."""
    from transformers import AutoModelForSequenceClassification

    from tempering.models.pooling import pooled_at_last_real_token

    with _nowhere():
        config = source.hf_config()
        config.num_labels = 1
        model = AutoModelForSequenceClassification.from_config(config, **_loading(source, adapter))
        if hasattr(model, "score"):
            model.score.float()  # as `load_scorer` does
        model = _adapted(pooled_at_last_real_token(model), adapter, "SEQ_CLS")
    return as_shapes(model)


def value_model(source: Source, adapter: LoraConfig | None = None) -> Any:
    """PPO's value model with a trunk of its own."""
    from transformers import AutoModel

    from tempering.onpolicy.value import ValueModel

    with _nowhere():
        body = AutoModel.from_config(source.hf_config(), **_loading(source, adapter))
        model = ValueModel(_adapted(body, adapter, None), body.config.get_text_config().hidden_size)
    return as_shapes(model)


@contextmanager
def _nowhere() -> Iterator[None]:
    """Modules made here are on PyTorch's meta device: every way of building and casting works there."""
    with unset_fake_temporarily(), torch.device("meta"):
        yield


def as_shapes(module: nn.Module) -> Any:
    """`module` with fake tensors on the CPU in the place of its parameters and buffers, ties kept."""
    shapes: dict[int, torch.Tensor] = {}
    for part in module.modules():
        for name, old in [*part._parameters.items(), *part._buffers.items()]:
            if old is None:
                continue
            if id(old) not in shapes:
                new = torch.empty(old.shape, dtype=old.dtype, device="cpu")
                is_parameter = isinstance(old, nn.Parameter)
                shapes[id(old)] = nn.Parameter(new, old.requires_grad) if is_parameter else new
            setattr(part, name, shapes[id(old)])
    return module


def _loading(source: Source, adapter: LoraConfig | None) -> dict[str, Any]:
    """fp32, or what the config holds a frozen base in; 4-bit layers are computed in bf16."""
    weights = adapter.base_weights if adapter else "fp32"
    trust = {"trust_remote_code": True} if getattr(source, "trust_remote_code", False) else {}
    return {"dtype": DTYPES["bf16" if weights == "nf4" else weights], **trust}


def _adapted(model: Any, adapter: LoraConfig | None, task_type: str | None) -> Any:
    if adapter is None:
        return model
    return add_adapter(model, adapter.model_copy(update={"base_weights": "bf16"}), 0, task_type)


def weight_bytes(module: nn.Module, adapter: LoraConfig | None = None) -> int:
    """What the parameters and buffers of a model take, tied ones once; 4-bit linear layers by arithmetic."""
    whole: int = nbytes(unique_parameters([module])) + nbytes(module.buffers())
    if adapter is None or adapter.base_weights != "nf4":
        return whole
    linear = {
        id(part.weight)
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear) and "lora_" not in name and not name.endswith("lm_head")
    }
    frozen = [weight for weight in unique_parameters([module]) if not weight.requires_grad]
    in_four_bits: int = sum(weight.numel() for weight in frozen if id(weight) in linear)
    others: int = sum(weight.numel() for weight in frozen if id(weight) not in linear)  # PEFT: in fp32
    return whole - int(nbytes(frozen)) + int(in_four_bits * NF4_BYTES) + 4 * others
