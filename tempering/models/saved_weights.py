"""The weights of a checkpoint, back into the model that wrote them: all of them, and nothing else.

Trainer loads what it can and leaves the rest as it is, in silence. Families whose weights have other names on
disk (the experts of a mixture) would go on with those they began with.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from tempering.errors import ArtifactError

_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64"}


def load_weights(model: Any, folder: Path) -> None:
    """Load the weights of a checkpoint folder (full model or adapter) into `model`, in place.

    Raises:
        ArtifactError: they are not the weights of this model; nothing has been loaded then.
    """
    check_weights(model, folder)
    if hasattr(model, "peft_config"):
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, load_file(_parts(model, folder)[0]))
        return
    weights: dict[str, Tensor] = {}
    for part in _parts(model, folder):
        weights.update(load_file(part))
    if weights.keys() <= model.state_dict().keys():
        model.load_state_dict(weights, strict=False)  # a tensor with two names is stored under one
        return
    # Names of the family's own on disk: transformers turns them into the model's. fp32 holds every dtype.
    again = type(model).from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    model.load_state_dict(again.state_dict())


def check_weights(model: Any, folder: Path) -> None:
    """Refuse a folder whose weights are not those of `model`, by names, shapes and dtypes; no tensor is read.

    Raises:
        ArtifactError: naming the first few.
    """
    if hasattr(model, "peft_config"):
        from peft import get_peft_model_state_dict

        check_tensors(get_peft_model_state_dict(model), _parts(model, folder))
        return
    from transformers.core_model_loading import revert_weight_conversion

    # What `save_pretrained` writes: a tensor once, whatever its names, and some not at all.
    state = model.state_dict()
    first_names: dict[int, str] = {}
    twins = {name: first_names.setdefault(tensor.data_ptr(), name) for name, tensor in state.items()}
    left_out = getattr(model, "_keys_to_ignore_on_save", None) or ()
    shapes = {name: tensor.to("meta") for name, tensor in state.items() if name not in left_out}
    check_tensors(revert_weight_conversion(model, shapes), _parts(model, folder), twins)


def check_tensors(
    expected: Mapping[str, Tensor], files: list[Path], twins: Mapping[str, str] | None = None
) -> None:
    """Refuse safetensors `files` that do not hold the `expected` tensors, by names, shapes and dtypes.

    Args:
        twins: name -> the first name of the same tensor, where one has several.

    Raises:
        ArtifactError: naming the first few.
    """
    stored = _headers(files)
    twins = twins or {}
    there = {twins.get(name, name) for name in stored}
    faults = {
        "missing": [name for name in expected if twins.get(name, name) not in there],
        "unexpected": [name for name in stored if name not in expected],
        "of another shape or dtype": [
            name
            for name, (dtype, shape) in stored.items()
            if name in expected
            and (shape != list(expected[name].shape) or dtype != _DTYPES.get(expected[name].dtype, dtype))
        ],
    }
    if any(faults.values()):
        summary = "; ".join(f"{fault}: {', '.join(names[:5])}" for fault, names in faults.items() if names)
        raise ArtifactError(
            f"{files[0].parent}: not the weights of this model: {summary}",
            expected="the weights of this model",
            fix="remove this checkpoint and run again",
        )


def _headers(files: list[Path]) -> dict[str, tuple[str, list[int]]]:
    """Name -> dtype and shape of every tensor in `files`."""
    headers: dict[str, tuple[str, list[int]]] = {}
    for file in files:
        try:
            with safe_open(file, "pt") as tensors:
                slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118
                headers |= {name: (part.get_dtype(), part.get_shape()) for name, part in slices.items()}
        except (OSError, SafetensorError) as error:
            raise ArtifactError(
                f"{file}: {str(error).splitlines()[0]}",
                expected="safetensors",
                fix="remove this checkpoint and run again",
            ) from None
    return headers


def _parts(model: Any, folder: Path) -> list[Path]:
    """The files that hold the weights of `model`; the one that should be there where there is none."""
    if hasattr(model, "peft_config"):
        return [folder / "adapter_model.safetensors"]
    return sorted(folder.glob("model*.safetensors")) or [folder / "model.safetensors"]
