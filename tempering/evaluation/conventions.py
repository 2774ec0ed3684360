"""How candidates become token ids, and which of them wins: the conventions that move scores.

- `honest`: as in training: after BOS, or the EOS of another document; special tokens that a text spells are
  text; ties are shared. The default.
- `official`: as the pipelines of BabyLM 2025 and 2026 (https://github.com/babylm/evaluation-pipeline-2025,
  `sentence_zero_shot`): the special tokens that the tokenizer adds by itself, so that without a BOS the first
  token is not scored; the tokens whose end lies beyond the start of the completion; the first best one wins.
- `bos`: the same after a BOS, or an EOS where the tokenizer has none, so that all tokens are scored.
- `lmeval`: as lm-evaluation-harness (`_encode_pair`): a whole sentence follows a BOS or EOS and a space; a
  completion begins where the tokens of its context end; the first best one wins.

All score in fp32 with the padding of `LanguageModel.logprobs`, of which no score depends.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from tempering.data.token_ids import as_tokenizer_has_it, document_start, encode_texts
from tempering.errors import DataError

if TYPE_CHECKING:
    from tempering.evaluation.benchmarks.base import Tools
    from tempering.generation.language_model import LanguageModel

Scoring = Literal["honest", "official", "bos", "lmeval"]
Ids = list[int]
Pair = tuple[Ids, Ids]
"""Tokens that are read, and those after them that are scored."""
Candidate = tuple[str, str]
"""A context, which may be empty, and the completion that is scored."""


def joined(context: str, completion: str) -> str:
    """A candidate as one text: the context's own white space, or one space where there is none."""
    body = context.rstrip()
    gap = context[len(body) :] or (" " if body and not completion[:1].isspace() else "")
    return body + gap + completion


def encoded(model: "LanguageModel", candidates: Sequence[Candidate], scoring: Scoring) -> list[Pair]:
    """Each candidate as tokens that are read and tokens that are scored."""
    return list(_ENCODERS[scoring](model, candidates))


def totals(
    model: "LanguageModel", rows: Sequence[Sequence[Candidate]], scoring: Scoring, tools: "Tools"
) -> list[list[float]]:
    """The log-probability of each candidate of each row; see `sums`."""
    pairs = iter(encoded(model, [candidate for row in rows for candidate in row], scoring))
    return sums(model, [[next(pairs) for _ in row] for row in rows], tools)


def sums(model: "LanguageModel", rows: Sequence[list[Pair]], tools: "Tools") -> list[list[float]]:
    """The log-probability of each candidate of each row; NaN for a row without room.

    A context that is too long loses its beginning, alike for all candidates of a row; how many rows is
    counted in `model.cut`. A row with a candidate that has no token, or more than the model has positions,
    cannot be scored; their number is a warning.

    Raises:
        DataError: no row can be scored.
    """
    lines = [fitted(model, row) for row in rows]
    unfit = sum(line is None for line in lines)
    if unfit and unfit == len(rows):
        raise DataError(
            f"none of the {unfit} rows can be scored: each has a candidate without tokens, or with more "
            f"than the {model.room} positions of the model",
            expected=f"candidates of 1 to {model.room - 1} tokens",
            fix="correct the rows, or evaluate a model with more positions",
        )
    if unfit and tools.out is not None:
        tools.out.warn(
            f"{unfit} of {len(rows)} rows are left out: a candidate has no token, or more than the "
            f"{model.room} positions of the model"
        )

    # Equal candidates are scored once, so that they tie exactly.
    keys = [[(*map(tuple, pair),) for pair in line] if line else None for line in lines]
    distinct = dict.fromkeys(key for line in keys if line for key in line)
    scores = model.logprobs([([*before], [*after]) for before, after in distinct])
    values = dict(zip(distinct, map(sum, scores), strict=True))
    return [
        [values[key] for key in line] if line else [math.nan] * len(row)
        for line, row in zip(keys, rows, strict=True)
    ]


def fitted(model: "LanguageModel", row: list[Pair]) -> list[Pair] | None:
    """The candidates of a row, their contexts cut alike to fit; None where one cannot be scored."""
    lengths = [len(scored) for _, scored in row]
    if not all(0 < length < model.room for length in lengths):
        return None
    room = model.room - max(lengths)
    model.cut += any(len(before) > room for before, _ in row)
    return [(before[-room:], scored) for before, scored in row]


def winners(scores: Sequence[float]) -> list[int]:
    """Places of the best score; none where a score is not a number, since nothing can be said then."""
    if any(math.isnan(score) for score in scores):
        return []
    return [place for place, score in enumerate(scores) if score == max(scores)]


def points(scores: Sequence[float], answer: int, scoring: Scoring) -> float | None:
    """What a row counts: 1 for the right candidate, in a tie of k 1/k or as the convention has it.

    None: the row could not be scored.
    """
    places = winners(scores)
    if not places:
        return None
    if scoring != "honest":
        return float(places[0] == answer)
    return 1 / len(places) if answer in places else 0.0


def _honest(model: "LanguageModel", candidates: Sequence[Candidate]) -> Iterator[Pair]:
    texts = [joined(*candidate) for candidate in candidates]
    ids = encode_texts(
        model.tokenizer, [*(context.rstrip() for context, _ in candidates), *texts], literal=True
    )
    start = document_start(model.tokenizer)
    for before, whole in zip(ids[: len(texts)], ids[len(texts) :], strict=True):
        # A token over the border belongs to the context, but the last one is always scored.
        cut = max(0, min(len(before), len(whole) - 1))
        yield [*start, *whole[:cut]], whole[cut:]


def _official(model: "LanguageModel", candidates: Sequence[Candidate]) -> Iterator[Pair]:
    return _by_offsets(model, candidates, [], own_specials=True)


def _bos(model: "LanguageModel", candidates: Sequence[Candidate]) -> Iterator[Pair]:
    return _by_offsets(model, candidates, [_prefix(model)], own_specials=False)


def _by_offsets(
    model: "LanguageModel", candidates: Sequence[Candidate], start: Ids, *, own_specials: bool
) -> Iterator[Pair]:
    """The scored tokens are those whose end lies beyond the start of the completion."""
    texts = [joined(*candidate) for candidate in candidates]
    encodings = as_tokenizer_has_it(model.tokenizer, texts, specials=own_specials)
    for text, (_, completion), (ids, offsets) in zip(texts, candidates, encodings, strict=True):
        # As there: relative to where the first token begins.
        begin = len(text) - len(completion) + (offsets[0][0] if offsets else 0)
        places = [place for place, (_, end) in enumerate(offsets) if end > begin]
        # Nothing stands before the very first token: it is read only.
        first = max(places[0], 0 if start else 1) if places else len(ids)
        last = places[-1] + 1 if places else len(ids)
        yield [*start, *ids[:first]], ids[first:last]


def _lmeval(model: "LanguageModel", candidates: Sequence[Candidate]) -> Iterator[Pair]:
    prefix = _prefix(model)
    contexts = [context.rstrip() for context, _ in candidates]
    texts = [joined(*candidate) for candidate in candidates]
    befores = as_tokenizer_has_it(model.tokenizer, contexts, specials=True)
    wholes = as_tokenizer_has_it(model.tokenizer, texts, specials=True)
    alone = iter(
        as_tokenizer_has_it(
            model.tokenizer, [f" {text}" for context, text in candidates if not context], specials=False
        )
    )
    for (context, _), (before, _), (whole, _) in zip(candidates, befores, wholes, strict=True):
        if context:
            yield before, whole[len(before) :]
        else:
            ids, _ = next(alone)
            yield (ids[:1], ids[1:]) if ids[:1] == [prefix] else ([prefix], ids)


def _prefix(model: "LanguageModel") -> int:
    """The BOS token, or the EOS of a tokenizer without one."""
    bos: int | None = model.tokenizer.bos_token_id
    return int(model.tokenizer.eos_token_id) if bos is None else bos


_ENCODERS: Mapping[Scoring, Callable[["LanguageModel", Sequence[Candidate]], Iterator[Pair]]] = {
    "honest": _honest,
    "official": _official,
    "bos": _bos,
    "lmeval": _lmeval,
}
