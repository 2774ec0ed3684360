"""The hold-out is stable and leaks nothing; too many rejections stop the stage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tempering.data.builders import AlpacaConfig, ChatConfig, HHConfig, SquadConfig, TextConfig, WorldConfig
from tempering.data.holdout import is_held_out, place
from tempering.data.quality.config import QualityConfig
from tempering.data.rows import Row, RowType, problem, to_messages
from tempering.errors import DataError
from tests.data.in_memory import build_parts


def test_adding_rows_moves_none():
    small = build_parts(WorldConfig(rows="corpus", size=200, eval_fraction=0.2))
    large = build_parts(WorldConfig(rows="corpus", size=400, eval_fraction=0.2))
    assert large.train[: len(small.train)] == small.train
    assert large.eval[: len(small.eval)] == small.eval
    assert 20 < len(small.eval) < 60


@pytest.mark.parametrize(("fraction", "expected"), [(0.0, (30, 0)), (1.0, (0, 30))])
def test_all_or_nothing(fraction, expected):
    parts = build_parts(WorldConfig(rows="prompts", size=30, eval_fraction=fraction))
    assert (len(parts.train), len(parts.eval)) == expected


def test_the_seed_moves_rows():
    rows = [Row({"text": str(n)}) for n in range(200)]
    held = [[is_held_out(RowType.TEXT, row, 0.5, seed) for row in rows] for seed in (0, 1)]
    assert held[0] != held[1]


def test_a_prompt_is_on_one_side_whatever_the_rows_are_used_for():
    one = build_parts(WorldConfig(rows="demonstrations", size=3000, eval_fraction=0.3))
    other = build_parts(WorldConfig(rows="preferences", size=300, eval_fraction=0.3))
    prompts = [{row["prompt"][0]["content"] for row in rows} for rows in (one.train, other.eval)]
    assert not prompts[0] & prompts[1]
    assert {row["prompt"][0]["content"] for row in one.train} & {
        r["prompt"][0]["content"] for r in other.train
    }


@pytest.mark.parametrize("seed", range(6))
def test_a_context_is_on_one_side(fixtures, seed):
    settings = {
        "path": fixtures / "squad.json",
        "eval_fraction": 0.5,
        "seed": seed,
        "max_rejected_fraction": 1,
    }
    trained = build_parts(SquadConfig(rows="prompt_completion", **settings)).train
    asked = build_parts(SquadConfig(**settings)).eval
    trained_on = {row["prompt"][0]["content"].partition(" Question:")[0] for row in trained}
    assert not trained_on & {row["context"] for row in asked}


def test_a_text_stands_on_one_side_whatever_its_row_type_is():
    def side(row_type, values, group=""):
        return place(row_type, Row(values, group=group), 7)

    text = side(RowType.TEXT, {"text": "abc"})
    assert text == side(RowType.CLASSIFICATION, {"text": "abc", "text_pair": "", "label": 1})
    assert text == side(RowType.QUESTION, {"context": "abc", "question": "?", "answers": ["a"]})
    assert text == side(RowType.PREFERENCE, {"prompt": to_messages("x")}, group="abc")
    assert text != side(RowType.CLASSIFICATION, {"text": "abc", "text_pair": "d", "label": 1})


def test_the_numbers_rows_are_held_out_by_stay():
    prompt = to_messages("Hi")
    assert place(RowType.TEXT, Row({"text": "Hi"}), 0) == 0.5846878631836427
    for row_type in (RowType.PROMPT, RowType.PROMPT_COMPLETION, RowType.PREFERENCE):
        assert place(row_type, Row({"prompt": prompt}), 0) == 0.4813249752833273


def test_the_questions_of_the_world_are_held_out_by_context_in_all_forms():
    def parts(rows):
        return build_parts(WorldConfig(rows=rows, size=400, eval_fraction=0.2))

    held_out = {row["context"] for row in parts("questions").eval}
    assert len(held_out) > 50
    for rows in ("question_completions", "question_preferences"):
        trained_on = {row["prompt"][0]["content"].partition(" Question:")[0] for row in parts(rows).train}
        assert len(trained_on) > 200
        assert not trained_on & held_out


def test_the_first_ten_cannot_steer_a_terminal(tmp_path):
    path = tmp_path / "\x1b[31m.jsonl"
    path.write_text('{"text": "\x1b]0;x\x07')
    with pytest.raises(DataError, match="The first:") as error:
        build_parts(TextConfig(path=path))
    assert "␛[31m.jsonl:1: " in str(error.value)
    assert not {"\x1b", "\x07"} & set(str(error.value))


def test_too_many_rejections_fail_and_show_the_first_ten(fixtures):
    with pytest.raises(DataError, match="6 of 9 rows were rejected") as error:
        build_parts(HHConfig(path=fixtures / "hh.jsonl"))
    assert "hh.jsonl:3: the prompts of chosen and rejected differ" in str(error.value)
    parts = build_parts(HHConfig(path=fixtures / "hh.jsonl", max_rejected_fraction=0.7))
    assert parts.totals.summary()[2] == {"part": "rejected", "rows": 6, "characters": 0}
    assert parts.totals.summary()[0]["rows"] == len(parts.train)


def test_kept_rows_are_not_counted_as_rejected(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"messages": [{"role":"user","content":"a"},{"role":"assistant","content":"b"},'
        '{"role":"user","content":"c"}]}\n'
    )
    parts = build_parts(ChatConfig(path=path, max_rejected_fraction=0, eval_fraction=0))
    assert (len(parts.train), [item.kept for item in parts.rejected]) == (1, [True])


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match="holds no rows"):
        build_parts(HHConfig(path=tmp_path / "a.jsonl"))


def stories(path, texts):
    path.write_text("<|endoftext|>".join(texts))
    return path


def test_a_fraction_of_a_data_set_keeps_its_rows_when_rows_are_added(tmp_path):
    texts = [f"story number {index}" for index in range(400)]
    settings = {"dataset_fraction": 0.25, "eval_fraction": 0.2}
    small = build_parts(TextConfig(path=stories(tmp_path / "a.txt", texts[:200]), **settings))
    large = build_parts(TextConfig(path=stories(tmp_path / "b.txt", texts), **settings))
    assert 30 < len(small.train) + len(small.eval) < 70
    assert large.train[: len(small.train)] == small.train
    assert 0 < len(small.eval) < len(small.train)
    limited = build_parts(TextConfig(path=tmp_path / "b.txt", max_rows=10, **settings))
    assert len(limited.train) + len(limited.eval) == 10


def test_max_rows_counts_what_the_filters_left(tmp_path):
    path = stories(tmp_path / "a.txt", ["the same"] * 20 + [f"story {index}" for index in range(20)])
    quality = QualityConfig(duplicates="exact")
    parts = build_parts(TextConfig(path=path, max_rows=5, eval_fraction=0, quality=quality))
    assert [row["text"] for row in parts.train] == ["the same", *(f"story {index}" for index in range(4))]


def test_when_all_is_rejected_the_message_says_so(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"instruction": "a", "output": 3}\n' * 4)
    config = AlpacaConfig(path=tmp_path / "a.jsonl", max_rejected_fraction=1)
    with pytest.raises(DataError, match=r"holds no rows: 4 rejected \(4 x output: is int"):
        build_parts(config)


def test_each_part_from_its_own_split(tmp_path):
    stories(tmp_path / "train.txt", ["a", "b", "c"])
    stories(tmp_path / "test.txt", ["d", "e"])
    parts = build_parts(TextConfig(path=tmp_path, train_split="train", eval_split="test", max_rows=2))
    assert [[row["text"] for row in rows] for rows in (parts.train, parts.eval)] == [["a", "b"], ["d", "e"]]
    made = build_parts(WorldConfig(rows="prompts", size=20, train_split="train", eval_split="test"))
    apart = build_parts(WorldConfig(rows="prompts", size=20, split="test", eval_fraction=1))
    assert (len(made.train), made.eval) == (20, apart.eval)


@pytest.mark.parametrize(
    "wrong",
    [
        {"eval_split": "test"},
        {"train_split": "a", "eval_split": "a"},
        {"train_split": "a", "eval_split": "b", "eval_fraction": 0.1},
        {"train_split": "a", "eval_split": "b", "split": "c"},
    ],
)
def test_one_way_to_split(wrong):
    with pytest.raises(ValidationError, match="split"):
        TextConfig(path="x.txt", **wrong)


def test_what_the_filters_take_out_is_listed_and_no_fault(tmp_path):
    texts = ["the same story"] * 3 + ["short", "another story, quoted from the test"]
    quality = QualityConfig(duplicates="exact", min_characters=6, decontaminate=("other",), ngram=4)
    config = TextConfig(
        path=stories(tmp_path / "a.txt", texts), quality=quality, max_rejected_fraction=0, eval_fraction=0
    )
    parts = build_parts(config, ["we saw another story quoted from a book"])
    assert [row["text"] for row in parts.train] == ["the same story"]
    assert [(item.line, item.filter) for item in parts.rejected] == [
        (1, "exact_duplicate"),
        (1, "exact_duplicate"),
        (1, "length"),
        (1, "decontamination"),
    ]
    assert parts.totals.summary()[3] == {"part": "filtered", "rows": 4, "characters": 0}
    assert {row["filter"]: row["removed"] for row in parts.totals.quality} == {
        "length": 1,
        "exact_duplicate": 2,
        "decontamination": 1,
    }
    with pytest.raises(DataError, match="5 removed by filters"):
        build_parts(config.model_copy(update={"quality": QualityConfig(min_characters=99)}))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(list(RowType)), st.data())
def test_the_check_never_breaks_on_any_value(row_type, data):
    names = (
        "text",
        "prompt",
        "completion",
        "chosen",
        "rejected",
        "question",
        "context",
        "answers",
        "baseline",
        "messages",
        "label",
        "score",
        "choices",
        "answer",
        "contexts",
        "completions",
        "forms",
        "ratio",
    )
    row = data.draw(st.dictionaries(st.sampled_from(names), values))
    found = problem(row_type, row)
    assert found is None or found


def test_messages_from_a_string_or_a_list():
    assert to_messages("a") == [{"role": "user", "content": "a"}]
    assert to_messages([{"role": "user", "content": "a", "weight": 1}]) == to_messages("a")
    with pytest.raises(DataError):
        to_messages(3)
