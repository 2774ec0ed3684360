"""What a node came to: its artifact, or why there is none, in words for people."""

from dataclasses import dataclass
from typing import Any, Literal

from flows.process.workers import StageCrashed
from tempering.artifacts.kinds import Artifact
from tempering.credentials import masked

Action = Literal["cached", "run", "resume", "failed", "skipped", "cancelled"]


@dataclass(frozen=True)
class Outcome:
    """What was done for one node; `artifact` is None where it failed or was skipped."""

    node: str
    action: Action
    artifact: Artifact | None = None
    seconds: float = 0.0
    error: BaseException | None = None
    root: str = ""
    """The node whose failure this one's is: itself where it failed, an ancestor where it was skipped."""
    crashes: tuple[str, ...] = ()
    """How the tries before the last one ended."""

    @property
    def ok(self) -> bool:
        """Whether there is an artifact."""
        return self.artifact is not None

    @property
    def reason(self) -> str:
        """The first line of the root failure, with the node it comes from."""
        text = masked(str(self.error or "")).strip().splitlines()
        line = text[0] if text else type(self.error).__name__
        return line if self.root == self.node else f"{self.root} failed: {line}"

    def facts(self) -> dict[str, Any]:
        """The row's numbers: what `run --json` adds to a plan's row, and what a run record holds."""
        manifest = self.artifact.manifest if self.artifact else None
        worked = manifest is not None and self.action != "cached"
        return {
            "seconds": round(self.seconds, 3),
            "tokens": manifest.tokens if manifest else 0,
            "resumed_from_tokens": manifest.resumed_from_tokens if manifest and worked else None,
            "metrics": dict(manifest.metrics) if manifest else {},
            "crashes": list(self.crashes),
        }


def explain(error: BaseException) -> str:
    """A failure for people: the message, and for a crash the traceback or the last lines of the log."""
    if not isinstance(error, StageCrashed):
        return masked(str(error))
    more = error.traceback or error.log_tail
    return masked(f"{error}\n{_indent(more)}" if more.strip() else str(error))


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.rstrip().splitlines())
