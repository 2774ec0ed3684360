"""How much a set of texts repeats: n-grams in it, its texts among one another, and others' texts in it.

The share of distinct n-grams (Li et al. 2016, https://arxiv.org/abs/1510.03055) falls the more one reads, so
that it is taken in blocks of equally many words. Self-BLEU is that of Zhu et al. 2018
(https://arxiv.org/abs/1802.01886): each text's sentence BLEU with all others as its references.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

Words = Sequence[str]
Gram = tuple[str, ...]


def grams(words: Words, order: int) -> Iterator[Gram]:
    """The runs of `order` words."""
    return zip(*(words[start:] for start in range(order)), strict=False)


def distinct(texts: Iterable[Words], order: int, budget: int) -> list[float]:
    """Share of different n-grams among all in each block of `budget` words.

    A text belongs to one block: what of it goes beyond is not counted, nor is a last block that is not full.
    """
    shares, block, size = [], Counter[Gram](), 0
    for words in texts:
        piece = words[: budget - size]
        block.update(grams(piece, order))
        size += len(piece)
        if size == budget:
            if block:
                shares.append(len(block) / block.total())
            block, size = Counter(), 0
    return shares


def self_bleu(texts: Sequence[str]) -> list[float | None]:
    """Each text's sentence BLEU (0 to 100, as sacrebleu's) with all others as references.

    None for an empty text, and where there is no other: neither is a reference. The counts of all texts are
    taken once, with the two largest of each n-gram, instead of anew for each text.
    """
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.helpers import extract_all_word_ngrams
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    # The n-grams of each text, and the two largest counts of each n-gram over all of them.
    split = Tokenizer13a()
    counted = {
        place: extract_all_word_ngrams(split(text.strip()), 1, 4)
        for place, text in enumerate(texts)
        if text.strip()
    }
    if len(counted) < 2:
        return [None] * len(texts)
    largest: dict[Gram, tuple[int, int]] = {}
    for own, _ in counted.values():
        for gram, count in own.items():
            first, second = largest.get(gram, (0, 0))
            largest[gram] = (count, first) if count > first else (first, max(second, count))
    lengths = sorted(length for _, length in counted.values())

    scores: list[float | None] = [None] * len(texts)
    for place, (own, length) in counted.items():
        correct, total = [0] * 4, [0] * 4
        for gram, count in own.items():
            first, second = largest[gram]
            total[len(gram) - 1] += count
            correct[len(gram) - 1] += min(count, second if count == first else first)
        nearest = _nearest_other(lengths, length)
        scores[place] = BLEU.compute_bleu(
            correct, total, length, nearest, smooth_method="exp", effective_order=True
        ).score
    return scores


def _nearest_other(lengths: Sequence[int], length: int) -> int:
    """The nearest of the sorted lengths but one that is `length` itself; of two, the shorter."""
    place = bisect_left(lengths, length)
    beside = [lengths[other] for other in (place - 1, place + 1) if 0 <= other < len(lengths)]
    return min(beside, key=lambda item: (abs(item - length), item))


def repeated(texts: Sequence[str]) -> list[float]:
    """1 for each text that another equals, but for white space around it."""
    counts = Counter(text.strip() for text in texts)
    return [float(counts[text.strip()] > 1) for text in texts]


def copied(texts: Sequence[str], others: Iterable[str], run: int) -> list[float | None]:
    """1 for each text with `run` words in a row that stand so in one of `others`; None for shorter texts."""
    # Where each run of the texts occurs; its first and last word sort out nearly all others at once.
    lines = [text.split() for text in texts]
    places: dict[Gram, set[int]] = {}
    for place, words in enumerate(lines):
        for gram in grams(words, run):
            places.setdefault(gram, set()).add(place)
    ends = {(gram[0], gram[-1]) for gram in places}

    found: set[int] = set()
    for other in others:
        words = other.split()
        for start, pair in enumerate(zip(words, words[run - 1 :], strict=False)):
            if pair in ends:
                found |= places.get(tuple(words[start : start + run]), set())
    return [float(place in found) if len(words) >= run else None for place, words in enumerate(lines)]
