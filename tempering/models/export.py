"""Exporting a model artifact as a plain Hugging Face folder with a model card."""

import shutil
from pathlib import Path

from tempering.artifacts.kinds import ModelArtifact
from tempering.errors import ArtifactError, UserError
from tempering.models.adapters import is_adapter

_SUFFIXES = (".safetensors", ".json", ".jinja", ".model", ".txt")
_STATE = ("trainer_state.json", "onpolicy_state.json")


def export_model(artifact: ModelArtifact, folder: Path) -> Path:
    """Copy weights, config and tokenizer of `artifact` and write a card; all of it or nothing.

    Raises:
        ArtifactError: the artifact holds an adapter only.
        UserError: `folder` holds something, or cannot be written.
    """
    if is_adapter(artifact.model_dir):
        raise ArtifactError(f"{artifact.id} holds an adapter only", expected="a whole model",
                            fix="export the artifact of its merge stage")  # fmt: skip
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder} is there already", expected="a new or empty folder", fix="choose another name"
        )
    temporary = folder.with_name(f".tmp-{folder.name}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for path in sorted(artifact.model_dir.iterdir()):
            if path.suffix in _SUFFIXES and path.name not in _STATE:
                shutil.copyfile(path, temporary / path.name)
        (temporary / "README.md").write_text(model_card(artifact), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(
            f"cannot write {folder}: {error.strerror}", fix="choose a folder you may write to"
        ) from None
    return folder


def model_card(artifact: ModelArtifact) -> str:
    """What it is, what it was made from, and what was measured in its own stage."""
    manifest = artifact.manifest
    made_from = "\n".join(f"- {role}: `{ref.id}`" for role, ref in sorted(manifest.inputs.items()))
    metrics = "\n".join(f"| {name} | {value} |" for name, value in manifest.metrics.items())
    task = "text-classification" if artifact.details.get("head") == "score" else "text-generation"
    return f"""---
library_name: transformers
pipeline_tag: {task}
tags: [tempering, {manifest.stage}]
---
# {artifact.path.name}

Made by the stage `{manifest.stage}` of Tempering on {manifest.created:.10} with seed {manifest.seed}:
{manifest.tokens:,} tokens, {artifact.details.get("parameters", 0):,} parameters, {manifest.seconds:.0f} s
on {manifest.device}. Artifact `{artifact.id}`, fingerprint `{manifest.fingerprint[:16]}`.

## Made from

{made_from or "nothing"}

## Measured in its stage

| metric | value |
|---|---|
{metrics}
"""
