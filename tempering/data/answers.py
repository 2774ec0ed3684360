"""Compare a short answer with gold answers: SQuAD's normalisation, exact match, token F1 (Rajpurkar 2016)."""

import re
import string
from collections import Counter
from collections.abc import Sequence


def normalise_answer(text: str) -> str:
    """SQuAD's normalisation: lower case, no punctuation, no articles, single spaces."""
    text = "".join(char for char in text.lower() if char not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(answer: str, gold: Sequence[str]) -> float:
    """1.0 if the normalised answer is one of the gold answers, else 0.0."""
    return float(normalise_answer(answer) in {normalise_answer(text) for text in gold})


def f1(answer: str, gold: Sequence[str]) -> float:
    """SQuAD's token F1 against the best gold answer."""
    return max(
        (_f1(normalise_answer(answer).split(), normalise_answer(text).split()) for text in gold), default=0.0
    )


def _f1(answer: list[str], gold: list[str]) -> float:
    """Token F1 of two lists of words."""
    if not answer or not gold:
        return float(answer == gold)
    common = sum((Counter(answer) & Counter(gold)).values())
    return 2 * common / (len(answer) + len(gold))
