"""Adopting an external model: everything that could spoil training is refused here, at the door.

In comes a folder in Hugging Face layout. Out goes an artifact like any other: complete safetensors, a
tokenizer with EOS and a separate pad token, embeddings for all its tokens, and the digests of the source
files.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tempering.artifacts.digests import sha256_file
from tempering.artifacts.draft import Draft
from tempering.data.tokenizer_repair import missing_pieces
from tempering.data.tokenizers import load_tokenizer, tokenizer_digest
from tempering.errors import ArtifactError, ConfigError
from tempering.exchange.faithful import (
    answers,
    check_generation,
    check_same_answers,
    dtype_note,
    settle_generation,
    settle_tying,
)
from tempering.hub.models import model_commit, model_files
from tempering.model_config import AdoptConfig
from tempering.models.adapters import is_adapter
from tempering.models.loading import (
    check_index,
    load_causal_lm,
    load_scorer,
    no_safetensors,
    parameter_count,
    save_model,
)
from tempering.models.quantised import refuse_quantised
from tempering.unserved import UNSERVED

_CAUSAL = ("ForCausalLM", "LMHeadModel")
_SCORER = "ForSequenceClassification"


def adopt_model(
    out: Draft, config: AdoptConfig, refuse: Callable[[Any, str], None]
) -> dict[str, float | int | str]:
    """Load what `config` names, complete it and write it into the draft.

    Args:
        refuse: raises where later stages could not use a causal LM as it is meant to be.

    Raises:
        ArtifactError: not a complete model of a known kind, weights that do not fit, a tokenizer with more
            ids than the model has embeddings.
        ConfigError: it needs its own code and is not trusted.
        DataError: no usable tokenizer (none, not fast, no EOS), or the Hub cannot give the model.
    """
    # Refuse what config.json alone rules out, then load as the head demands.
    folder = source_folder(config)
    settings = check_folder(folder, config)
    head = head_of(folder, settings)
    tokenizer = load_tokenizer(folder, trust_remote_code=config.trust_remote_code)
    load: Any = load_scorer if head == "score" else load_causal_lm
    model = load(folder, weights="as_is", trust_remote_code=config.trust_remote_code)
    # Add what training needs; each change is a warning in the log.
    if head == "causal_lm":
        refuse(model, config.name_or_path)
    vocabulary = min(check_vocabulary(model, tokenizer, folder), len(tokenizer))
    before = answers(model, vocabulary)
    has_template = tokenizer.chat_template is not None
    changes = [*dtype_note(settings, model), *settle_tying(model), *complete(model, tokenizer, folder)]
    for line in [*changes, *settle_generation(model)]:
        out.warn(line)
    parameters = parameter_count(model)
    save_model(model, tokenizer, out.model_dir)
    # What was written must answer as what was loaded; one of them is enough in memory.
    del model
    try:
        written = load(out.model_dir, weights="as_is", trust_remote_code=config.trust_remote_code)
    except ArtifactError as error:  # more than its embeddings has the size of the vocabulary
        raise ArtifactError(
            f"{folder}: adopting it would change it, and then it cannot be read: {error.found}",
            expected="a model that can be given an embedding for the pad token",
            fix="give its tokenizer a pad token among the tokens that it has",
        ) from None
    difference = check_same_answers(before, answers(written, vocabulary), folder)
    # What was loaded must be what the fingerprint was computed from.
    files = _files(folder)
    check_unchanged(out, config, files)
    out.write_table("source_files", files)
    # Later stages read these details instead of the model.
    prompt_format = config.prompt_format
    if prompt_format == "auto":
        prompt_format = "chat" if has_template else "plain"
    out.details |= {
        "head": head,
        "adapter": False,
        "parameters": parameters,
        "logit_difference": difference,
        "tokenizer": tokenizer_digest(tokenizer),
        "prompt_format": prompt_format,
        "source": _source(config),
    }
    if config.trust_remote_code and "auto_map" in settings:
        out.details["trust_remote_code"] = True
    return {"parameters": parameters, "vocab_size": len(tokenizer)}


def source_folder(config: AdoptConfig) -> Path:
    """The local folder with its files, fetched if need be."""
    return config.folder or model_files(config.name_or_path, config.revision, code=config.trust_remote_code)


def check_unchanged(out: Draft, config: AdoptConfig, files: list[dict[str, Any]]) -> None:
    """Refuse files that changed since planning: the artifact would carry the fingerprint of other weights.

    Raises:
        ArtifactError: naming a changed file of a local folder; a Hub commit cannot change.
    """
    planned = dict(out.ticket.hashed["files"]) if out.ticket is not None and config.folder else {}
    current = {row["file"]: row["sha256"] for row in files}
    changed = sorted(name for name, digest in planned.items() if current.get(name) != digest)
    if changed:
        raise ArtifactError(
            f"{config.name_or_path} changed while it was adopted: {changed[0]}",
            expected="files that stay as they are",
            fix="run again when nothing writes to it any more",
        )


def check_folder(folder: Path, config: AdoptConfig) -> dict[str, Any]:
    """The settings in the folder's config.json, if it holds a complete model that may be loaded.

    Raises:
        ArtifactError: only an adapter, a config.json that cannot be read, or no safetensors.
        ConfigError: the model brings its own code and is not trusted.
    """
    if is_adapter(folder):
        raise ArtifactError(
            f"{folder} has only an adapter",
            expected="a whole model",
            fix="merge it into its base model first, with PEFT's merge_and_unload",
        )
    # config.json says what the weights are.
    try:
        settings: Any = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"{folder}/config.json cannot be read: {error}",
            expected="a folder in Hugging Face layout: config.json, model.safetensors, tokenizer.json",
        ) from None
    # The weights: safetensors, all in this folder.
    if not any(folder.glob("*.safetensors")):
        raise no_safetensors(folder)
    check_index(folder)
    if not isinstance(settings, dict):
        raise ArtifactError(f"{folder}/config.json does not hold a mapping", expected="a model's settings")
    refuse_quantised(folder, settings)
    check_generation(folder)
    # Foreign code runs only with permission.
    if "auto_map" in settings and not _is_known(settings) and not config.trust_remote_code:
        raise ConfigError(
            f"{config.name_or_path} brings its own Python code ({settings['auto_map']})",
            expected="an architecture that transformers or Tempering knows",
            fix="read it; if you trust it, name the model under `models:` with trust_remote_code: true",
        )
    return settings


def _is_known(settings: dict[str, Any]) -> bool:
    from transformers import CONFIG_MAPPING

    return settings.get("model_type") in CONFIG_MAPPING


def head_of(folder: Path, settings: dict[str, Any]) -> str:
    """`causal_lm` or `score`, by the architecture that config.json names.

    Raises:
        ArtifactError: another architecture, or a classifier with several outputs.
    """
    names = settings.get("architectures") or ["none"]
    model_type = settings.get("model_type")
    if any(name.endswith(_CAUSAL) for name in names) and model_type not in UNSERVED:
        return "causal_lm"
    if any(name.endswith(_SCORER) for name in names):
        outputs = len(settings.get("id2label") or "12")  # transformers' default is two
        if outputs != 1:
            raise ArtifactError(
                f"{folder} is a classifier with {outputs} outputs",
                expected="one output, the score of a reward model",
            )
        return "score"
    reason = f" and a model of type {model_type} {UNSERVED[model_type]}" if model_type in UNSERVED else ""
    raise ArtifactError(
        f"{folder}: config.json names the architecture {', '.join(names)}{reason}",
        expected="a causal language model (...ForCausalLM) or a reward model (...ForSequenceClassification)",
        fix="name a model of that kind",
    )


def complete(model: Any, tokenizer: Any, folder: Path) -> list[str]:
    """Add what training needs to tokenizer and model, in place; returns the changes, in words.

    Raises:
        ArtifactError: the tokenizer has ids without an embedding in the model.
        DataError: no EOS token.
    """
    rows = check_vocabulary(model, tokenizer, folder)
    changes = missing_pieces(tokenizer)
    if len(tokenizer) > rows:
        grow(model, rows, len(tokenizer))
        changes.append(f"embeddings grown from {rows} to {len(tokenizer)}")
    for config in (model.config.get_text_config(), getattr(model, "generation_config", None)):
        if config is not None:
            config.pad_token_id = tokenizer.pad_token_id
            if config.eos_token_id is None:
                config.eos_token_id = tokenizer.eos_token_id
    return changes


def check_vocabulary(model: Any, tokenizer: Any, folder: Path) -> int:
    """The number of embeddings of `model`, which must have one for each id of its tokenizer.

    Raises:
        ArtifactError: the tokenizer has more ids.
    """
    rows: int = model.get_input_embeddings().weight.shape[0]
    ids = max(tokenizer.get_vocab().values()) + 1
    if ids > rows:
        raise ArtifactError(
            f"{folder}: its tokenizer has ids up to {ids - 1}, its model embeddings for {rows} tokens",
            expected="a tokenizer whose ids all have an embedding",
            fix="use the tokenizer that the model was trained with",
        )
    return rows


def grow(model: Any, rows: int, size: int) -> None:
    """New tokens start as the mean of the old ones: no random numbers, nothing that stands out."""
    import torch

    model.resize_token_embeddings(size, mean_resizing=False)
    with torch.no_grad():
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            if layer is not None:
                layer.weight[rows:] = layer.weight[:rows].float().mean(0).to(layer.weight.dtype)
                if getattr(layer, "bias", None) is not None:
                    layer.bias[rows:] = layer.bias[:rows].float().mean().to(layer.bias.dtype)


def _files(folder: Path) -> list[dict[str, Any]]:
    return [
        {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256_file(path)}
        for path in sorted(folder.iterdir())
        if path.is_file()
    ]


def _source(config: AdoptConfig) -> dict[str, str]:
    """Where it came from; of a local folder only its name, which does not change when a checkout moves."""
    if config.folder is not None:
        return {"folder": config.folder.resolve().name}
    return {"hub": config.name_or_path, "commit": model_commit(config.name_or_path, config.revision)}
