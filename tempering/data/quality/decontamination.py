"""Rows that share n-grams of words with evaluation sets.

The rule of GPT-3 (Brown et al. 2020, appendix C): lower-cased words without punctuation, 13 in a row.
A text shorter than an n-gram is compared as a whole, with one exception: a text of fewer than five words
counts only if the row has no other. Otherwise the gold answer "Paris" would remove every row that answers
"Paris". The evaluation sets cost 8 bytes per n-gram; rows cost nothing.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from tempering.data.quality.config import QualityConfig
from tempering.data.quality.ngrams import Hashes, window_hashes, word_hashes, words
from tempering.data.quality.rule import Fault, Rule
from tempering.data.rows import Row, RowType, texts
from tempering.errors import DataError

FEWEST_WORDS = 5
"""A text with fewer words proves nothing by itself."""
_PACKED = 1 << 20


class Decontamination(Rule):
    """Removes rows of the train part that repeat evaluation sets.

    Raises:
        DataError: the evaluation sets hold no text at all.
    """

    name = "decontamination"
    held_out_too = False

    def __init__(self, config: QualityConfig, row_type: RowType, evaluation_texts: Iterable[str]) -> None:
        self._width, self._overlap, self._row_type = config.ngram, config.ngram_overlap, row_type
        self._evaluation_grams = _collected(self._windows(text) for text in evaluation_texts)
        if not len(self._evaluation_grams):
            raise DataError(
                f"the evaluation sets hold no text: {', '.join(config.decontaminate)}",
                expected="evaluation rows with words in them",
                fix="check the names in quality.decontaminate and these data sets",
            )

    def fault(self, row: Row) -> Fault | None:
        """A row with too many n-grams of evaluation sets; the detail says how many."""
        grams = self._grams([words(text) for text in texts(self._row_type, row.values)])
        places = np.searchsorted(self._evaluation_grams, grams)
        places[places == len(self._evaluation_grams)] = 0
        hits = int((self._evaluation_grams[places] == grams).sum())
        if not hits or hits <= self._overlap * len(grams):
            return None
        return Fault("text of an evaluation set", f"{hits} of {len(grams)} n-grams")

    def _grams(self, pieces: list[list[bytes]]) -> Hashes:
        units = [piece for piece in pieces if len(piece) >= min(FEWEST_WORDS, self._width)]
        everything = [word for piece in pieces for word in piece]
        if len(everything) < self._width and units != [everything]:
            units.append(everything)
        grams = [window_hashes(word_hashes(piece), self._width) for piece in units]
        return np.concatenate(grams) if grams else np.empty(0, np.uint64)

    def _windows(self, text: str) -> Hashes:
        return window_hashes(word_hashes(words(text)), self._width)


def _collected(batches: Iterator[Hashes]) -> Hashes:
    """Distinct hashes in ascending order; packed from time to time, so that repeats never pile up."""
    packed, chunks, waiting = np.empty(0, np.uint64), [], 0
    for hashes in batches:
        chunks.append(hashes)
        waiting += len(hashes)
        if waiting > max(_PACKED, len(packed)):
            packed, chunks, waiting = np.unique(np.concatenate([packed, *chunks])), [], 0
    return np.unique(np.concatenate([packed, *chunks]))
