"""What the store answers: why no artifact can be used, and what becomes of a request for one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tempering.artifacts.fingerprint import Fingerprint
from tempering.artifacts.kinds import Artifact
from tempering.artifacts.manifest import InputRef
from tempering.artifacts.stage import Stage
from tempering.config import Config

Change = tuple[str, str | None, str | None]
"""field, old, new"""


@dataclass(frozen=True)
class Miss:
    """Why no artifact can be used: `changes` names the roles, the damaged file or the modules."""

    kind: Literal["absent", "inputs", "damaged", "code"]
    artifact: str | None = None
    changes: tuple[Change, ...] = ()

    def __str__(self) -> str:
        fields = ", ".join(field for field, _, _ in self.changes)
        return {
            "absent": "there is no such artifact",
            "inputs": f"{self.artifact} was made from other inputs: {fields}",
            "damaged": f"{self.artifact} is damaged: {fields}",
            "code": f"{self.artifact} was made by other code: {fields}",
        }[self.kind]


@dataclass(frozen=True)
class Resolution:
    """A request for an artifact, and what the store has of it: `cached`, or what a draft needs.

    `resume_from` is the checkpoint that a draft would resume from.
    """

    stage: Stage
    config: Config
    inputs: Mapping[str, InputRef]
    fingerprint: Fingerprint
    code: Mapping[str, str]
    """Module -> digest, at the stage's turn."""
    force: bool = False
    strict_code: bool = False
    cached: Artifact | None = None
    miss: Miss | None = None
    resume_from: str | None = None
    fresh: bool = False
    """Leftovers of an earlier attempt must not be used (forced, or made by other code)."""
