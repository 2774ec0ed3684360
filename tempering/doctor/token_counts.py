"""The rows of a data set in tokens: how long they are, and which side of a pair is the longer.

Only running text is counted here, without what a template adds; what a model is given is counted
where a sample is made.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tempering.data.prepare import PARTS
from tempering.data.rows import RowType, Values, texts
from tempering.data.token_ids import encode_texts
from tempering.doctor.counters import Counts
from tempering.doctor.dataset import Dataset, Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BATCH_ROWS, _BATCH_CHARACTERS = 512, 1 << 20


def count_tokens(
    dataset: Dataset, tokenizer: "PreTrainedTokenizerBase", progress: Progress = lambda what, done: None
) -> None:
    """Tokenise every text of a data set; rows in which a special token is written out are counted too."""
    counts = dataset.counts
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    for part in PARTS:
        for batch in _batches(dataset.row_type, dataset.rows(part)):
            flat = [text for row, _ in batch for text in row]
            ids = iter(encode_texts(tokenizer, flat, literal=True))
            for row, values in batch:
                lengths = [len(next(ids)) for _ in row]
                counts.tokens.add(sum(lengths))
                if dataset.row_type is RowType.PREFERENCE:
                    _compare_sides(counts, values, lengths)
                token = next((token for token in special for text in row if token in text), None)
                if token is not None:
                    counts.named["special_tokens"] += 1
                    counts.first.setdefault("special_tokens", token)
            progress(f"tokenising {dataset.name}", len(counts.tokens))


def _compare_sides(counts: Counts, values: Values, lengths: list[int]) -> None:
    """Which side of a pair has more tokens; the lengths are those of all its messages."""
    start = len(values["prompt"])
    middle = start + len(values["chosen"])
    chosen, rejected = sum(lengths[start:middle]), sum(lengths[middle:])
    counts.named.update(pairs=1, chosen_longer=int(chosen > rejected), equal=int(chosen == rejected))


def _batches(row_type: RowType, rows: Iterable[Values]) -> Iterator[list[tuple[list[str], Values]]]:
    """Rows with their texts, some hundred at a time, fewer where they are long."""
    batch: list[tuple[list[str], Values]] = []
    size = 0
    for values in rows:
        row = list(texts(row_type, values))
        batch.append((row, values))
        size += sum(map(len, row))
        if len(batch) == _BATCH_ROWS or size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
