"""From what was counted in a data set to verdicts.

The rules of the stage `dataset` are asked, not repeated: what it would refuse is fatal here. The rest is
what no stage refuses and training would quietly suffer from.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from tempering.data.builders.columns import TRAINED_ON_ANSWERS
from tempering.data.builders.verdicts import is_judge
from tempering.data.prepare import check_totals
from tempering.data.rows import Rejected, RowType
from tempering.doctor.check import Check, Level, graded, rows, share
from tempering.doctor.dataset import Dataset
from tempering.doctor.text_defects import trace_checks
from tempering.doctor.value_checks import value_checks
from tempering.errors import DataError

_SIDES, _SENTENCES = RowType.PREFERENCE, RowType.MINIMAL_PAIR
_REFUSED_PAIRS = {
    "same_sides": (_SIDES, "chosen and rejected are the same", "no pair has two equal sides"),
    "prompts_differ": (
        *(_SIDES, "the prompts of chosen and rejected differ"),
        "the two sides of a pair share a prompt",
    ),
    "same_sentences": (_SENTENCES, "both sentences are the same", "no pair has two equal sentences"),
}
"""Check -> type of the rows, reason of the builder, and what is said where there are none."""
_MANY_REPEATS = 0.05
_MANY_SPECIAL = 0.01
_LEAKED, _ALL_LEAKED = 0.01, 0.5
_LONGER, _PAIRS = 0.65, 50
_SHOWN = 3
_COLUMNS = 12


def dataset_checks(dataset: Dataset) -> list[Check]:
    """Everything there is to say about a data set that could be read."""
    assert dataset.error is None, "a data set that cannot be read has no checks"
    checks = list(_left_out(dataset))
    if dataset.seen:
        checks += [*_refused_pairs(dataset), _empties(dataset)]
    if dataset.kept:
        checks += [
            _columns(dataset),
            *_parts(dataset),
            _repeats(dataset),
            *_leaks(dataset),
            _special_tokens(dataset),
        ]
        contradictions = dataset.contradictions.check()
        checks += [contradictions] if contradictions else []
        if dataset.counts.named["pairs"]:
            checks.append(_length_bias(dataset))
        checks += value_checks(dataset.counts, dataset.row_type, _constant(dataset))
        checks += trace_checks(dataset.counts, dataset.kept)
    return checks


def _left_out(dataset: Dataset) -> Iterator[Check]:
    """Rejected rows, judged by the stage's own rule; then those that were filtered or changed."""
    totals, seen = dataset.totals, dataset.seen
    dropped = totals.dropped.total()
    level, text, fix = Level.OK, "no row rejected", ""
    if dropped:
        level = Level.NOTE
        text = f"{dropped:,} of {rows(seen)} rejected ({share(dropped, seen)}): {_reasons(totals.dropped)}"
    try:
        check_totals(totals, dataset.config)
    except DataError as error:
        level, fix = Level.FATAL, error.fix
        text = f"{text}; {error.expected}" if dropped else error.found
    numbers = {"rows": dropped, "reasons": dict(totals.dropped.most_common()), "first": _first(totals.first)}
    yield Check("rejected", level, text, fix, numbers)

    for name, counts in (("filtered", totals.filtered), ("changed", totals.changed)):
        if counts:
            numbers = {"rows": counts.total(), "reasons": dict(counts.most_common())}
            yield Check(name, Level.NOTE, f"{name}: {_reasons(counts, seen)}", numbers=numbers)


def _columns(dataset: Dataset) -> Check:
    """The columns that nothing is made of; one whose name says that it judges is worth a warning."""
    unused, extras = dataset.totals.unused, sorted(dataset.extras)
    kept = f"; kept beside the rows: {_listed(extras)}" if extras else ""
    numbers = {"unused": dict(unused.most_common()), "kept": extras}
    if not unused:
        return Check(
            "columns", Level.OK, f"every column is used{' or kept' if kept else ''}{kept}", "", numbers
        )
    text = f"not used: {_listed([f'{name} ({rows(count)})' for name, count in unused.most_common()])}{kept}"
    judges = [name for name in unused if is_judge(name) and dataset.row_type in TRAINED_ON_ANSWERS]
    if not judges:
        return Check("columns", Level.NOTE, text, numbers=numbers)
    fix = f"{_listed(judges)}: leave the bad rows out, if this says which answers are bad"
    return Check("columns", Level.WARNING, text, fix, numbers)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _COLUMNS
    return ", ".join(names[:_COLUMNS]) + (f" and {more} more" if more > 0 else "")


def _refused_pairs(dataset: Dataset) -> Iterator[Check]:
    """Said by themselves where there are none; where there are some, their rejections say so."""
    for name, (row_type, reason, none) in _REFUSED_PAIRS.items():
        if row_type is dataset.row_type:
            count = dataset.totals.dropped[reason]
            text = f"{rows(count, 'pair')} left out: {reason}" if count else none
            yield Check(name, Level.OK, text, numbers={"rows": count}, quiet=count > 0)


def _empties(dataset: Dataset) -> Check:
    reasons = dataset.totals.dropped + dataset.totals.changed
    reasons = Counter({reason: count for reason, count in reasons.items() if "empty" in reason})
    count = reasons.total()
    text = f"{rows(count)} with something empty: {_reasons(reasons)}" if count else "nothing is empty"
    return Check("empties", Level.OK, text, numbers={"rows": count}, quiet=count > 0)


def _parts(dataset: Dataset) -> Iterator[Check]:
    train, held_out = dataset.totals.rows["train"], dataset.totals.rows["eval"]
    if "training" in dataset.uses and not train:
        text = "every row is held out, so there is none to train on"
        yield Check("parts", Level.FATAL, text, "lower its `eval_fraction`")
    elif dataset.uses == {"evaluation"} and not held_out:
        text = "no row is held out: its train part is measured on"
        yield Check("parts", Level.WARNING, text, "set `eval_fraction: 1`")


def _repeats(dataset: Dataset) -> Check:
    kept = dataset.kept
    count, different, first = dataset.digests.repeats()
    numbers = {"rows": count, "first": list(first or ())}
    if first is None:
        return Check("duplicates", Level.OK, "no row repeats another", numbers=numbers)
    if different == 1:
        text = f"all {rows(kept)} are the same"
        return Check("duplicates", Level.FATAL, text, "check which columns are read", numbers)
    level = graded(count, kept, _MANY_REPEATS)
    if dataset.uses == {"evaluation"}:  # measured twice: no harm
        level = Level.NOTE
    verb = "repeats" if count == 1 else "repeat"
    text = (
        f"{rows(count)} ({share(count, kept)}) {verb} an earlier one, first {first[1]} the one in {first[0]}"
    )
    fix = "set `quality: {duplicates: exact}`" if level is Level.WARNING else ""
    return Check("duplicates", level, text, fix, numbers)


def _leaks(dataset: Dataset) -> Iterator[Check]:
    measured = dataset.totals.rows[dataset.measured_part]
    for name, count in dataset.leaks.items():
        level = graded(count, measured, _LEAKED, _ALL_LEAKED if measured > 1 else float("inf"))
        where, fix = (
            f"in {name}, which is trained on",
            f"set `quality: {{decontaminate: [{dataset.name}]}}` on {name}",
        )
        if name == dataset.name:
            where, fix = "in its train part too", "hold rows out with `eval_fraction`"
        text = f"{rows(count)} of {measured:,} held out ({share(count, measured)}) open as rows do {where}"
        yield Check("leak", level, text, fix if level > Level.NOTE else "", {"rows": count, "dataset": name})


def _special_tokens(dataset: Dataset) -> Check:
    count = dataset.counts.named["special_tokens"]
    text = "no special token in the texts"
    if count:
        text = (
            f"{rows(count)} ({share(count, dataset.kept)}) with a special token written out, such as "
            f"{dataset.counts.first['special_tokens']}: refused in conversations, plain text in documents"
        )
    return Check("special_tokens", graded(count, dataset.kept, _MANY_SPECIAL), text, numbers={"rows": count})


def _length_bias(dataset: Dataset) -> Check:
    numbers = dataset.counts.of("pairs", "chosen_longer", "equal")
    pairs, longer, equal = numbers.values()
    differ = pairs - equal
    text = f"chosen is the longer side in {share(longer, differ)} of the pairs"
    text += f" ({equal:,} as long)" if equal else ""
    if differ < _PAIRS or 1 - _LONGER <= longer / differ <= _LONGER:
        return Check("length_bias", Level.OK, text, numbers=numbers)
    word = "longer" if longer > differ / 2 else "shorter"
    right = share(max(longer, differ - longer), differ)
    fix = f"compare the reward model with always taking the {word} side: right in {right}"
    return Check(
        "length_bias", Level.WARNING, f"{text}: a model may learn to like {word} answers", fix, numbers
    )


def _constant(dataset: Dataset) -> Level:
    """How bad it is when every row has the same label or score."""
    if dataset.more:
        return Level.WARNING  # the file may be sorted
    only_text = "training" in dataset.uses and "evaluation" not in dataset.uses
    return Level.WARNING if only_text else Level.FATAL


def _reasons(counts: Counter[str], seen: int = 0) -> str:
    """The most frequent ones; with the share of the rows `seen`, where that is given."""
    text = ", ".join(
        f"{count:,} × {reason}{f' ({share(count, seen)})' if seen else ''}"
        for reason, count in counts.most_common(_SHOWN)
    )
    more = len(counts) - _SHOWN
    return f"{text} and {rows(more, 'more reason')}" if more > 0 else text


def _first(items: list[Rejected]) -> list[dict[str, str]]:
    """The first of each reason among the first that were rejected."""
    by_reason: dict[str, Rejected] = {}
    for item in items:
        by_reason.setdefault(item.reason, item)
    return [
        {"place": f"{item.file}:{item.line}", "reason": item.reason, "excerpt": item.excerpt}
        for item in list(by_reason.values())[:_SHOWN]
    ]
