"""The kinds of artifacts: what a stage takes as input, and what it makes.

Stage is not kind: pretrain, sft, dpo, ppo, rloo and merge all make a `ModelArtifact`, so any can
feed any. `payload` names what later stages read; only those files are in the payload digest, so
a forced rebuild that gives the same weights with other times and logs invalidates nothing.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from tempering.artifacts.manifest import FileEntry, InputRef, Manifest
from tempering.errors import ArtifactError

if TYPE_CHECKING:
    import pandas as pd

# Trainer writes its arguments beside the weights: times and folders, nothing a later stage reads.
_NOT_PAYLOAD = ("training_args.bin",)
# In a checkpoint folder these belong to the training's state, not to the model.
_STATE_SUFFIXES = (".pt", ".pth", ".bin", ".parquet", "state.json", "digests.json")


@dataclass(frozen=True)
class Artifact:
    """One committed artifact, or (`checkpoint` set) one of its checkpoints used as a model."""

    path: Path
    manifest: Manifest
    checkpoint: str | None = None

    kind: ClassVar[str] = "artifact"
    payload: ClassVar[tuple[str, ...]] = ()

    @property
    def id(self) -> str:
        """`<stage folder>/<folder>`, and `/<checkpoint>` for one of its checkpoints."""
        return f"{self.manifest.id}/{self.checkpoint}" if self.checkpoint else self.manifest.id

    @property
    def fingerprint(self) -> str:
        """What a later stage's fingerprint holds of this input."""
        if self.checkpoint is None:
            return self.manifest.fingerprint
        return _sha256(f"{self.manifest.fingerprint}/{self.checkpoint}")

    @property
    def payload_digest(self) -> str:
        """Digest of what later stages read."""
        if self.checkpoint is None:
            return self.manifest.payload_digest
        inside = f"checkpoints/{self.checkpoint}/"
        files = {name: entry for name, entry in self.manifest.files.items() if name.startswith(inside)}
        return _digest({name: entry for name, entry in files.items() if not name.endswith(_STATE_SUFFIXES)})

    @property
    def ref(self) -> InputRef:
        """How a manifest records this artifact as an input."""
        return InputRef(id=self.id, payload_digest=self.payload_digest, fingerprint=self.fingerprint)

    @property
    def details(self) -> dict[str, object]:
        """What the stage noted for later stages (`row_type`, ...)."""
        return self.manifest.details

    def read(self, name: str) -> "pd.DataFrame":
        """`metadata/<name>.parquet` as a DataFrame."""
        return self._table(f"metadata/{name}.parquet")

    def _table(self, name: str) -> "pd.DataFrame":
        import pandas as pd

        try:
            return pd.read_parquet(self.path / name)
        except FileNotFoundError:
            tables = sorted(file for file in self.manifest.files if file.endswith(".parquet"))
            raise ArtifactError(
                f"{self.id} has no {name}", expected=f"one of: {', '.join(tables) or 'no tables'}"
            ) from None
        except (OSError, ValueError) as error:  # pyarrow's own is a ValueError
            raise ArtifactError(
                f"{self.id}: {name} cannot be read: {str(error).splitlines()[0]}",
                expected="the table as the stage wrote it",
                fix="restore the file, or run the pipeline: the stage is made again",
            ) from None


@dataclass(frozen=True)
class _RowsArtifact(Artifact):
    payload: ClassVar[tuple[str, ...]] = ("rows/",)

    @property
    def row_type(self) -> str:
        """The rows' type, such as `text` or `preference`."""
        return str(self.manifest.details.get("row_type", ""))

    def rows_path(self, part: str = "train") -> Path:
        """The folder of Parquet shards of one part (`train` or `eval`)."""
        return self.path / "rows" / part

    def rows(self, part: str = "train") -> "pd.DataFrame":
        """`rows/<part>/` as a DataFrame."""
        return self._table(f"rows/{part}")


@dataclass(frozen=True)
class DatasetArtifact(_RowsArtifact):
    """Normalised, filtered text rows of one data set."""

    kind: ClassVar[str] = "dataset"


@dataclass(frozen=True)
class TokenizerArtifact(Artifact):
    """A tokenizer with its special tokens and chat template, in Hugging Face layout."""

    kind: ClassVar[str] = "tokenizer"
    payload: ClassVar[tuple[str, ...]] = ("tokenizer/",)

    @property
    def tokenizer_dir(self) -> Path:
        """What `AutoTokenizer.from_pretrained` takes."""
        return self.path / "tokenizer"

    @property
    def digest(self) -> str:
        """What its token ids mean (`tokenizer_digest`); models and samples made with it note the same."""
        return str(self.manifest.details["digest"])


@dataclass(frozen=True)
class SampleArtifact(_RowsArtifact):
    """Mixed, tokenised rows, cut to a token limit."""

    kind: ClassVar[str] = "sample"


@dataclass(frozen=True)
class ModelArtifact(Artifact):
    """A model with its tokenizer, in Hugging Face layout."""

    kind: ClassVar[str] = "model"
    payload: ClassVar[tuple[str, ...]] = ("model/",)

    @property
    def model_dir(self) -> Path:
        """What `AutoModel....from_pretrained` takes; the checkpoint's folder where one is named."""
        if self.checkpoint is None:
            return self.path / "model"
        folder = self.path / "checkpoints" / self.checkpoint
        return folder / "model" if (folder / "model").is_dir() else folder

    @property
    def trusts_remote_code(self) -> bool:
        """Whether it was adopted with `trust_remote_code: true`, or made from such a model."""
        return bool(self.details.get("trust_remote_code"))

    @property
    def trained_on_rows(self) -> bool:
        """Whether it learnt rows with a prompt of their own, and not documents one behind the other."""
        return self.manifest.hashed.get("stage") in ("sft", "dpo", "ppo", "rloo", "merge")


@dataclass(frozen=True)
class EvaluationArtifact(Artifact):
    """Metrics of one model; tables only."""

    kind: ClassVar[str] = "evaluation"
    payload: ClassVar[tuple[str, ...]] = ("metadata/metrics.parquet", "metadata/checkpoints.parquet")


@dataclass(frozen=True)
class GateArtifact(Artifact):
    """The numbers with which a model has passed its gate."""

    kind: ClassVar[str] = "gate"
    payload: ClassVar[tuple[str, ...]] = ("metadata/gate.parquet",)


@dataclass(frozen=True)
class ReportArtifact(Artifact):
    """One self-contained HTML file."""

    kind: ClassVar[str] = "report"
    payload: ClassVar[tuple[str, ...]] = ("report.html",)

    @property
    def html(self) -> Path:
        """The page."""
        return self.path / "report.html"


@dataclass(frozen=True)
class PublicationArtifact(Artifact):
    """The receipt of a push to the Hub."""

    kind: ClassVar[str] = "publication"
    payload: ClassVar[tuple[str, ...]] = ("metadata/published.parquet",)


KINDS: dict[str, type[Artifact]] = {
    cls.kind: cls
    for cls in (
        DatasetArtifact,
        TokenizerArtifact,
        SampleArtifact,
        ModelArtifact,
        EvaluationArtifact,
        GateArtifact,
        ReportArtifact,
        PublicationArtifact,
    )
}


def artifact_from(path: Path, manifest: Manifest, checkpoint: str | None = None) -> Artifact:
    """The artifact of the right class for its manifest's kind."""
    return KINDS.get(manifest.kind, Artifact)(path, manifest, checkpoint)


def payload_digest(files: Mapping[str, FileEntry], payload: Iterable[str]) -> str:
    """Digest of the names and contents of those `files` that lie under a `payload` prefix."""
    prefixes = tuple(payload)
    return _digest(
        {
            name: entry
            for name, entry in files.items()
            if name.startswith(prefixes) and not name.endswith(_NOT_PAYLOAD)
        }
    )


def _digest(files: Mapping[str, FileEntry]) -> str:
    return _sha256("".join(f"{name}\0{files[name].sha256}\n" for name in sorted(files)))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
