"""From what was counted in a data set to verdicts.

The rules of the stage `dataset` are asked, not repeated: what it would refuse is fatal here. The rest is
what no stage refuses and training would quietly suffer from.
"""

from collections import Counter
from collections.abc import Iterator

from tempering.data.prepare import check_totals
from tempering.data.rows import Rejected, RowType
from tempering.doctor.check import Check, Level, rows, share
from tempering.doctor.dataset import Dataset
from tempering.errors import DataError

SAME_SIDES = "chosen and rejected are the same"
SAME_SENTENCES = "both sentences are the same"
PROMPTS_DIFFER = "the prompts of chosen and rejected differ"

_MANY = 0.05
_LEAKED, _ALL_LEAKED = 0.01, 0.5
_LONGER, _PAIRS = 0.65, 50
_SHOWN = 3


def dataset_checks(dataset: Dataset) -> list[Check]:
    """Everything there is to say about a data set that could be read."""
    assert dataset.error is None, "a data set that cannot be read has no checks"
    found = list(_rejected(dataset))
    if dataset.seen:
        found += [*_refused_pairs(dataset), *_empties(dataset)]
    if dataset.kept:
        found += [*_parts(dataset), *_repeats(dataset), *_leaks(dataset), *_tokens(dataset)]
        found += [*dataset.content.checks(_constant(dataset)), *dataset.blemishes.checks()]
    return found


def _rejected(dataset: Dataset) -> Iterator[Check]:
    totals = dataset.totals
    dropped, seen = totals.dropped.total(), dataset.seen
    numbers = {"rows": dropped, "reasons": dict(totals.dropped.most_common())}
    try:
        check_totals(totals, dataset.config)
    except DataError as error:
        text = f"{_left_out(dropped, seen, totals.dropped)}; {error.expected}" if dropped else error.found
        yield Check("rejected", Level.FATAL, text, error.fix, {**numbers, "first": _first(totals.first)})
    else:
        level, text = Level.OK, "no row rejected"
        if dropped:
            level, text = Level.NOTE, _left_out(dropped, seen, totals.dropped)
        yield Check("rejected", level, text, numbers={**numbers, "first": _first(totals.first)})
    for name, counts in (("filtered", totals.filtered), ("changed", totals.changed)):
        if counts:
            numbers = {"rows": counts.total(), "reasons": dict(counts.most_common())}
            yield Check(name, Level.NOTE, f"{name}: {_reasons(counts, seen)}", numbers=numbers)


def _refused_pairs(dataset: Dataset) -> Iterator[Check]:
    """Said by themselves where there are none; where there are some, their rejections say so."""
    known = {
        RowType.PREFERENCE: (("same_sides", SAME_SIDES, "no pair has two equal sides"),
                             ("prompts_differ", PROMPTS_DIFFER, "the two sides of a pair share a prompt")),
        RowType.MINIMAL_PAIR: (("same_sentences", SAME_SENTENCES, "no pair has two equal sentences"),),
    }  # fmt: skip
    for name, reason, none in known.get(dataset.row_type, ()):
        count = dataset.totals.dropped[reason]
        text = none if not count else f"{rows(count, 'pair')} left out: {reason}"
        yield Check(name, Level.OK, text, numbers={"rows": count}, quiet=count > 0)


def _empties(dataset: Dataset) -> Iterator[Check]:
    reasons = Counter({
        reason: count
        for reason, count in (dataset.totals.dropped + dataset.totals.changed).items()
        if "empty" in reason
    })  # fmt: skip
    count = reasons.total()
    text = f"{rows(count)} with something empty: {_reasons(reasons)}" if count else "nothing is empty"
    yield Check("empties", Level.OK, text, numbers={"rows": count}, quiet=count > 0)


def _parts(dataset: Dataset) -> Iterator[Check]:
    train, held_out = (dataset.totals.rows[part] for part in ("train", "eval"))
    if "training" in dataset.uses and not train:
        yield Check("parts", Level.FATAL, "every row is held out, so there is none to train on",
                    "lower its `eval_fraction`")  # fmt: skip
    elif dataset.uses == {"evaluation"} and not held_out:
        yield Check("parts", Level.WARNING, "no row is held out: its train part is measured on",
                    "set `eval_fraction: 1`")  # fmt: skip


def _repeats(dataset: Dataset) -> Iterator[Check]:
    found, kept = dataset.digests.repeats(), dataset.kept
    numbers = {"rows": found.repeated, "first": list(found.first or ())}
    if not found.repeated:
        yield Check("duplicates", Level.OK, "no row repeats another", numbers=numbers)
    elif found.different == 1:
        yield Check("duplicates", Level.FATAL, f"all {rows(kept)} are the same",
                    "check which columns are read", numbers)  # fmt: skip
    else:
        assert found.first is not None
        many = found.repeated >= _MANY * kept and dataset.uses != {"evaluation"}  # measured twice: no harm
        level = Level.WARNING if many else Level.NOTE
        verb = "repeats" if found.repeated == 1 else "repeat"
        text = (
            f"{rows(found.repeated)} ({share(found.repeated, kept)}) {verb} an earlier one, "
            f"first {found.first[1]} the one in {found.first[0]}"
        )
        fix = "set `quality: {duplicates: exact}`" if level is Level.WARNING else ""
        yield Check("duplicates", level, text, fix, numbers)


def _leaks(dataset: Dataset) -> Iterator[Check]:
    measured = dataset.totals.rows[dataset.measured_part]
    for name, count in dataset.leaks.items():
        where = "in its train part too" if name == dataset.name else f"in {name}, which is trained on"
        text = f"{rows(count)} of {measured:,} held out ({share(count, measured)}) open as rows do {where}"
        level = Level.NOTE
        if count >= _LEAKED * measured:
            level = Level.FATAL if count >= _ALL_LEAKED * measured and measured > 1 else Level.WARNING
        fix = f"set `quality: {{decontaminate: [{dataset.name}]}}` on {name}" if level > Level.NOTE else ""
        if name == dataset.name:
            fix = "hold rows out with `eval_fraction`" if level > Level.NOTE else ""
        yield Check("leak", level, text, fix, {"rows": count, "dataset": name})


def _tokens(dataset: Dataset) -> Iterator[Check]:
    tokens = dataset.tokens
    if tokens is None:
        return
    if tokens.special:
        level = Level.WARNING if tokens.special >= 0.01 * dataset.kept else Level.NOTE
        text = (
            f"{rows(tokens.special)} ({share(tokens.special, dataset.kept)}) with a special token written "
            f"out, such as {tokens.special_token}: refused in conversations, plain text in documents"
        )
        yield Check("special_tokens", level, text, numbers={"rows": tokens.special})
    else:
        yield Check("special_tokens", Level.OK, "no special token in the texts", numbers={"rows": 0})
    if tokens.pairs:
        yield _length_bias(tokens.pairs, tokens.longer, tokens.equal)


def _length_bias(pairs: int, longer: int, equal: int) -> Check:
    numbers = {"pairs": pairs, "chosen_longer": longer, "equal": equal}
    differ = pairs - equal
    said = f"chosen is the longer side in {share(longer, differ)} of the pairs"
    said += f" ({equal:,} as long)" if equal else ""
    if differ >= _PAIRS and not 1 - _LONGER <= longer / differ <= _LONGER:
        word = "longer" if longer > differ / 2 else "shorter"
        text = f"{said}: a model may learn to like {word} answers"
        right = share(max(longer, differ - longer), differ)
        fix = f"compare the reward model with always taking the {word} side: right in {right}"
        return Check("length_bias", Level.WARNING, text, fix, numbers)
    return Check("length_bias", Level.OK, said, numbers=numbers)


def _constant(dataset: Dataset) -> Level:
    """How bad it is when every row has the same label or score."""
    if dataset.more:
        return Level.WARNING  # the file may be sorted
    only_text = "training" in dataset.uses and "evaluation" not in dataset.uses
    return Level.WARNING if only_text else Level.FATAL


def _left_out(count: int, seen: int, reasons: "Counter[str]") -> str:
    return f"{count:,} of {rows(seen)} rejected ({share(count, seen)}): {_reasons(reasons)}"


def _reasons(counts: "Counter[str]", seen: int = 0) -> str:
    """The most frequent ones; with the share of the rows `seen`, where that is given."""
    said = ", ".join(
        f"{count:,} × {reason}{f' ({share(count, seen)})' if seen else ''}"
        for reason, count in counts.most_common(_SHOWN)
    )
    left = len(counts) - _SHOWN
    return f"{said} and {rows(left, 'more reason')}" if left > 0 else said


def _first(items: list[Rejected]) -> list[dict[str, str]]:
    """The first of each reason among the first that were rejected."""
    by_reason: dict[str, Rejected] = {}
    for one in items:
        by_reason.setdefault(one.reason, one)
    return [
        {"place": f"{one.file}:{one.line}", "reason": one.reason, "excerpt": one.excerpt}
        for one in list(by_reason.values())[:_SHOWN]
    ]
