"""Exporting a model artifact as a plain Hugging Face folder with a model card.

Weights are safetensors in files of at most 5 GB, files are readable by everybody, and configs are written
for transformers 4 as well as 5 (see `transformers4_config`). A model that was trained on running text gets
no chat template: it has never seen one.
"""

import shutil
from pathlib import Path
from typing import Any, Literal

from tempering.artifacts.kinds import ModelArtifact
from tempering.artifacts.store import Store
from tempering.data.tokenizers import chat_template, load_tokenizer, save_tokenizer
from tempering.errors import ArtifactError, DataError
from tempering.exchange.atomic_folder import whole_folder
from tempering.exchange.card import model_card
from tempering.exchange.transformers4_config import (
    generation_config,
    portable_adapter,
    portable_config,
    read_json,
    write_json,
)
from tempering.models.adapters import is_adapter
from tempering.models.loading import with_more

Dtype = Literal["fp32", "bf16", "fp16"]
_LARGEST = 5 * 10**9
_TORCH_NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_SAMPLING: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}  # all that our own sampling does


def export_model(
    artifact: ModelArtifact,
    folder: Path,
    *,
    dtype: Dtype | None = None,
    adapter: bool = False,
    force: bool = False,
) -> Path:
    """Write weights, config, tokenizer and card of `artifact`, all or nothing.

    Args:
        dtype: of the written weights; None: as they are.
        adapter: export an adapter as a PEFT folder; a whole model is then refused.
        force: replace an existing model folder.

    Raises:
        ArtifactError: an adapter without `adapter`, or a whole model with it.
        UserError: `folder` holds something, or cannot be written.
    """
    _check_kind(artifact, adapter)
    store = Store(artifact.path.parents[1], writable=False)
    with whole_folder(folder, force=force) as temporary:
        _weights(artifact.model_dir, temporary, dtype)
        _tokenizer(artifact, temporary)
        config = _configs(artifact, temporary, dtype)
        card = model_card(artifact, store, str(config.get("model_type", "")))
        (temporary / "README.md").write_text(card, encoding="utf-8", newline="\n")
    return folder


def _check_kind(artifact: ModelArtifact, adapter: bool) -> None:
    if is_adapter(artifact.model_dir) and not adapter:
        stage = artifact.manifest.stage
        raise ArtifactError(
            f"{artifact.id} has only an adapter",
            expected="a whole model",
            fix=f"export its merge, merge[{stage}]@latest, or the adapter itself with --adapter",
        )
    if adapter and not is_adapter(artifact.model_dir):
        raise ArtifactError(
            f"{artifact.id} has no adapter",
            expected="the artifact of a stage with `adapter:`",
            fix="drop --adapter: it is a whole model",
        )


def _weights(source: Path, folder: Path, dtype: Dtype | None) -> None:
    # Copy the files if nothing about them changes.
    files = sorted(source.glob("*.safetensors"))
    if dtype is None and all(path.stat().st_size <= _LARGEST for path in files):
        for path in [*files, *source.glob("*.safetensors.index.json")]:
            shutil.copyfile(path, folder / path.name)
        return
    import torch
    from huggingface_hub import save_torch_state_dict
    from safetensors.torch import load_file

    # Else convert all tensors and divide them into shards anew.
    state: dict[str, Any] = {}
    for path in files:
        state |= load_file(path)
    if dtype is not None:
        target = getattr(torch, _TORCH_NAMES[dtype])
        state = {
            name: tensor.to(target) if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
        }
    stem = "adapter_model" if is_adapter(source) else "model"
    save_torch_state_dict(
        state, folder, filename_pattern=stem + "{suffix}.safetensors", max_shard_size=_LARGEST
    )


def _tokenizer(artifact: ModelArtifact, folder: Path) -> None:
    tokenizer = load_tokenizer(artifact.model_dir)
    prompt_format = artifact.details.get("prompt_format", "chat")
    if prompt_format == "plain":
        tokenizer.chat_template = None
    elif prompt_format in ("role_markers", "turn_markers"):
        tokenizer.chat_template = chat_template(prompt_format)
    save_tokenizer(tokenizer, folder)
    path = folder / "tokenizer_config.json"
    settings = read_json(path)
    settings.pop("chat_template", None)
    if tokenizer.chat_template:  # transformers before 4.50 does not look at chat_template.jinja
        settings["chat_template"] = tokenizer.chat_template
    write_json(path, settings)


def _configs(artifact: ModelArtifact, folder: Path, dtype: Dtype | None) -> dict[str, Any]:
    """Write config.json and generation_config.json and return the former; for an adapter its own config."""
    source = artifact.model_dir
    if is_adapter(source):
        write_json(
            folder / "adapter_config.json", portable_adapter(read_json(source / "adapter_config.json"))
        )
        return {}
    config = portable_config(read_json(source / "config.json"), _TORCH_NAMES[dtype] if dtype else None)
    write_json(folder / "config.json", config)
    if artifact.trusts_remote_code:
        for path in source.glob("*.py"):
            shutil.copyfile(path, folder / path.name)
    if artifact.details.get("head") != "score":
        write_json(folder / "generation_config.json", _generation(artifact, folder))
    return config


def _generation(artifact: ModelArtifact, folder: Path) -> dict[str, Any]:
    tokenizer = load_tokenizer(folder)
    if tokenizer.eos_token_id is None:
        raise DataError(
            f"the tokenizer of {artifact.id} has no EOS token", expected="a token that ends an answer"
        )
    adopted = read_json(artifact.model_dir / "generation_config.json")
    stop = with_more(tokenizer.eos_token_id, adopted.get("eos_token_id"))
    # Sampling as in training, else as the model says, else plain.
    trained = {key: artifact.manifest.config.get(key) for key in _SAMPLING}
    own = {key: adopted.get(key) for key in _SAMPLING}
    sampling = {
        key: next((settings[key] for settings in (trained, own) if settings[key] is not None), default)
        for key, default in _SAMPLING.items()
    }
    return generation_config(adopted, tokenizer, stop, sampling)
