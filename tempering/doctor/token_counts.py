"""The rows of a data set in tokens: how long they are, and which side of a pair is the longer.

Only running text is counted here, without what a template adds; what a model is given is counted
where a sample is made.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tempering.data.prepare import PARTS
from tempering.data.prompt_tokens import encode_texts
from tempering.data.rows import RowType, Values, texts
from tempering.doctor.counters import Tokens
from tempering.doctor.dataset import Dataset, Progress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_BATCH_ROWS, _BATCH_CHARACTERS = 512, 1 << 20


def count_tokens(
    dataset: Dataset, tokenizer: "PreTrainedTokenizerBase", progress: Progress = lambda what, done: None
) -> Tokens:
    """Tokenise every text of a data set."""
    found = Tokens()
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    for part in PARTS:
        for batch in _batches(dataset.row_type, dataset.rows(part)):
            flat = [text for row, _ in batch for text in row]
            ids = iter(encode_texts(tokenizer, flat, literal=True))
            for row, values in batch:
                _count(found, dataset.row_type, values, [len(next(ids)) for _ in row])
                written = next((token for token in special for text in row if token in text), "")
                found.special += bool(written)
                found.special_token = found.special_token or written
            progress(f"tokenising {dataset.name}", len(found.lengths))
    return found


def _count(found: Tokens, row_type: RowType, values: Values, counts: list[int]) -> None:
    found.lengths.add(sum(counts))
    if row_type is RowType.PREFERENCE:
        start = len(values["prompt"])
        middle = start + len(values["chosen"])
        chosen, rejected = sum(counts[start:middle]), sum(counts[middle:])
        found.pairs += 1
        found.longer += chosen > rejected
        found.equal += chosen == rejected


def _batches(row_type: RowType, rows: Iterable[Values]) -> Iterator[list[tuple[list[str], Values]]]:
    """Rows with their texts, some hundred at a time, fewer where they are long."""
    batch: list[tuple[list[str], Values]] = []
    size = 0
    for values in rows:
        found = list(texts(row_type, values))
        batch.append((found, values))
        size += sum(map(len, found))
        if len(batch) == _BATCH_ROWS or size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
