"""Kills at random moments of a run: the next one goes on, nothing half made stays, the weights are the same.

The run and the processes of its stages are killed after some time or at an operation on a file, or the run is
told to stop. Whatever it was, the store ends as that of a run that nobody touched.
"""

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from tempering.artifacts.integrity import verify_folder
from tempering.artifacts.store import Store
from tests.flows.conftest import HERE, LIGHT, ROOT, Started, wait_for
from tests.flows.test_kills import gone_at_the_end

CONFIG = """
name: toy
base: {steps: 12, pace: 0.01}
left: {steps: 10, pace: 0.01, save_every: 4}
right: {steps: 9, pace: 0.01, save_every: 1000}
runtime: {max_parallel_stages: 2}
"""
LENGTH = 1.5  # seconds of a whole run on an idle machine, most of it the start
OPERATIONS = {"run": 350, "stage": 40}  # of a whole run, and of a long stage


def begin(folder: Path, chaos: str = "", alone: bool = True) -> Started:
    mark = uuid.uuid4().hex
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
        "PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)]),
        "TEMPER_PRELOAD": f"{LIGHT['TEMPER_PRELOAD']} chaos_temper",
        "TEMPER_TEST_MARK": mark,
        "CHAOS": chaos,
        "CHAOS_DONE": str(folder / f"killed-{mark}"),
        **({"ALONE": "1"} if alone else {}),
    }
    process = subprocess.Popen(
        [sys.executable, str(HERE / "chaos_temper.py"), "run", "toy.yaml", "--store", "store"],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    return Started(process, f"TEMPER_TEST_MARK={mark}")


def chains(folder: Path) -> dict[str, str]:
    """The weights of each model."""
    store = Store(folder / "store", writable=False)
    return {
        each.manifest.stage: (each.path / "model/chain").read_text()
        for each in store.list()
        if each.kind == "model"
    }


def strike(folder: Path, chance: random.Random, alone: bool) -> str:
    """One run with one blow, and what must be true after it; returns how it ended."""
    kind = chance.choice(["run", "stage", "kill", "stop"])
    chaos = f"{kind} {chance.randrange(1, OPERATIONS[kind])}" if kind in OPERATIONS else ""
    run = begin(folder, chaos, alone)
    with gone_at_the_end(run):
        if kind in ("kill", "stop"):
            # While it starts, or after its first stage has begun.
            if chance.random() < 0.75 and run.process.stderr is not None:
                run.process.stderr.readline()
            time.sleep(chance.uniform(0, LENGTH))
            run.process.send_signal(signal.SIGKILL if kind == "kill" else signal.SIGTERM)
        code = run.wait(240).code
        wait_for(lambda: not run.family(), 5)
    wanted = {"run": (0, -9), "stage": (0,), "kill": (0, -9), "stop": (0, 143, -15)}[kind]
    assert code in wanted, (kind, chaos, code)
    # What has a name is whole, and the record says what became of the run.
    store = Store(folder / "store", writable=False)
    for artifact in store.folders():
        assert verify_folder(artifact) == [], (kind, chaos)
    record = store.runs.last_run()
    if record is not None and code == 0:
        assert record.state == "completed"
    assert record is None or record.killed == (record.state == "running")
    return f"{kind}: {code}"


@pytest.mark.parametrize(
    ("kills", "alone"),
    [
        pytest.param(3, True, marks=pytest.mark.slow),
        pytest.param(25, True, marks=pytest.mark.services),
        pytest.param(25, False, marks=pytest.mark.services),
    ],
)
def test_the_weights_are_those_of_a_run_that_nobody_touched(tmp_path: Path, kills: int, alone: bool) -> None:
    chance, endings = random.Random(kills), []
    whole = folder_of(tmp_path, "whole")
    finish(whole, alone)
    while len(endings) < kills:
        # A few blows one after the other, then a run that nobody disturbs.
        folder = folder_of(tmp_path, str(len(endings)))
        blows = min(3, kills - len(endings))
        endings += [strike(folder, chance, alone) for _ in range(blows)]
        finish(folder, alone)
        assert chains(folder) == chains(whole), endings
        # Nothing is left of what was killed.
        places = [folder / "store" / place for place in (".partial", ".locks")]
        left = [path for place in places if place.exists() for path in place.iterdir()]
        assert left + list((folder / "store").rglob(".tmp-*")) == [], endings
    print(endings)


def folder_of(parent: Path, name: str) -> Path:
    (parent / name).mkdir()
    (parent / name / "toy.yaml").write_text(CONFIG)
    return parent / name


def finish(folder: Path, alone: bool) -> None:
    with gone_at_the_end(last := begin(folder, alone=alone)):
        answer = last.wait(240)
        assert answer.code == 0, answer.err
