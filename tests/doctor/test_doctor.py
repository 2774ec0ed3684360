"""The doctor: what it counts, against numbers counted by hand, and what it calls fatal."""

import json
from pathlib import Path

import pytest

from tempering.data.builders import AutoConfig, ChatConfig, PreferenceConfig, TextConfig
from tempering.data.prepare import Totals
from tempering.data.rows import Row, RowType, to_messages
from tempering.data.sample.config import SampleConfig
from tempering.data.sample.encode import Encoder
from tempering.data.tokenizers import EOS, TrainTokenizerConfig, train_tokenizer
from tempering.doctor.check import Check, Level, share
from tempering.doctor.contradictions import Contradictions
from tempering.doctor.counters import Counts, Digests, Numbers, RowDigests, opening
from tempering.doctor.dataset import Dataset, _look, read_dataset
from tempering.doctor.dataset_checks import dataset_checks
from tempering.doctor.examine import Examination, Subjects, examine
from tempering.doctor.examples import Segment, text_example, token_example
from tempering.doctor.sample import Sample
from tempering.doctor.sample_checks import sample_checks
from tempering.doctor.text_defects import count_traces, trace_checks
from tempering.doctor.tokenizer import Chosen, template_checks, train_small
from tempering.doctor.value_checks import count_values, value_checks


def jsonl(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def letters():
    """Two merges at most: nearly every byte is a token, so that tokens can be counted by hand."""
    return train_tokenizer(["xyz"], TrainTokenizerConfig(vocab_size=261, datasets=("-",)))


def look(tokenizer, configs, samples=None, natural=None, uses=None, most=None) -> Examination:
    datasets = configs if isinstance(configs, dict) else {"set": configs}
    subjects = Subjects("title", datasets, samples or {}, uses or {}, natural=natural)
    return examine(subjects, lambda read: Chosen(tokenizer, "given"), most=most)


def found(checks, name) -> Check:
    return next(check for check in checks if check.name == name)


def levels(checks, least=Level.NOTE) -> dict[str, Level]:
    return {check.name: check.level for check in checks if check.level >= least}


# -- counting --------------------------------------------------------------------------------------


def test_quantiles_are_nearest_ranks():
    lengths = Numbers()
    assert lengths.spread() == {}
    for number in [7, 1, 3, 5]:
        lengths.add(number)
    assert lengths.spread() == {"count": 4, "min": 1, "median": 3, "p95": 7, "max": 7, "total": 16}
    twenty = Numbers()
    for number in range(1, 21):
        twenty.add(number)
    assert (twenty.spread()["median"], twenty.spread()["p95"]) == (10, 19)


def test_repeats_name_the_first_pair():
    digests = RowDigests(RowType.TEXT)
    for line, text in enumerate(["a", "b", "c", "b", "a", "b"], 1):
        digests.add_row(Row({"text": text, "id": line}, "f.jsonl", line))
    assert digests.repeats() == (3, 3, ("f.jsonl:2", "f.jsonl:4"))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a caf\ufffd", "replacement_characters"),
        ("he said â€œhiâ€\x9d", "mojibake"),
        ("a cafÃ©", "mojibake"),
        ("one<br />two", "html"),
        ('<p class="x">', "html"),
        ("Tom &amp; Anna", "html"),
        ("\x1b[31m", "control_characters"),
        ("Here \ufeffit is.", "byte_order_marks"),
        ("SÃO PAULO, Â and 3 < 5 > 2, a & b, \ttab\r\n", ""),
        ("<a, b> of vectors <b", ""),
    ],
)
def test_traces_in_texts(text, name):
    counts = Counts()
    count_traces(counts, Row({}, "f", 3), [text])
    assert list(counts.named) == ([name] if name else [])
    if name:
        check = found(trace_checks(counts, 1), name)
        assert check.numbers == {"rows": 1}
        assert "f:3" in check.text


def test_shares_are_never_rounded_to_nothing_or_all():
    assert [share(0, 9), share(1, 9999), share(1, 200), share(1, 3), share(9998, 9999), share(9, 9)] == [
        "0%",
        "<0.1%",
        "0.5%",
        "33%",
        ">99.9%",
        "100%",
    ]


# -- content ---------------------------------------------------------------------------------------


def judged(row_type, rows, constant=Level.FATAL):
    counts = Counts()
    for row in rows:
        count_values(counts, row_type, row)
    return [(check.name, check.level) for check in value_checks(counts, row_type, constant)]


def test_labels_scores_choices_and_answers():
    label, score, place = RowType.CLASSIFICATION, RowType.SCORED_CONVERSATION, RowType.MULTIPLE_CHOICE
    assert judged(label, [{"label": 1}] * 5) == [("labels", Level.FATAL)]
    assert judged(label, [{"label": 1}] * 5, Level.WARNING) == [("labels", Level.WARNING)]
    assert judged(label, [{"label": 1}] * 9 + [{"label": 0}]) == [("labels", Level.WARNING)]
    assert judged(label, [{"label": 1}] * 8 + [{"label": 0}] * 2) == [("labels", Level.OK)]
    assert judged(RowType.UNPAIRED_PREFERENCE, [{"label": True}] * 3) == [("labels", Level.FATAL)]
    assert judged(score, [{"score": 2.5}] * 3) == [("scores", Level.FATAL)]
    assert judged(score, [{"score": 2.5}, {"score": 2.6}]) == [("scores", Level.OK)]
    assert judged(place, [{"answer": 0}] * 10) == [("answer_place", Level.WARNING)]
    assert judged(place, [{"answer": 0}] * 9) == [("answer_place", Level.OK)]
    here = {"context": "Anna has a hat.", "answers": ["hat"]}
    assert judged(RowType.QUESTION, [here, {**here, "answers": ["cap"]}]) == [("answers", Level.WARNING)]
    assert judged(RowType.QUESTION, [here, {"context": "", "answers": ["cap"]}]) == [("answers", Level.OK)]
    assert judged(RowType.TEXT, [{"text": "x"}]) == []


@pytest.mark.parametrize(
    ("scores", "far"),
    [
        ([1, 2, 3, 4, 5] * 4 + [1e9, -7], [-7, 1e9]),
        ([0, 5, 7, 10] * 5 + [-7], [-7]),
        ([0.1, 0.5, 0.9] * 5 + [5], [5]),
        ([5] * 20 + [1e9], [1e9]),
        ([5] * 18 + [4, 1], []),
        ([-3, -1, 0.5, 2, 3] * 4, []),
        ([*range(100), 130], []),
        ([], []),
        ([1, 1e9], []),
    ],
)
def test_scores_far_outside_the_scale(scores, far):
    numbers = Numbers("d")
    for score in scores:
        numbers.add(score)
    assert numbers.far()[0] == far
    counts = Counts(scores=numbers)
    checks = list(value_checks(counts, RowType.SCORED_CONVERSATION, Level.NOTE))
    assert [check.level for check in checks if check.name == "score_scale"] == [Level.WARNING] * bool(far)


TEXTS = {"text": "t", "text_pair": ""}
HELLO, NO = to_messages("Hello", "assistant"), to_messages("No", "assistant")
SIDES = {"prompt": to_messages("q"), "chosen": HELLO, "rejected": NO}


@pytest.mark.parametrize(
    ("row_type", "one", "other"),
    [
        (RowType.PREFERENCE, SIDES, {**SIDES, "chosen": NO, "rejected": HELLO}),
        (RowType.UNPAIRED_PREFERENCE, {"prompt": [], "completion": HELLO, "label": True}, {"label": False}),
        (RowType.CLASSIFICATION, {**TEXTS, "label": 1}, {"label": 0}),
        (RowType.SCORED_CONVERSATION, {"messages": HELLO, "score": 1}, {"score": 4.5}),
        (RowType.MINIMAL_PAIR, {"sentence_good": "a", "sentence_bad": "b"},
         {"sentence_good": "b", "sentence_bad": "a"}),
    ],
)  # fmt: skip
def test_rows_that_contradict_each_other(row_type, one, other):
    def check(*rows):
        contradictions = Contradictions(row_type)
        for line, values in enumerate(rows):
            contradictions.add_row(Row(values, "f", line))
        return contradictions.check()

    several = [{**one, "prompt": to_messages(f"q{number}")} for number in range(3)]
    assert check(one, one).level is Level.OK
    assert "f:0 and f:2" in check(one, one, {**one, **other}).text
    assert check(one, one, {**one, **other}).numbers["rows"] == 3
    if row_type is RowType.PREFERENCE:  # another prompt: no contradiction
        assert check(*several, {**one, **other}).level is Level.OK
    assert Contradictions(RowType.TEXT).check() is None


# -- data sets -------------------------------------------------------------------------------------


def pairs(path: Path, longer: int, shorter: int) -> PreferenceConfig:
    rows = [
        {"prompt": f"q{at}", "chosen": "yes yes" if at < longer else "no", "rejected": "maybe"}
        for at in range(longer + shorter)
    ]
    return PreferenceConfig(path=jsonl(path, rows), eval_fraction=0)


@pytest.mark.parametrize(
    ("longer", "shorter", "level"),
    [(34, 16, Level.WARNING), (16, 34, Level.WARNING), (32, 18, Level.OK), (40, 9, Level.OK)],
)
def test_length_bias_beyond_65_of_100_in_50_pairs(tmp_path, letters, longer, shorter, level):
    done = look(letters, pairs(tmp_path / "p.jsonl", longer, shorter))
    check = found(done.datasets[0].checks, "length_bias")
    assert check.level is level
    assert check.numbers == {"pairs": longer + shorter, "chosen_longer": longer, "equal": 0}


def test_a_preference_set_counted_by_hand(tmp_path, letters):
    rows = [
        {"prompt": "ab", "chosen": "abcd", "rejected": "abc"},  # 2 + 4 + 3 = 9 tokens
        {"prompt": "ab", "chosen": "abcd", "rejected": "abc"},  # the same again
        {"prompt": "ab", "chosen": "a", "rejected": "b"},  # 2 + 1 + 1 = 4, equally long
        {"prompt": "ab", "chosen": "same", "rejected": "same"},
        {"prompt": "ab", "chosen": "", "rejected": "b"},
        {
            "chosen": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
            "rejected": [{"role": "user", "content": "z"}, {"role": "assistant", "content": "y"}],
        },
    ]
    config = PreferenceConfig(
        path=jsonl(tmp_path / "p.jsonl", rows), eval_fraction=0, max_rejected_fraction=0.5
    )
    (one,) = look(letters, config, natural=64).to_json()["datasets"]
    assert one["rows"] == {
        "seen": 6,
        "all_seen": True,
        "train": 3,
        "eval": 0,
        "rejected": 3,
        "filtered": 0,
        "changes": 0,
    }
    assert one["tokens"] == {"count": 3, "min": 4, "median": 9, "p95": 9, "max": 9, "total": 22}
    checks = {check["check"]: check for check in one["checks"]}
    assert checks["rejected"]["level"] == "note"
    assert {place["place"] for place in checks["rejected"]["first"]} == {
        "p.jsonl:4",
        "p.jsonl:5",
        "p.jsonl:6",
    }
    assert (checks["same_sides"]["rows"], checks["prompts_differ"]["rows"], checks["empties"]["rows"]) == (
        1,
        1,
        1,
    )
    assert (checks["duplicates"]["rows"], checks["duplicates"]["level"]) == (1, "warning")
    assert checks["duplicates"]["first"] == ["p.jsonl:1", "p.jsonl:2"]
    assert (checks["length_bias"]["chosen_longer"], checks["length_bias"]["equal"]) == (2, 1)


def test_rows_are_looked_at_up_to_a_number(tmp_path, letters):
    rows = [{"text": "" if at == 1 else f"row {at}"} for at in range(6)]
    config = TextConfig(path=jsonl(tmp_path / "t.jsonl", rows), eval_fraction=0, max_rejected_fraction=1)

    def seen(most):
        one = look(letters, config, most=most).to_json()["datasets"][0]["rows"]
        return one["seen"], one["train"], one["rejected"], one["all_seen"]

    assert seen(3) == (3, 2, 1, False)
    assert seen(5) == (5, 4, 1, False)
    assert seen(6) == seen(None) == (6, 5, 1, True)


@pytest.mark.parametrize(("most", "level"), [(None, Level.FATAL), (20, Level.WARNING)])
def test_a_constant_is_no_verdict_where_the_file_may_be_sorted(tmp_path, letters, most, level):
    rows = [{"text": f"row {at}", "label": 1} for at in range(21)]
    done = look(letters, AutoConfig(path=jsonl(tmp_path / "t.jsonl", rows), eval_fraction=0), most=most)
    assert levels(done.datasets[0].checks) == {"labels": level}


def test_columns_without_use_are_named(tmp_path, letters):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows = [{"messages": turns, "id": at, "meta": {"a": 1} if at else None} for at in range(3)]
    (dataset,) = look(letters, ChatConfig(path=jsonl(tmp_path / "t.jsonl", rows), eval_fraction=0)).datasets
    check = found(dataset.checks, "columns")
    assert check.level is Level.NOTE
    assert check.text == "not used: meta (2 rows); kept beside the rows: id"
    assert dataset.to_json()["unused_columns"] == {"meta": 2}
    # One that says by its name that it judges.
    rows = [{"messages": turns, "label": {"topic": "sea"}} for _ in range(2)]
    done = look(letters, ChatConfig(path=jsonl(tmp_path / "t.jsonl", rows), eval_fraction=0))
    assert levels(done.datasets[0].checks)["columns"] is Level.WARNING


def test_what_the_stage_refuses_is_fatal(tmp_path, letters):
    rows = [{"text": f"row {at}" if at else ""} for at in range(20)]
    path = jsonl(tmp_path / "t.jsonl", rows)
    for fraction, level in ((0.05, Level.NOTE), (0.04, Level.FATAL)):
        done = look(letters, TextConfig(path=path, eval_fraction=0, max_rejected_fraction=fraction))
        assert levels(done.datasets[0].checks) == {"rejected": level}
        assert done.code == (level is Level.FATAL)
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    done = look(letters, TextConfig(path=empty, eval_fraction=0))
    assert levels(done.datasets[0].checks) == {"rejected": Level.FATAL}
    assert (done.code, done.chosen) == (1, None)


def test_all_rows_alike_or_all_held_out_is_fatal(tmp_path, letters):
    path = jsonl(tmp_path / "t.jsonl", [{"text": "the same"}] * 4)
    done = look(letters, TextConfig(path=path, eval_fraction=0))
    assert levels(done.datasets[0].checks) == {"duplicates": Level.FATAL}
    path = jsonl(tmp_path / "u.jsonl", [{"text": f"row {at}"} for at in range(4)])
    config = TextConfig(path=path, eval_fraction=1)
    for use, level in (("training", {"parts": Level.FATAL}), ("evaluation", {})):
        done = look(letters, config, uses={"set": frozenset({use})})
        assert levels(done.datasets[0].checks) == level


def test_rows_that_stand_on_both_sides(tmp_path, letters):
    jsonl(tmp_path / "train.jsonl", [{"text": f"row {at}"} for at in range(10)])
    jsonl(tmp_path / "test.jsonl", [{"text": f"row {at}"} for at in range(7, 13)])
    split = TextConfig(path=tmp_path, train_split="train", eval_split="test")
    done = look(letters, split)
    assert found(done.datasets[0].checks, "leak").numbers == {"rows": 3, "dataset": "set"}
    assert found(done.datasets[0].checks, "leak").level is Level.FATAL  # half of them
    sets = {
        "corpus": TextConfig(path=tmp_path / "train.jsonl", eval_fraction=0),
        "held_out": TextConfig(path=tmp_path / "test.jsonl", eval_fraction=1),
    }
    uses = {"corpus": frozenset({"training"}), "held_out": frozenset({"evaluation"})}
    done = look(letters, sets, uses=uses)
    assert found(done.datasets[1].checks, "leak").numbers == {"rows": 3, "dataset": "corpus"}
    assert look(letters, sets).level is Level.OK  # nobody said which is which
    both = look(letters, sets, uses=dict.fromkeys(sets, frozenset({"training"})))
    assert "leak" not in levels(both.datasets[1].checks)


def test_leaks_are_found_across_row_types():
    def openings(row_type, values, group=""):
        digests = Digests()
        digests.add(opening(row_type, Row(values, group=group)))
        return digests

    text = openings(RowType.TEXT, {"text": "abc"})
    labelled = openings(RowType.CLASSIFICATION, {"text": "abc", "text_pair": "", "label": 1})
    asked = openings(RowType.QUESTION, {"context": "abc", "question": "What?", "answers": ["a"]})
    prompt = openings(RowType.PROMPT, {"prompt": to_messages("abc What?")})
    grouped = openings(RowType.PROMPT_COMPLETION, {"prompt": to_messages("abc What?")}, group="abc")
    for other in (labelled, asked, grouped):
        assert other.among(text) == text.among(other) == 1
    assert text.among(prompt) == 0
    chat = [*to_messages("abc What?"), *to_messages("No.", "assistant"), *to_messages("Why?")]
    assert openings(RowType.MESSAGES, {"messages": chat}).among(prompt) == 1


def test_rows_that_open_with_nothing_are_no_leak(tmp_path):
    row_type = RowType.CLASSIFICATION
    dataset = Dataset("s", AutoConfig(path=tmp_path), totals=Totals(row_type), digests=RowDigests(row_type))
    for text in (" ", "abc"):
        _look(dataset, "train", Row({"text": text, "text_pair": "", "label": 1}))
    assert len(dataset.openings["train"].numbers) == 1


def test_filters_of_the_config_are_applied(tmp_path, letters):
    path = jsonl(tmp_path / "t.jsonl", [{"text": "a b"}, {"text": "c d"}, {"text": "a b"}])
    config = TextConfig(path=path, eval_fraction=0, quality={"duplicates": "exact"})
    done = look(letters, config)
    assert found(done.datasets[0].checks, "filtered").numbers["reasons"] == {"exact duplicate": 1}
    assert found(done.datasets[0].checks, "duplicates").level is Level.OK


def test_special_tokens_written_out_are_counted(tmp_path, letters):
    path = jsonl(tmp_path / "t.jsonl", [{"text": f"row {at}" + (EOS if at < 2 else "")} for at in range(200)])
    done = look(letters, TextConfig(path=path, eval_fraction=0))
    check = found(done.datasets[0].checks, "special_tokens")
    assert (check.level, check.numbers) == (Level.WARNING, {"rows": 2})


def test_a_broken_data_set_hides_no_other(tmp_path, letters):
    good = TextConfig(path=jsonl(tmp_path / "t.jsonl", [{"text": "one"}, {"text": "two"}]), eval_fraction=0)
    sets = {"gone": TextConfig(path=tmp_path / "none.jsonl"), "good": good}
    samples = {
        "both": SampleConfig(datasets={"gone": 1, "good": 1}),
        "one": SampleConfig(datasets={"good": 1}),
    }
    done = look(letters, sets, samples)
    assert [one.error is not None for one in done] == [True, False, True, False]
    assert "gone" in str(done.samples[0].error)
    assert (done.code, done.verdict) == (2, "unreadable")
    document = json.loads(json.dumps(done.to_json(), allow_nan=False))
    assert "none.jsonl" in document["datasets"][0]["error"]


# -- samples ---------------------------------------------------------------------------------------


def answers(path: Path, lengths) -> AutoConfig:
    rows = [{"prompt": f"{at:03d}", "completion": "x" * length} for at, length in enumerate(lengths)]
    return AutoConfig(path=jsonl(path, rows), eval_fraction=0)


def test_mask_coverage_counted_by_hand(tmp_path, letters):
    # <|user|> 3 bytes <|assistant|> | the answer, EOS: 5 tokens before, length + 1 after.
    done = look(letters, answers(tmp_path / "a.jsonl", [4, 4, 14]), natural=64)
    (sample,) = done.to_json()["samples"]
    assert sample["tokens"] == {"count": 3, "min": 10, "median": 10, "p95": 20, "max": 20, "total": 40}
    assert sample["trained_tokens"]["total"] == 25
    checks = {check["check"]: check for check in sample["checks"]}
    assert checks["mask"]["min"] == checks["mask"]["median"] == 0.5
    assert checks["mask"]["rows_without"] == 0
    assert (checks["eos"]["ends"], checks["eos"]["ended"]) == (3, 3)
    assert done.code == 0


def test_what_does_not_fit_is_counted_and_judged_by_the_samples_rule(tmp_path, letters):
    config = answers(tmp_path / "a.jsonl", [10, 20, 30, 40])
    for limit, lost, level in ((0.5, 1, Level.NOTE), (0.2, 1, Level.FATAL)):
        sample = SampleConfig(datasets={"set": 1}, max_length=36, max_rejected_fraction=limit)
        done = look(letters, config, {"s": sample})
        check = found(done.samples[0].checks, "unfit")
        assert (check.level, check.numbers["rows"]) == (level, lost)
    # 34 fit in 36 with the answer of 30 + EOS, if the prompt of 5 loses one token
    truncated = look(letters, config, {"s": SampleConfig(datasets={"set": 1}, max_length=35)})
    assert found(truncated.samples[0].checks, "truncation").numbers == {"rows": 1, "share": 1 / 3}


def test_completions_longer_than_any_row_leave_nothing(tmp_path, letters):
    done = look(letters, answers(tmp_path / "a.jsonl", [99, 98]), natural=64)
    assert levels(done.samples[0].checks) == {"unfit": Level.FATAL}
    assert done.code == 1


def test_a_sample_of_answers_judged_bad_is_empty(tmp_path, letters):
    rows = [{"prompt": f"q{at}", "completion": "no", "label": False} for at in range(3)]
    done = look(letters, AutoConfig(path=jsonl(tmp_path / "k.jsonl", rows), eval_fraction=0), natural=64)
    assert levels(done.samples[0].checks) == {"rows": Level.FATAL, "left_out": Level.NOTE}


def test_masks_and_eos_that_a_broken_encoder_would_make_are_fatal(letters):
    sample = Sample("s", SampleConfig(datasets={"set": 1}), row_type=RowType.PROMPT_COMPLETION)
    sample.mixes = {"train": type("Mix", (), {"rows": 2, "sources": [], "warnings": []})()}
    from tempering.doctor.sample import _look

    eos = letters.eos_token_id
    _look(sample, {"input_ids": [5, 6, eos], "completion_mask": [False, True, True], "num_tokens": 3}, eos)
    assert levels(sample_checks(sample)) == {}
    _look(sample, {"input_ids": [5, 6, eos], "completion_mask": [False] * 3, "num_tokens": 3}, eos)
    assert levels(sample_checks(sample)) == {"mask": Level.FATAL}
    _look(sample, {"input_ids": [5, 6, eos], "completion_mask": [False, True, False], "num_tokens": 3}, eos)
    assert levels(sample_checks(sample)) == {"mask": Level.FATAL, "eos": Level.FATAL}


BARE = "{%- for m in messages -%}[{{ m['role'] }}]{{ m['content'] }}\n{%- endfor -%}"
NO_EOS = BARE + "{%- if add_generation_prompt -%}[assistant]{%- endif -%}"
TURNED = "{%- for m in messages|reverse -%}{{ m['content'] }}{{ eos_token }}{%- endfor -%}"


def test_a_template_without_eos(tmp_path, letters):
    letters.chat_template = NO_EOS
    turns = [{"role": role, "content": "hm"} for role in ("user", "assistant") * 2]
    config = ChatConfig(path=jsonl(tmp_path / "c.jsonl", [{"messages": turns}] * 2), eval_fraction=0)
    checks = look(letters, config, natural=64).samples[0].checks
    assert levels(checks) == {"template": Level.WARNING, "eos": Level.WARNING}
    assert found(checks, "eos").numbers == {"ends": 2, "ended": 2, "inner_ends": 2, "inner_ended": 0}


def test_a_template_without_generation_marks_is_said(letters):
    assert levels(list(template_checks(Chosen(letters, ""), "chat"))) == {}
    letters.chat_template = (
        str(letters.chat_template).replace("{% generation %}", "").replace("{% endgeneration %}", "")
    )
    assert levels(list(template_checks(Chosen(letters, ""), "chat"))) == {"generation_marks": Level.NOTE}
    assert list(template_checks(Chosen(letters, ""), "plain")) == []


def test_a_template_whose_prompt_does_not_begin_the_conversation_is_fatal(tmp_path, letters):
    letters.chat_template = TURNED
    done = look(letters, answers(tmp_path / "a.jsonl", [4]), natural=64)
    assert found(done.samples[0].checks, "unfit").level is Level.FATAL
    assert done.code == 1


def test_data_sets_that_cannot_be_mixed_are_an_error_of_the_sample(tmp_path, letters):
    sets = {
        "text": TextConfig(path=jsonl(tmp_path / "t.jsonl", [{"text": "one"}]), eval_fraction=0),
        "pairs": pairs(tmp_path / "p.jsonl", 1, 1),
    }
    done = look(letters, sets, {"mixed": SampleConfig(datasets={"text": 1, "pairs": 1})})
    assert "cannot be mixed" in str(done.samples[0].error)
    assert done.code == 2


def test_a_limit_that_the_data_cannot_fill_is_a_warning_where_all_was_seen(tmp_path, letters):
    config = TextConfig(
        path=jsonl(tmp_path / "t.jsonl", [{"text": f"row {at}"} for at in range(9)]), eval_fraction=0
    )
    sample = {"s": SampleConfig(datasets={"set": 1}, token_limit=1000)}
    assert levels(look(letters, config, sample).samples[0].checks) == {"mix": Level.WARNING}
    assert levels(look(letters, config, sample, most=5).samples[0].checks) == {}


# -- examples --------------------------------------------------------------------------------------


def text_of(pieces) -> str:
    return "".join(segment.text for piece in pieces for segment in piece.segments)


def test_examples_show_what_is_trained_on(letters):
    row = {
        "prompt": [{"role": "user", "content": "Hi ü"}],
        "completion": [{"role": "assistant", "content": "Yo"}],
    }
    (encoded,) = Encoder(letters, RowType.PROMPT_COMPLETION, 64).encode(row)
    (piece,) = token_example(letters, encoded.values)
    assert piece.segments == (
        Segment("<|user|>", special=True),
        Segment("Hi ü"),
        Segment("<|assistant|>", special=True),
        Segment("Yo", "trained"),
        Segment(EOS, "trained", special=True),
    )


def test_long_examples_lose_their_middle_and_say_how_much(letters):
    long = "".join(chr(ord("a") + at % 26) for at in range(1000))
    (piece,) = text_example(RowType.TEXT, {"text": long})
    first, last = piece.segments
    assert long.startswith(first.text)
    assert long.endswith(last.text)
    assert len(first.text) + first.left_out + len(last.text) == 1000
    turns = [{"role": role, "content": f"turn {at}"} for at, role in enumerate(("user", "assistant") * 10)]
    (encoded,) = Encoder(letters, RowType.PROMPT_COMPLETION, 4096).encode({"messages": turns})
    (piece,) = token_example(letters, encoded.values)
    whole = letters.decode(encoded.values["input_ids"])
    assert len(text_of([piece])) + sum(one.left_out for one in piece.segments) == len(whole)
    assert len(piece.segments) < 12


def test_examples_of_sets_to_measure_on():
    good, bad = text_example(
        RowType.MINIMAL_PAIR, {"sentence_good": "She is.", "sentence_bad": "She are.", "paradigm": ""}
    )
    assert (good.label, good.segments[0].role) == ("good", "trained")
    assert (bad.label, bad.segments[0].role) == ("bad", "rejected")
    question, *choices = text_example(
        RowType.MULTIPLE_CHOICE, {"question": "Which?", "choices": ["a", "b"], "answer": 1}
    )
    assert [piece.segments[0].role for piece in (question, *choices)] == ["context", "rejected", "trained"]


def test_a_small_tokenizer_is_made_where_there_is_none():
    chosen = train_small(["the cat sat on the mat"] * 3)
    assert chosen.approximate
    assert chosen.tokenizer.eos_token == EOS


def test_reading_leaves_no_row_in_memory(tmp_path):
    """What is kept of a row is counters: the rows themselves lie on disk, and three are examples."""
    path = jsonl(tmp_path / "t.jsonl", [{"text": f"row {at} " + "x" * 50} for at in range(500)])
    dataset = Dataset("t", TextConfig(path=path, eval_fraction=0), folder=tmp_path / "out")
    read_dataset(dataset)
    assert dataset.kept == 500
    assert len(dataset.examples) == 3
    assert sum(1 for _ in dataset.rows("train")) == 500
    assert levels(dataset_checks(dataset)) == {}
