"""Refuse weights that were quantised before they came here, before anything is loaded.

Adopted weights are trained, merged, converted and exported; integers with scales beside them allow none of
that, and reading them needs packages that differ by method. QLoRA needs none of it: `base_weights: nf4`
quantises whole weights while loading.
"""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from tempering.errors import ArtifactError

_FILES = {
    "quantize_config.json": "gptq",
    "quant_config.json": "awq",
}  # beside a config.json that says nothing
_PACKED = (".qweight", ".qzeros", ".weight_packed", ".weight_scale", ".weight_scale_inv", ".absmax", ".SCB")
_DEQUANTISED = ("bitsandbytes", "fp8", "mxfp4", "finegrained_fp8", "fbgemm_fp8", "compressed-tensors")


def refuse_quantised(folder: Path, settings: dict[str, Any]) -> None:
    """Refuse a folder whose config.json or tensors say that its weights are quantised.

    Raises:
        ArtifactError: naming the method and what to take instead.
    """
    method = _declared(folder, settings) or _packed(folder)
    if method is None:
        return
    remedy = (
        "; or load it with transformers, call model.dequantize(), and adopt what save_pretrained writes"
        if method in _DEQUANTISED
        else ""
    )
    raise ArtifactError(
        f"{folder} holds quantised weights ({method})",
        expected="weights in fp32, bf16 or fp16, which can be trained, merged and exported",
        fix="name the model that it was quantised from (its model card says which), and for little memory "
        f"train an adapter with base_weights: nf4{remedy}",
    )


def _declared(folder: Path, settings: dict[str, Any]) -> str | None:
    """The method by config.json (of a model or its text part) or by a file of its own."""
    for part in (settings, settings.get("text_config")):
        if isinstance(part, dict) and (
            config := part.get("quantization_config") or part.get("compression_config")
        ):
            method = config.get("quant_method") if isinstance(config, dict) else None
            return str(method or ("bitsandbytes" if "load_in_4bit" in config else "unknown method"))
    return next((method for name, method in _FILES.items() if (folder / name).is_file()), None)


def _packed(folder: Path) -> str | None:
    """A tensor that only quantised checkpoints hold."""
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as tensors:
                names = list(tensors.keys())
        except (OSError, SafetensorError):
            return None  # the loader says what is wrong with it
        for name in names:
            if name.endswith(_PACKED):
                return f"it has {name}"
    return None
