"""From what was counted in a sample to verdicts.

As with data sets, the stage's own rule says when too many rows are lost. Masks and EOS hold by
construction for rows that `encode` makes; they are counted all the same, on the rows themselves, since a
sample without them trains without complaint and learns nothing.
"""

from collections import Counter
from collections.abc import Iterator

from tempering.data.rows import RowType
from tempering.data.sample.mixing import Mix, check_rejected
from tempering.doctor.check import Check, Level, rows, share, worst
from tempering.doctor.sample import SampleFindings
from tempering.errors import DataError

_TRUNCATED = 0.1
_THIN = 0.05


def sample_checks(sample: SampleFindings) -> list[Check]:
    """Everything there is to say about a sample that could be made."""
    assert sample.error is None, "a sample that cannot be made has no checks"
    if sample.refused is not None:
        fault = sample.refused
        return [Check("making", Level.FATAL, f"it cannot be made: {fault.found}", fault.fix)]
    found = list(_unfit(sample))
    if not sample.used and worst(found) < Level.FATAL:
        found.append(_nothing_left(sample))
    if sample.used:
        found += [*_truncated(sample), *_mask(sample), *_eos(sample), *_limit(sample)]
    return found


def _nothing_left(sample: SampleFindings) -> Check:
    left_out = sum(source.left_out for source in sample.mixes["train"].sources)
    why = f": {rows(left_out)} not meant for this use" if left_out else ""
    fix = "check `eval_fraction`, `max_length` and the data sets"
    return Check("rows", Level.FATAL, f"no row is left to train on{why}", fix)


def _unfit(sample: SampleFindings) -> Iterator[Check]:
    for part, mix in sample.mixes.items():
        reasons = sum((source.reasons for source in mix.sources), Counter[str]())
        lost, total = reasons.total(), mix.rows + reasons.total()
        numbers = {"part": part, "rows": lost, "reasons": dict(reasons.most_common())}
        said = ", ".join(f"{count:,} × {reason}" for reason, count in reasons.most_common(3))
        where = "" if part == "train" else " of the eval part"
        text = f"{lost:,} of {rows(total)}{where} cannot be used ({share(lost, total)}): {said}"
        try:
            check_rejected(mix, sample.config.max_rejected_fraction)
        except DataError as error:
            yield Check("unfit", Level.FATAL, f"{text}; {error.expected}", error.fix, numbers)
        else:
            if lost:
                yield Check("unfit", Level.NOTE, text, numbers=numbers)
            elif part == "train":
                yield Check("unfit", Level.OK, "every row fits", numbers=numbers)
        yield from _left_out(part, mix)


def _left_out(part: str, mix: Mix) -> Iterator[Check]:
    count = sum(source.left_out for source in mix.sources)
    if count and part == "train":
        text = f"{rows(count)} not meant for this use, such as answers that were judged bad"
        yield Check("left_out", Level.NOTE, text, numbers={"rows": count})


def _truncated(sample: SampleFindings) -> Iterator[Check]:
    count = sum(source.truncated for source in sample.mixes["train"].sources)
    numbers = {"rows": count, "share": count / sample.used}
    if sample.row_type is RowType.TEXT:
        return  # documents are cut into pieces, of which none is lost
    if not count:
        yield Check("truncation", Level.OK, "nothing is truncated", numbers=numbers)
        return
    level = Level.WARNING if count >= _TRUNCATED * sample.used else Level.NOTE
    text = f"{rows(count)} ({share(count, sample.used)}) lose the beginning of their prompt"
    name = "--max-length" if sample.natural else "max_length"
    fix = f"raise {name}, now {sample.config.max_length:,}" if level is Level.WARNING else ""
    yield Check("truncation", level, text, fix, numbers)


def _mask(sample: SampleFindings) -> Iterator[Check]:
    found = sample.answers.covered.spread()
    if found is None:
        return
    without = sample.answers.without
    numbers = {"min": found.min, "median": found.median, "rows_without": without}
    if without:
        what = "all masks are empty" if without == sample.used else f"{rows(without)} teach nothing"
        yield Check("mask", Level.FATAL, f"{what}: no token of theirs is trained on",
                    "check the chat template and `prompt_format`", numbers)  # fmt: skip
        return
    said = f"{share(found.median, 1)} of a row's tokens are trained on (median; least {share(found.min, 1)})"
    thin = found.median < _THIN
    yield Check("mask", Level.NOTE if thin else Level.OK, said, numbers=numbers)


def _eos(sample: SampleFindings) -> Iterator[Check]:
    answers = sample.answers
    if not answers.last:
        return
    numbers = {"ends": answers.last, "ended": answers.ended,
               "inner_ends": answers.inner, "inner_ended": answers.inner_ended}  # fmt: skip
    if sample.row_type is RowType.TEXT:
        mix = sample.mixes["train"]
        cut = mix.limit is not None and mix.tokens >= mix.limit  # perhaps in the first document
        if not answers.ended and not cut:
            yield _no_eos("no document ends with EOS", numbers)
        else:
            yield Check("eos", Level.OK, f"{rows(answers.ended, 'document')} end with EOS", numbers=numbers)
        return
    missing = answers.last - answers.ended
    if missing:
        yield _no_eos(f"{missing:,} of {rows(answers.last, 'answer')} do not end with EOS", numbers)
    elif answers.inner > answers.inner_ended:
        left = answers.inner - answers.inner_ended
        yield Check("eos", Level.WARNING,
                    f"every row ends with EOS, but {left:,} of {rows(answers.inner, 'answer')} inside "
                    "conversations do not", "give the tokenizer a template with {{ eos_token }} after each "
                    "answer", numbers)  # fmt: skip
    else:
        yield Check("eos", Level.OK, "every answer ends with EOS", numbers=numbers)


def _no_eos(text: str, numbers: dict[str, int]) -> Check:
    return Check("eos", Level.FATAL, f"{text}: a model would not learn to stop",
                 "check the tokenizer's EOS token and its chat template", numbers)  # fmt: skip


def _limit(sample: SampleFindings) -> Iterator[Check]:
    """What the mix warns of; where not all rows were seen it would warn of what the doctor left out."""
    if sample.more:
        return
    for part, mix in sample.mixes.items():
        for warning in mix.warnings:
            yield Check("mix", Level.WARNING if part == "train" else Level.NOTE, f"{part}: {warning}")
