"""Configuration files that transformers 4 reads too, with nothing of this machine in them.

transformers 5 writes `dtype` where 4 (before 4.56) reads `torch_dtype`, and `rope_parameters` where 4 reads
`rope_theta` and `rope_scaling`. The old keys stand beside the new ones; 5 treats them as the same.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_LOCAL = ("_name_or_path", "name_or_path", "_commit_hash")
_ATTENTION = ("full_attention", "sliding_attention")  # Gemma 3 and similar: one rope per kind of layer


def portable_config(config: Mapping[str, Any], dtype: str | None = None) -> dict[str, Any]:
    """A `config.json` with the old keys beside the new ones.

    Args:
        dtype: of the weights, if they were converted.
    """
    portable = {key: value for key, value in config.items() if key not in _LOCAL}
    dtype = dtype or portable.get("dtype") or portable.get("torch_dtype")
    if dtype:
        portable["dtype"] = portable["torch_dtype"] = dtype
    rope = portable.get("rope_parameters")
    if isinstance(rope, Mapping):
        portable.update(_old_rope(rope))
    for name, inner in portable.items():  # text_config and the like
        if name.endswith("_config") and isinstance(inner, Mapping) and "model_type" in inner:
            portable[name] = portable_config(inner, dtype)
    return portable


def _old_rope(rope: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(rope.get(_ATTENTION[0]), Mapping):
        old = _old_rope(rope[_ATTENTION[0]])
        local = rope.get(_ATTENTION[1])
        return old | ({"rope_local_base_freq": local["rope_theta"]} if isinstance(local, Mapping) else {})
    old = {"rope_theta": rope["rope_theta"]} if "rope_theta" in rope else {}
    if "partial_rotary_factor" in rope:
        old["partial_rotary_factor"] = rope["partial_rotary_factor"]
    if rope.get("rope_type", "default") == "default":
        return old
    scaling = {
        key: value for key, value in rope.items() if key not in ("rope_theta", "partial_rotary_factor")
    }
    return old | {"rope_scaling": scaling}


def generation_config(
    config: Mapping[str, Any], tokenizer: Any, stop: list[int], sampling: Mapping[str, Any]
) -> dict[str, Any]:
    """A `generation_config.json`: the tokens that end and pad an answer, and the sampling of its training.

    Args:
        config: the one that the model came with.
        stop: token ids that end an answer.
    """
    settings = {
        key: value for key, value in config.items() if key not in _LOCAL and not key.startswith("_from")
    }
    settings["eos_token_id"] = stop[0] if len(stop) == 1 else stop
    settings["pad_token_id"] = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else stop[0]
    if tokenizer.bos_token_id is not None:
        settings["bos_token_id"] = tokenizer.bos_token_id
    return settings | {"do_sample": True, **sampling}


def portable_adapter(config: Mapping[str, Any]) -> dict[str, Any]:
    """PEFT's config without the base's path: the card names the base."""
    return {**config, "base_model_name_or_path": None, "revision": None}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file's object; {} if there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Write JSON as transformers does."""
    path.write_text(json.dumps(tree, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
