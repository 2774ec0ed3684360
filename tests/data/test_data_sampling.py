"""The mix keeps its shares and its limit."""

from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tempering.data.prompt_format import Unfit
from tempering.data.rows import RowType, to_messages
from tempering.data.sample.config import SampleConfig, SourceConfig, common_row_type
from tempering.data.sample.encode import Encoded, Encoder
from tempering.data.sample.mixing import Mix, Source, check_rejected
from tempering.data.shards import shuffled
from tempering.errors import DataError


class Lengths:
    """An encoder whose rows say how many tokens they have."""

    row_type = RowType.TEXT

    def encode_batch(self, rows):
        return [
            Unfit("too long")
            if row["text"] is None
            else [Encoded({"input_ids": row["text"], "num_tokens": row["text"]})]
            for row in rows
        ]


class Mixed:
    """A mix, and its rows."""

    def __init__(self, sources, encoder, limit, seed):
        self.mix = Mix(sources, encoder, limit, seed)
        self.rows = list(self.mix)
        self.tokens, self.warnings, self.sources = self.mix.tokens, self.mix.warnings, self.mix.sources


mix = Mixed


def source(name, lengths, weight=1.0, **limits):
    rows = [{"text": length} for length in lengths]
    return Source(name, RowType.TEXT, rows, SourceConfig(weight=weight, **limits))


lengths = st.lists(st.integers(1, 50), max_size=40)


@given(
    st.lists(st.tuples(lengths, st.floats(0.1, 10)), min_size=1, max_size=3),
    st.integers(1, 800),
    st.integers(0, 9),
)
def test_the_total_is_within_one_row_of_the_limit(given_sources, limit, seed):
    sources = [source(str(n), rows, weight) for n, (rows, weight) in enumerate(given_sources)]
    mixed = mix(sources, Lengths(), limit, seed)
    available = sum(sum(rows) for rows, _ in given_sources)
    assert mixed.tokens == sum(row["num_tokens"] for row in mixed.rows) == sum(one.tokens for one in sources)
    if available >= limit:
        assert limit <= mixed.tokens < limit + mixed.rows[-1]["num_tokens"]
    else:
        assert mixed.tokens == available
        assert "less than the limit" in mixed.warnings[-1]


def test_without_a_limit_every_row_is_used_once():
    mixed = mix([source("a", range(1, 20)), source("b", range(20, 40), 3.0)], Lengths(), None, 0)
    assert sorted(row["num_tokens"] for row in mixed.rows) == list(range(1, 40))
    assert mixed.warnings == []


def test_shares_hold_all_along():
    sources = [source("a", [5] * 2000, 3.0), source("b", [20] * 2000, 1.0)]
    mixed = mix(sources, Lengths(), 8000, 0)
    for upto in (100, 200, len(mixed.rows)):
        tokens = [
            sum(row["num_tokens"] for row in mixed.rows[:upto] if row["num_tokens"] == n) for n in (5, 20)
        ]
        assert tokens[0] == pytest.approx(3 * tokens[1], abs=80)


def test_a_source_that_runs_dry_is_named():
    mixed = mix([source("short", [10]), source("long", [10] * 50)], Lengths(), 200, 0)
    assert mixed.warnings == ["short is used up after 10 tokens; the others go on"]


def test_order_hangs_on_the_seed_and_nothing_else():
    rows = range(1, 60)
    runs = [
        [row["num_tokens"] for row in mix([source("a", rows)], Lengths(), None, n).rows] for n in (0, 0, 1)
    ]
    assert runs[0] == runs[1] != runs[2]
    assert runs[0] != list(rows)
    assert shuffled(5, "0/a") == [4, 3, 1, 2, 0]


def test_rejections_are_counted_and_bounded():
    mixed = mix([source("a", [1, None, 3, None])], Lengths(), None, 0)
    counted = mixed.sources[0]
    assert (counted.used, counted.rejected, counted.reasons) == (2, 2, {"too long": 2})
    check_rejected(mixed.mix, 0.5)
    with pytest.raises(DataError, match="2 of 4 rows of a cannot be used: 2 x too long"):
        check_rejected(mixed.mix, 0.49)


def config(**settings):
    return SampleConfig(datasets={"a": 1.0, "b": 2.0}, **settings)


def test_row_types():
    pairs, answers = RowType.PREFERENCE, RowType.PROMPT_COMPLETION
    assert common_row_type(config(), {"a": pairs, "b": pairs}) is pairs
    assert common_row_type(config(row_type="prompt_completion"), {"a": pairs, "b": answers}) is answers
    assert common_row_type(config(row_type="prompt"), {"a": pairs, "b": answers}) is RowType.PROMPT
    with pytest.raises(DataError, match="max_prompt_length is set, and the rows are used as text"):
        common_row_type(config(max_prompt_length=9), {"a": RowType.TEXT})
    assert common_row_type(config(), {"a": RowType.MESSAGES, "b": answers}) is answers
    with pytest.raises(DataError, match="cannot be mixed"):
        common_row_type(config(), {"a": pairs, "b": answers})
    with pytest.raises(DataError, match="data set b holds prompt_completion rows") as error:
        common_row_type(config(row_type="preference"), {"a": pairs, "b": answers})
    assert "prompt_completion or prompt" in error.value.fix
    with pytest.raises(DataError, match="scored_conversation rows"):
        common_row_type(config(), {"a": RowType.SCORED_CONVERSATION, "b": RowType.SCORED_CONVERSATION})
    scored = {"a": RowType.SCORED_CONVERSATION, "b": answers}
    assert common_row_type(config(row_type="prompt_completion"), scored) is answers
    with pytest.raises(DataError, match="question rows") as error:
        common_row_type(config(), {"a": RowType.QUESTION})
    assert "evaluation" in error.value.fix


def test_limits_of_one_source_hold_within_one_row():
    sources = [source("a", [7] * 50, token_limit=40), source("b", [5] * 50, rows=3), source("c", [1] * 9)]
    mixed = mix(sources, Lengths(), None, 0)
    assert [(one.used, one.tokens) for one in mixed.sources] == [(6, 42), (3, 15), (9, 9)]
    assert mixed.warnings == []
    limited = mix([source("a", [7] * 50, token_limit=40)], Lengths(), 60, 0)
    assert limited.warnings == [
        "all rows that may be used together have 42 tokens, less than the limit of 60"
    ]


def test_rows_are_rows_and_not_pieces_of_them(tokenizer):
    rows = [{"text": f"the dog number {index} " * 20} for index in range(9)]
    encoder = Encoder(tokenizer, RowType.TEXT, 16)
    mixed = Mixed([Source("a", RowType.TEXT, rows, SourceConfig(rows=2))], encoder, None, 0)
    (one,) = mixed.sources
    assert (one.used, one.pieces) == (2, len(mixed.rows))
    whole = tokenizer.decode([token for row in mixed.rows for token in row["input_ids"]])
    assert whole.count("<|endoftext|>") == 2
    assert whole.count("the dog number") == 40


def test_large_rows_are_encoded_few_at_a_time(monkeypatch):
    class Counting(Lengths):
        seen: ClassVar[list[int]] = []

        def encode_batch(self, rows):
            self.seen.append(len(rows))
            return [[Encoded({"input_ids": 1, "num_tokens": 1})] for _ in rows]

    rows = [{"text": "word " * 100_000} for _ in range(6)]
    assert len(Mixed([Source("a", RowType.TEXT, rows)], Counting(), None, 0).rows) == 6
    assert max(Counting.seen) == 3


def test_what_cannot_be_encoded_is_told_with_its_number():
    rejected = []
    rows = [{"text": length} for length in (3, None, 4, None)]
    made = Mix([Source("a", RowType.TEXT, rows)], Lengths(), None, 0, on_rejected=rejected.append)
    assert len(list(made)) == 2
    assert sorted((item.file, item.line, item.reason) for item in rejected) == [
        ("a", 1, "too long"),
        ("a", 3, "too long"),
    ]


def test_a_fraction_of_the_rows_is_the_same_one_each_time():
    runs = [mix([source("a", range(1, 101), fraction=0.25)], Lengths(), None, 3).rows for _ in range(2)]
    assert len(runs[0]) == 25
    assert runs[0] == runs[1]


def test_bad_answers_are_left_out_without_being_faults(tokenizer):
    prompt, answer = to_messages("the dog"), to_messages(" the cat", "assistant")
    rows = [{"prompt": prompt, "completion": answer, "label": index % 2 == 0} for index in range(6)]
    mixed = mix(
        [Source("kto", RowType.UNPAIRED_PREFERENCE, rows)],
        Encoder(tokenizer, RowType.PROMPT_COMPLETION, 32),
        None,
        0,
    )
    (one,) = mixed.sources
    assert (one.used, one.left_out, one.rejected) == (3, 3, 0)


def test_the_column_of_a_curriculum_must_be_there():
    rows = [{"text": 3, "score": "0.5"}, {"text": 4, "score": None}]  # CSV files hold texts alone
    ordered = Mix([Source("a", RowType.TEXT, rows)], Lengths(), None, 0, "score")
    assert {row["num_tokens"]: row["difficulty"] for row in ordered} == {3: 0.5, 4: None}
    with pytest.raises(DataError, match="no numeric column 'text'"):
        list(Mix([Source("a", RowType.TEXT, [{"text": [1]}])], Lengths(), None, 0, "text"))
    with pytest.raises(DataError, match="no numeric column 'grade'") as error:
        list(Mix([Source("a", RowType.TEXT, rows[:1])], Lengths(), None, 0, "grade"))
    assert "'score'" in error.value.expected


@pytest.mark.parametrize("weight", [0, -1, float("inf"), float("nan")])
def test_weights_are_positive(weight):
    with pytest.raises(ValidationError):
        SampleConfig(datasets={"a": weight})


def test_pairs_as_demonstrations(tokenizer):
    pair = {
        "prompt": to_messages("the dog"),
        "chosen": to_messages(" the cat", "assistant"),
        "rejected": to_messages(" a", "assistant"),
    }
    encoder = Encoder(tokenizer, RowType.PROMPT_COMPLETION, 64)
    (made,) = mix([Source("a", RowType.PREFERENCE, [pair])], encoder, None, 0).rows
    assert tokenizer.decode(made["input_ids"]) == "<|user|>the dog<|assistant|> the cat<|endoftext|>"


def test_texts_as_prompts_want_lengths_and_the_plain_format():
    types = {"a": RowType.TEXT, "b": RowType.TEXT}
    with pytest.raises(DataError, match="a text is no prompt"):
        common_row_type(config(row_type="prompt"), types)
    lengths = {"query_min_length": 2, "query_max_length": 5}
    with pytest.raises(DataError, match="prompt_format: plain"):
        common_row_type(config(row_type="prompt", **lengths), types)
    assert (
        common_row_type(config(row_type="prompt", prompt_format="plain", **lengths), types) is RowType.PROMPT
    )


def test_settings_of_a_sample():
    made = SampleConfig(datasets={"a": 3, "b": {"rows": 5}}, token_format="standard")
    assert (made.datasets["a"].weight, made.datasets["b"].rows, made.prompt_format) == (3, 5, "chat")
    assert SampleConfig(datasets={"a": 1}, token_format="turn_markers").prompt_format == "turn_markers"
    for wrong in (
        {"token_format": "standard", "prompt_format": "chat"},
        {"query_min_length": 3},
        {"query_min_length": 5, "query_max_length": 4},
        {"query_min_length": 5, "query_max_length": 600},
        {"datasets": {"a": True}},
    ):
        with pytest.raises(ValidationError):
            SampleConfig(**{"datasets": {"a": 1}, **wrong})
