"""Rows that survive a kill and a resume."""

from pathlib import Path

from tempering.artifacts.row_log import RowLog


def test_row_log_survives_a_torn_line_and_is_cut(tmp_path: Path) -> None:
    log = RowLog(tmp_path / "stats.jsonl")
    log.append({"step": step, "loss": 0.5} for step in range(5))
    with log.path.open("a") as file:
        file.write('{"step": 5, "lo')
    assert [row["step"] for row in log.rows()] == [0, 1, 2, 3, 4]
    log.cut(2)
    log.append([{"step": 3, "loss": None}])
    assert [row["step"] for row in log.rows()] == [0, 1, 2, 3]


def test_row_log_comes_back_from_parquet(tmp_path: Path) -> None:
    """Mutation: what is null is left out, so that a column that is null throughout is lost by a resume."""
    log = RowLog(tmp_path / "stats.jsonl")
    log.append([{"step": 1, "a": 1.5, "c": None}, {"step": 2, "b": "x"}])
    log.to_parquet()
    assert not log.path.exists()
    table = (tmp_path / "stats.parquet").read_bytes()
    log.restore()
    assert [row["step"] for row in log.rows()] == [1, 2]
    log.to_parquet()
    assert (tmp_path / "stats.parquet").read_bytes() == table


def test_a_mended_log_takes_the_next_row(tmp_path: Path) -> None:
    log = RowLog(tmp_path / "answers.jsonl")
    log.path.write_text('{"key": "to')
    log.mend()
    log.append([{"key": "first"}])
    with log.path.open("a") as file:
        file.write('{"key": "to')
    log.mend()
    log.append([{"key": "next"}])
    assert log.rows() == [{"key": "first"}, {"key": "next"}]


def test_what_is_no_row_is_counted_and_left_out(tmp_path: Path) -> None:
    """Mutation: a line in the middle that is malformed goes without a word."""
    log = RowLog(tmp_path / "stats.jsonl")
    log.path.write_bytes(b'{"step": 1}\n{"st\n[1]\n\xff\n{"loss": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    assert log.cut(2) == 4
    assert log.rows() == [{"step": 1}, {"step": 2}]
    assert log.cut(2) == 0


def test_a_damaged_table_has_no_rows(tmp_path: Path) -> None:
    log = RowLog(tmp_path / "stats.jsonl")
    for content in (b"PAR1", b""):
        (tmp_path / "stats.parquet").write_bytes(content)
        log.restore()
        assert log.rows() == []
    (tmp_path / "stats.jsonl").mkdir()
    log.restore()
    log.append([{"step": 1}])
    log.to_parquet()
