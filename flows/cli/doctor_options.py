"""What the command line of the doctor says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MAX_LENGTH = 1024


@dataclass(frozen=True)
class Wish:
    """What the command line says.

    Args:
        target: a pipeline, or a file or folder of data.
        overrides: settings of the pipeline, or of the builder that reads the file or folder.
        store: the folder of the store; empty: the pipeline's.
        rows: rows to look at of each data set; None: all.
        tokenizer: a folder, a Hub name or an artifact id, in the place of what would be taken.
        kind, columns, max_length: for a file or folder.
        datasets: for a pipeline.
    """

    target: str
    overrides: Sequence[str] = ()
    store: str = ""
    rows: int | None = None
    tokenizer: str | None = None
    kind: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    max_length: int = MAX_LENGTH
    datasets: Sequence[str] = ()
