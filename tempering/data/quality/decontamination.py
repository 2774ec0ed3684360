"""Rows that share n-grams of words with evaluation sets.

The rule of GPT-3 (Brown et al. 2020, appendix C): lower-cased words without punctuation, 13 in a row.
What is shorter than an n-gram is compared whole, with one exception: a text of fewer than five words
counts only where it is all that a row says. Otherwise the gold answer "Paris" would take out every row
that answers "Paris". The evaluation sets cost 8 bytes an n-gram; rows cost nothing.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from tempering.data.quality.config import QualityConfig
from tempering.data.quality.ngrams import Hashes, window_hashes, word_hashes, words
from tempering.data.quality.rule import Fault, Rule
from tempering.data.rows import Row, RowType, texts
from tempering.errors import DataError

FEWEST_WORDS = 5
"""A text with fewer words says nothing by itself."""
_PACKED = 1 << 20


class Decontamination(Rule):
    """Rows of the train part that repeat the evaluation sets go.

    Raises:
        DataError: when the evaluation sets hold no text at all.
    """

    name = "decontamination"
    held_out_too = False

    def __init__(self, config: QualityConfig, row_type: RowType, evaluation_texts: Iterable[str]) -> None:
        self._width, self._overlap, self._row_type = config.ngram, config.ngram_overlap, row_type
        self._known = _collected(self._windows(text) for text in evaluation_texts)
        if not len(self._known):
            raise DataError(
                f"the data sets to decontaminate against hold no text: {', '.join(config.decontaminate)}",
                expected="evaluation rows with words in them",
                fix="check the names in quality.decontaminate and these data sets",
            )

    def fault(self, row: Row) -> Fault | None:
        """A row of which too many n-grams are known; the detail says how many."""
        grams = self._grams([words(text) for text in texts(self._row_type, row.values)])
        places = np.searchsorted(self._known, grams)
        places[places == len(self._known)] = 0
        hits = int((self._known[places] == grams).sum())
        if not hits or hits <= self._overlap * len(grams):
            return None
        return Fault("text of an evaluation set", f"{hits} of {len(grams)} n-grams")

    def _grams(self, pieces: list[list[bytes]]) -> Hashes:
        telling = [piece for piece in pieces if len(piece) >= min(FEWEST_WORDS, self._width)]
        together = [word for piece in pieces for word in piece]
        if len(together) < self._width and telling != [together]:
            telling.append(together)
        found = [window_hashes(word_hashes(piece), self._width) for piece in telling]
        return np.concatenate(found) if found else np.empty(0, np.uint64)

    def _windows(self, text: str) -> Hashes:
        return window_hashes(word_hashes(words(text)), self._width)


def _collected(found: Iterator[Hashes]) -> Hashes:
    """Distinct hashes in ascending order; packed now and then, so that repeats never pile up."""
    packed, loose, waiting = np.empty(0, np.uint64), [], 0
    for hashes in found:
        loose.append(hashes)
        waiting += len(hashes)
        if waiting > max(_PACKED, len(packed)):
            packed, loose, waiting = np.unique(np.concatenate([packed, *loose])), [], 0
    return np.unique(np.concatenate([packed, *loose]))
