"""Run records."""

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tempering.artifacts.atomic import process_birth
from tempering.artifacts.runs import Runs
from tempering.errors import StoreError


def test_every_stage_is_on_disk_at_once(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs")
    run = runs.start("quick start", command="temper run", config={"seed": 1, "path": Path("x")})
    run.stage("sft", "run", artifact="sft/x", seconds=1.5, tokens=10, metrics={"loss": float("nan")})
    record = runs.get(run.id)
    assert record is not None
    assert (record.state, record.ended, record.config) == ("running", None, {"seed": 1, "path": "x"})
    assert record.stages["sft"].metrics == {"loss": None}
    run.finish("completed")
    assert json.loads(run.path.read_text())["state"] == "completed"


def test_newest_first_by_pipeline(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs")
    ids = [runs.start(name).id for name in ("a", "b", "a", "a")]
    assert [record.id for record in runs.newest()] == ids[::-1]
    assert [record.id for record in runs.newest("a")] == [ids[3], ids[2], ids[0]]
    last = runs.last_run("b")
    assert last is not None
    assert last.id == ids[1]
    assert runs.last_run("c") is None


def test_a_clock_that_is_put_back_or_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sft@latest` is of the newest run, whatever the clock says of it."""
    runs, real = Runs(tmp_path / "runs"), datetime.now(UTC)
    ids = []
    for days in (0, 400, -1, -1, 1):

        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None, days: int = days) -> datetime:
                return real + timedelta(days=days)

        monkeypatch.setattr("tempering.artifacts.runs.datetime", Clock)
        ids.append(runs.start("a").id)
    assert ids == sorted(set(ids))
    assert [record.id for record in runs.newest()] == ids[::-1]
    record = runs.get(ids[2])
    assert record is not None
    assert record.started == (real - timedelta(days=1)).isoformat(), "the record says what the clock said"


def test_a_broken_record_is_left_out(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs")
    kept = runs.start("a")
    (tmp_path / "runs/2999-01-01__a.json").write_text('{"half')
    assert [record.id for record in runs.newest()] == [kept.id]


def test_one_that_may_not_be_read_is_not_passed_over(tmp_path: Path) -> None:
    """The one before it would be another answer to `sft@latest`."""
    runs = Runs(tmp_path / "runs")
    runs.start("a")
    (tmp_path / "runs/2999-01-01__a.json").mkdir()
    with pytest.raises(IsADirectoryError):
        runs.last_run()
    # Reading a pipe might never end.
    (tmp_path / "runs/2999-01-01__a.json").rmdir()
    os.mkfifo(tmp_path / "runs/2999-01-01__a.json")
    with pytest.raises(OSError, match="a pipe"):
        runs.last_run()


def test_a_killed_run_says_so(tmp_path: Path) -> None:
    code = "import sys, pathlib, tempering.artifacts.runs as r; r.Runs(pathlib.Path(sys.argv[1])).start('a')"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    runs = Runs(tmp_path)
    record = runs.last_run()
    assert record is not None
    assert (record.state, record.killed) == ("running", True)
    assert not runs.start("b").record.killed


def test_another_process_with_its_number(tmp_path: Path) -> None:
    """As after a reboot, or in a container that has started again: this very process has the number."""
    record = Runs(tmp_path).start("a").record
    assert not record.killed
    assert record.model_copy(update={"born": f"{record.born}1"}).killed
    assert not record.model_copy(update={"born": ""}).killed  # of a record that did not note it
    # One that has ended, and which nobody has asked for its exit code yet.
    child = subprocess.Popen(["sleep", "0.1"])
    ended = record.model_copy(update={"pid": child.pid, "born": process_birth(child.pid)})
    end = time.monotonic() + 5
    while process_birth(child.pid) != "ended":
        assert time.monotonic() < end
        time.sleep(0.01)
    assert ended.killed
    child.wait()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="run records"):
        Runs(tmp_path / "file" / "runs").start("a")


def test_a_store_that_vanishes_in_a_run_is_no_traceback(tmp_path: Path) -> None:
    """Mutation: FileNotFoundError, which nobody takes for a trouble of the store."""
    run = Runs(tmp_path / "runs").start("toy")
    shutil.rmtree(tmp_path / "runs")
    with pytest.raises(StoreError, match="its folder is gone"):
        run.finish("failed")
