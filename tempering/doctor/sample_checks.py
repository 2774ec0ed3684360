"""From what was counted in a sample to verdicts.

As with data sets, the stage's own rule says when too many rows are lost. Masks and EOS hold by
construction for rows that `encode` makes; they are counted all the same, on the rows themselves, since a
sample without them trains without complaint and learns nothing.
"""

from collections import Counter
from collections.abc import Iterator

from tempering.data.rows import RowType
from tempering.data.sample.mixing import Mix, check_rejected
from tempering.doctor.check import Check, Level, graded, rows, share
from tempering.doctor.sample import Sample
from tempering.errors import DataError

_TRUNCATED = 0.1
_THIN = 0.05


def sample_checks(sample: Sample) -> list[Check]:
    """Everything there is to say about a sample that could be made."""
    assert sample.error is None, "a sample that cannot be made has no checks"
    if sample.refused is not None:
        fault = sample.refused
        return [Check("making", Level.FATAL, f"it cannot be made: {fault.found}", fault.fix)]
    checks = [check for part, mix in sample.mixes.items() for check in _unfit(sample, part, mix)]
    if sample.rows("train"):
        checks += [*_truncated(sample), *_mask(sample), *_eos(sample), *_limit(sample)]
    elif all(check.level < Level.FATAL for check in checks):
        left_out = sum(source.left_out for source in sample.mixes["train"].sources)
        why = f": {rows(left_out)} not meant for this use" if left_out else ""
        fix = "check `eval_fraction`, `max_length` and the data sets"
        checks.append(Check("rows", Level.FATAL, f"no row is left to train on{why}", fix))
    return checks


def _unfit(sample: Sample, part: str, mix: Mix) -> Iterator[Check]:
    """Rows that cannot be used, and of the train part those that are not meant to be."""
    reasons = sum((source.reasons for source in mix.sources), Counter[str]())
    lost, total = reasons.total(), mix.rows + reasons.total()
    numbers = {"part": part, "rows": lost, "reasons": dict(reasons.most_common())}
    where = "" if part == "train" else " of the eval part"
    text = f"{lost:,} of {rows(total)}{where} cannot be used ({share(lost, total)}): "
    text += ", ".join(f"{count:,} × {reason}" for reason, count in reasons.most_common(3))

    # The stage would end where too many are lost.
    try:
        check_rejected(mix, sample.config.max_rejected_fraction)
    except DataError as error:
        yield Check("unfit", Level.FATAL, f"{text}; {error.expected}", error.fix, numbers)
    else:
        if lost:
            yield Check("unfit", Level.NOTE, text, numbers=numbers)
        elif part == "train":
            yield Check("unfit", Level.OK, "every row fits", numbers=numbers)

    left_out = sum(source.left_out for source in mix.sources)
    if left_out and part == "train":
        text = f"{rows(left_out)} not meant for this use, such as answers that were judged bad"
        yield Check("left_out", Level.NOTE, text, numbers={"rows": left_out})


def _truncated(sample: Sample) -> Iterator[Check]:
    if sample.row_type is RowType.TEXT:
        return  # documents are cut into pieces, of which none is lost
    used = sample.rows("train")
    count = sum(source.truncated for source in sample.mixes["train"].sources)
    level, text = graded(count, used, _TRUNCATED), "nothing is truncated"
    if count:
        text = f"{rows(count)} ({share(count, used)}) lose the beginning of their prompt"
    name = "--max-length" if sample.natural else "max_length"
    fix = f"raise {name}, now {sample.config.max_length:,}" if level is Level.WARNING else ""
    yield Check("truncation", level, text, fix, {"rows": count, "share": count / used})


def _mask(sample: Sample) -> Iterator[Check]:
    covered = sample.covered.spread()
    if not covered:
        return
    without = sample.counts.named["rows_without"]
    numbers = {"min": covered["min"], "median": covered["median"], "rows_without": without}
    if without:
        what = "all masks are empty" if without == sample.rows("train") else f"{rows(without)} teach nothing"
        fix = "check the chat template and `prompt_format`"
        yield Check("mask", Level.FATAL, f"{what}: no token of theirs is trained on", fix, numbers)
        return
    level = Level.NOTE if covered["median"] < _THIN else Level.OK
    median, least = share(covered["median"], 1), share(covered["min"], 1)
    text = f"{median} of a row's tokens are trained on (median; least {least})"
    yield Check("mask", level, text, numbers=numbers)


def _eos(sample: Sample) -> Iterator[Check]:
    """Whether every answer ends with EOS; of documents one is enough, where they are cut at a limit none."""
    numbers = sample.counts.of("ends", "ended", "inner_ends", "inner_ended")
    ends, ended, inner, inner_ended = numbers.values()
    if not ends:
        return

    # Answers at the end of a row, then those inside conversations.
    level, text, fix = Level.OK, "every answer ends with EOS", ""
    missing = ""
    if sample.row_type is RowType.TEXT:
        mix = sample.mixes["train"]
        text = f"{rows(ended, 'document')} end with EOS"
        if not ended and (mix.limit is None or mix.tokens < mix.limit):
            missing = "no document ends with EOS"
    elif ended < ends:
        missing = f"{ends - ended:,} of {rows(ends, 'answer')} do not end with EOS"
    elif inner_ended < inner:
        level = Level.WARNING
        text = (
            f"every row ends with EOS, but {inner - inner_ended:,} of {rows(inner, 'answer')} inside "
            "conversations do not"
        )
        fix = "give the tokenizer a template with {{ eos_token }} after each answer"

    # Without a single EOS nothing teaches the model to stop.
    if missing:
        level, text = Level.FATAL, f"{missing}: a model would not learn to stop"
        fix = "check the tokenizer's EOS token and its chat template"
    yield Check("eos", level, text, fix, numbers)


def _limit(sample: Sample) -> Iterator[Check]:
    """What the mix warns of; where not all rows were seen it would warn of what the doctor left out."""
    if sample.more:
        return
    for part, mix in sample.mixes.items():
        for warning in mix.warnings:
            yield Check("mix", Level.WARNING if part == "train" else Level.NOTE, f"{part}: {warning}")
