"""Find a model by name: an artifact, one of its checkpoints, or a local folder.

An adapter is put on the base it was trained on, whose payload must be unchanged, so talking to it needs no
merge. A folder's tokenizer tells its prompt format: chat if it has a chat template. Code that comes with a
model runs only if the model was adopted with that permission.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tempering.artifacts.kinds import ModelArtifact
from tempering.data.prompt_format import PromptFormat
from tempering.errors import ArtifactError
from tempering.models.adapters import is_adapter, load_adapter
from tempering.models.loading import load_causal_lm, load_scorer

if TYPE_CHECKING:
    from tempering.artifacts.store import Store


@dataclass(frozen=True)
class Source:
    """Where a model is. `artifact` is None for a folder outside the store."""

    name: str
    folder: Path
    artifact: ModelArtifact | None = None
    base: ModelArtifact | None = None
    """The model that an adapter was trained on."""

    @property
    def is_scorer(self) -> bool:
        """Whether it is a reward model: it scores texts and writes none."""
        if self.artifact is not None:
            return self.artifact.details.get("head", "causal_lm") != "causal_lm"
        architectures = _config(self.folder).get("architectures") or [""]
        return "SequenceClassification" in architectures[0]

    @property
    def trusts_remote_code(self) -> bool:
        """Whether it was adopted with permission to run its own code."""
        return self.artifact is not None and self.artifact.trusts_remote_code

    def prompt_format(self, tokenizer: Any) -> PromptFormat:
        """The prompt format it was trained on."""
        if self.artifact is not None:
            return cast(PromptFormat, self.artifact.details.get("prompt_format", "chat"))
        return "chat" if tokenizer.chat_template else "plain"


def find_model(ref: str, store: "Store") -> Source:
    """The model that `ref` names: an artifact id, `STAGE@latest`, a fingerprint, or a local folder.

    Raises:
        ArtifactError: there is none, it is not a model, or it is an adapter whose base is gone or changed.
    """
    folder = Path(ref).expanduser()
    # A path into an artifact goes through the store, which knows its prompt format and its base.
    inside = any((above / "manifest.json").is_file() for above in (folder, *folder.absolute().parents[:3]))
    if (folder / "config.json").is_file() and not inside:
        return Source(str(ref), folder)
    if (folder / "adapter_config.json").is_file() and not inside:
        raise ArtifactError(
            f"{folder} has only an adapter",
            expected="a whole model, or an artifact that knows its base",
            fix="name the artifact, or merge the adapter into its base",
        )
    artifact = store.get(ref)
    if not isinstance(artifact, ModelArtifact):
        raise ArtifactError(
            f"{artifact.id} is a {artifact.kind}",
            expected="a model artifact",
            fix="`temper artifacts list model` shows them",
        )
    return Source(artifact.id, artifact.model_dir, artifact, base_of(artifact, store))


def base_of(artifact: ModelArtifact, store: "Store") -> ModelArtifact | None:
    """The unchanged model that an adapter was trained on; None for a whole model.

    Raises:
        ArtifactError: it is no longer in the store, or was made again with other weights.
    """
    if not is_adapter(artifact.model_dir):
        return None
    trained_on = artifact.manifest.inputs["model"]
    try:
        base = store.get(trained_on.id)
    except ArtifactError as error:
        raise ArtifactError(
            f"{artifact.id} has an adapter, and its base cannot be used: {error.found}",
            expected=f"the model it was trained on, {trained_on.id}",
            fix=f"restore that artifact, or name the merged model: merge[{artifact.manifest.stage}]@latest",
        ) from None
    if not isinstance(base, ModelArtifact) or base.payload_digest != trained_on.payload_digest:
        raise ArtifactError(
            f"{artifact.id} has an adapter, and {base.id} has been rebuilt with other weights since",
            expected="the weights that it was trained on",
            fix=f"run the stage {artifact.manifest.stage} again",
        )
    return base


def open_language_model(source: Source) -> Any:
    """The causal LM of `source` in eval mode, its adapter on it.

    Raises:
        ArtifactError: it is a reward model, or its weights do not fit.
    """
    if source.is_scorer:
        raise ArtifactError(
            f"{source.name} is a reward model",
            expected="a causal language model",
            fix="name a stage that makes one, e.g. sft@latest; a reward model scores and does not write",
        )
    return open_model(source)


def open_model(source: Source) -> Any:
    """The model of `source` with its own head."""
    load = load_scorer if source.is_scorer else load_causal_lm
    if source.base is None:
        return load(source.folder, trust_remote_code=source.trusts_remote_code)
    head: dict[str, Any] = {"new_head": True} if source.is_scorer else {}
    base = load(source.base.model_dir, trust_remote_code=source.base.trusts_remote_code, **head)
    return load_adapter(base, source.folder)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{folder / 'config.json'} is not valid JSON: {error}") from None
    return config
