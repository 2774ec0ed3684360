"""How long people look at each word of a sentence: eye tracking and self-paced reading.

The table of BabyLM 2025, from de Varda et al. 2023 (https://doi.org/10.3758/s13428-023-02261-8): `item` is
the sentence before a word, `prev_item` that before the word before it. A sentence that begins with "None"
has an empty `item` after its first word: pandas took the text for a missing value when it wrote the file.
"""

from typing import Literal

from tempering.data.builders.base import FileBuilderConfig, Note, Record, scalars, string
from tempering.data.builders.record import number
from tempering.data.rows import RowType, Values

COLUMNS_OF_FILE = {
    "frequency": "Subtlex_log10",
    "length": "length",
    "context_length": "context_length",
    "previous_length": "prev_length",
    "first_fixation": "RTfirstfix",
    "first_pass": "RTfirstpass",
    "go_past": "RTgopast",
    "right_bounded": "RTrightbound",
    "self_paced": "self_paced_reading_time",
}
"""Column of a row -> column of the file."""


class ReadingTimesConfig(FileBuilderConfig):
    """Rows of a word in its sentence, with its reading times and what else explains them."""

    kind: Literal["reading_times"] = "reading_times"

    @property
    def row_type(self) -> RowType:
        """Always reading times."""
        return RowType.READING_TIMES

    def normalise(self, record: Record, note: Note) -> Values:
        """One row per word; what is missing is null, or no text."""
        texts = ("item", "word", "prev_item", "prev_word", "sentence")
        context, sentence = record.get("item") or "", record.get("sentence") or ""
        if not context and sentence.startswith("None "):
            note('the beginning of a sentence, "None", put back where `item` is empty')
            context = "None"
        return {
            **scalars(record, *texts, *COLUMNS_OF_FILE.values(), ""),
            "context": context,
            "word": string(record, "word"),
            "previous_context": record.get("prev_item") or "",
            "previous_word": record.get("prev_word") or "",
            **{name: number(record, column) for name, column in COLUMNS_OF_FILE.items()},
        }
