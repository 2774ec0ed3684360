"""TinyStories: short stories separated by `<|endoftext|>`, or one per record.

Eldan & Li 2023, https://arxiv.org/abs/2305.07759.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from tempering.data.builders.base import Item
from tempering.data.builders.documents import DocumentsConfig, separated

SEPARATOR = "<|endoftext|>"


class TinyStoriesConfig(DocumentsConfig):
    """Stories from the text files, or from records with `text`."""

    kind: Literal["tinystories"] = "tinystories"
    hub: str | None = Field(
        default="roneneldan/TinyStories", description="name of a data set on the Hub, such as owner/name"
    )

    def documents_of(self, path: Path) -> Iterator[Item]:
        """The stories of a text file."""
        return separated(path, self.encoding, SEPARATOR)
