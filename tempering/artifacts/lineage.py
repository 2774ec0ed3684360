"""Lineage: what an artifact was made from, back to the data sets."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tempering.artifacts.kinds import Artifact
from tempering.artifacts.manifest import InputRef
from tempering.errors import ArtifactError

if TYPE_CHECKING:
    from tempering.artifacts.store import Store


@dataclass(frozen=True)
class Branch:
    """One artifact in the tree; `artifact` is None where it is no longer in the store."""

    role: str
    id: str
    artifact: Artifact | None
    inputs: tuple["Branch", ...] = ()
    rebuilt: bool = False
    """The folder now holds another payload than the one used then."""

    def to_json(self) -> dict[str, Any]:
        """The branch as plain JSON."""
        manifest = self.artifact.manifest if self.artifact else None
        return {
            "role": self.role,
            "id": self.id,
            "kind": manifest.kind if manifest else None,
            "tokens": manifest.tokens if manifest else None,
            "present": manifest is not None,
            "rebuilt": self.rebuilt,
            "inputs": [branch.to_json() for branch in self.inputs],
        }


def lineage(store: "Store", artifact: Artifact) -> Branch:
    """The tree of inputs below `artifact`."""
    return Branch("", artifact.id, artifact, _inputs(store, artifact))


def _inputs(store: "Store", artifact: Artifact) -> tuple[Branch, ...]:
    return tuple(_branch(store, role, ref) for role, ref in artifact.manifest.inputs.items())


def _branch(store: "Store", role: str, ref: InputRef) -> Branch:
    try:
        artifact = store.get(ref.id, check=False)
    except ArtifactError:
        return Branch(role, ref.id, None)
    rebuilt = artifact.payload_digest != ref.payload_digest
    return Branch(role, ref.id, artifact, _inputs(store, artifact), rebuilt)
