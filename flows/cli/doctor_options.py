"""What the command line asks of the doctor."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flows.store_choice import DEFAULT_STORE


@dataclass(frozen=True)
class Wish:
    """What the command line says.

    Args:
        target: a pipeline, or a file or folder of data.
        rows: rows to look at of each data set; None: all.
        tokenizer: a folder, a Hub name or an artifact id, in the place of what would be taken.
        kind, columns, max_length: for a file or folder.
        overrides: settings of the pipeline, or of the builder that reads the file or folder.
        datasets: for a pipeline.
    """

    target: str
    rows: int | None = None
    tokenizer: str | None = None
    kind: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    max_length: int = 1024
    overrides: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    store: str | None = None

    @property
    def root(self) -> str:
        """The folder of the store."""
        return self.store or DEFAULT_STORE

    @property
    def is_config(self) -> bool:
        """Whether the target is a pipeline; anything else is data."""
        return Path(self.target).suffix.lower() in (".yaml", ".yml")
