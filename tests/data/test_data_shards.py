"""Rows on disk: nothing lost, the same bytes, columns that agree, memory that is bounded."""

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tempering.data import shards
from tempering.data.rows import RowType
from tempering.data.sample.ordering import reorder
from tempering.data.schemas import row_schema
from tempering.data.shards import ShardWriter, count_rows, iter_rows, shards_of, shuffled_rows, writing

TEXT = row_schema(RowType.TEXT)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Groups of three rows, shards of two groups, pools of two groups."""
    monkeypatch.setattr(shards, "GROUP_ROWS", 3)
    monkeypatch.setattr(shards, "SHARD_GROUPS", 2)
    monkeypatch.setattr(shards, "POOL_GROUPS", 2)


def write(folder, rows):
    with writing(train=ShardWriter(folder, TEXT)) as writers:
        for row in rows:
            writers["train"].add(row)
    return folder


def texts(count):
    return [{"text": f"row {index}"} for index in range(count)]


def test_rows_come_back_in_order_from_several_shards(tmp_path):
    place = write(tmp_path / "train", texts(14))
    assert [path.name for path in shards_of(place)] == ["00000.parquet", "00001.parquet", "00002.parquet"]
    assert list(iter_rows(place)) == texts(14)
    assert count_rows(place) == 14
    assert list(iter_rows(place, ["text"])) == texts(14)


def test_an_empty_part_is_one_shard_with_the_columns(tmp_path):
    place = write(tmp_path / "train", [])
    assert [pq.read_schema(path).names for path in shards_of(place)] == [["text"]]
    assert count_rows(place) == 0
    assert list(shuffled_rows(place, "key")) == []


def test_a_large_row_makes_a_group_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "GROUP_SIZE", 100)
    place = write(tmp_path / "train", [{"text": "a" * 400}, {"text": "b"}, {"text": "c"}])
    (path,) = shards_of(place)
    assert [pq.ParquetFile(path).metadata.row_group(at).num_rows for at in range(2)] == [1, 2]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([1] * 6 + [0.5] * 3, [1.0] * 6 + [0.5] * 3),
        ([1] * 6 + ["x"] * 3, ["1"] * 6 + ["x"] * 3),
        ([None] * 6 + [2] * 3, [None] * 6 + [2] * 3),
        ([None] * 4, [None] * 4),
        ([2**70, 1], [str(2**70), "1"]),
        ([True] * 3 + ["yes"], ["True"] * 3 + ["yes"]),
    ],
)
def test_a_further_column_that_widens_late_is_the_same_in_all_shards(tmp_path, values, found):
    place = write(tmp_path / "train", [{"text": "a", "more": value} for value in values])
    assert len({pq.read_schema(path) for path in shards_of(place)}) == 1
    assert [row["more"] for row in iter_rows(place)] == found


def test_parts_agree_on_their_columns(tmp_path):
    with writing(train=ShardWriter(tmp_path / "a", TEXT), eval=ShardWriter(tmp_path / "b", TEXT)) as writers:
        writers["train"].add({"text": "a", "b": 1, "a": "x"})
        writers["eval"].add({"text": "b", "b": 0.5})
    schemas = {pq.read_schema(shards_of(tmp_path / part)[0]) for part in "ab"}
    assert [schema.names for schema in schemas] == [["text", "a", "b"]]


def test_leftovers_of_a_killed_attempt_are_not_read(tmp_path):
    write(tmp_path / "train", texts(14))
    assert list(iter_rows(write(tmp_path / "train", texts(2)))) == texts(2)


def test_the_same_rows_give_the_same_bytes(tmp_path):
    places = [write(tmp_path / name, texts(10)) for name in "ab"]
    one, other = ([path.read_bytes() for path in shards_of(place)] for place in places)
    assert one == other


@settings(max_examples=20)
@given(count=st.integers(0, 40), key=st.text(max_size=3))
def test_random_order_holds_every_row_once(tmp_path_factory, count, key):
    place = write(tmp_path_factory.mktemp("rows"), texts(count))
    found = [row["text"] for _, row in shuffled_rows(place, key)]
    assert all(row["text"] == f"row {number}" for number, row in shuffled_rows(place, key))
    assert sorted(found) == sorted(row["text"] for row in texts(count))
    assert found == [row["text"] for _, row in shuffled_rows(place, key)]
    if count >= 12:
        assert found != [row["text"] for _, row in shuffled_rows(place, f"{key}?")] != texts(count)


def test_random_order_takes_groups_from_everywhere(tmp_path):
    place = write(tmp_path / "train", texts(60))
    groups = {int(row["text"].split()[1]) // 3 for _, row in list(shuffled_rows(place, "a"))[:6]}
    assert len(groups) == 2
    assert max(groups) - min(groups) > 1


def test_reorder_writes_rows_in_the_order_asked_for(tmp_path):
    rows = [{"text": f"row {index}", "score": index / 2} for index in range(11)]
    place = write(tmp_path / "train", rows)
    order = [10, 0, 3, 2, 1, 9, 8, 7, 6, 5, 4]
    reorder(place, TEXT, order)
    assert list(iter_rows(place)) == [rows[index] for index in order]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train"]
    empty = write(tmp_path / "train", [])
    reorder(empty, TEXT, [])
    assert (count_rows(empty), len(shards_of(empty))) == (0, 1)
