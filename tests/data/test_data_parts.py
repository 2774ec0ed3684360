"""The hold-out is stable and leaks nothing; too many rejections stop the stage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempering.data.builders import HHConfig, SquadConfig, WorldConfig
from tempering.data.parts import build_parts, is_held_out
from tempering.data.rows import Row, RowType, problem, to_messages
from tempering.errors import DataError


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


def test_too_many_rejections_fail_and_show_the_first_ten(fixtures):
    with pytest.raises(DataError, match="6 of 9 rows were rejected") as error:
        build_parts(HHConfig(path=fixtures / "hh.jsonl"))
    assert "hh.jsonl:3: the prompts of chosen and rejected differ" in str(error.value)
    parts = build_parts(HHConfig(path=fixtures / "hh.jsonl", max_rejected_fraction=0.7))
    assert parts.summary()[2] == {"part": "rejected", "rows": 6, "characters": 0}


def test_kept_rows_are_not_counted_as_rejected(tmp_path):
    from tempering.data.builders import ChatConfig

    path = tmp_path / "a.jsonl"
    path.write_text('{"messages": [{"role":"user","content":"a"},{"role":"assistant","content":"b"},'
                    '{"role":"user","content":"c"}]}\n')  # fmt: skip
    parts = build_parts(ChatConfig(path=path, max_rejected_fraction=0, eval_fraction=0))
    assert (len(parts.train), [item.kept for item in parts.rejected]) == (1, [True])


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match="holds no rows"):
        build_parts(HHConfig(path=tmp_path / "a.jsonl"))


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
    )
    row = data.draw(st.dictionaries(st.sampled_from(names), values))
    found = problem(row_type, row)
    assert found is None or found


def test_messages_from_a_string_or_a_list():
    assert to_messages("a") == [{"role": "user", "content": "a"}]
    assert to_messages([{"role": "user", "content": "a", "weight": 1}]) == to_messages("a")
    with pytest.raises(DataError):
        to_messages(3)
