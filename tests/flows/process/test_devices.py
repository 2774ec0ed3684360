"""One accelerator, one stage: real processes, and accelerators that are only names."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.process.devices import FOLDER, Devices, accelerators, chosen, lock_file, take_locks
from tempering.artifacts.draft import Draft
from tempering.errors import ConfigError, StoreError
from tempering.runtime import RuntimeConfig
from tests.flows.conftest import HERE, LIGHT, ROOT, wait_for

# Takes `count` of `names`, says so, and keeps them; with "fork" a child of it keeps them.
HOLD = """
import os, sys, time
from flows.process.devices import take_locks
count, names, fork = int(sys.argv[1]), sys.argv[2].split(","), sys.argv[3:]
waiting = lambda holder: print("waits for", holder, flush=True)
print("holds", *take_locks(names, count, work="ppo of lab", waiting=waiting), flush=True)
if fork and (child := os.fork()):
    print(child, flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


@pytest.fixture
def hold() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start a process that takes devices."""
    started = []

    def begin(count: int, names: str, *fork: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", HOLD, str(count), names, *fork]
        path = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            command, env=path, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_kill_9_of_the_holder_frees_the_device_at_once(hold: Callable[..., "subprocess.Popen[str]"]) -> None:
    first, second = hold(1, "gpu0"), None
    assert line(first) == "holds gpu0"
    second = hold(1, "gpu0")
    assert line(second).startswith(f"waits for gpu0, held by pid {first.pid} on host ")
    first.kill()
    start = time.monotonic()
    while (said := line(second)) != "holds gpu0":
        assert said.endswith("(ppo of lab)")
    assert time.monotonic() - start < 1


def test_the_first_free_one_is_taken(hold: Callable[..., "subprocess.Popen[str]"]) -> None:
    assert line(hold(1, "gpu0,gpu1")) == "holds gpu0"
    assert line(hold(1, "gpu0,gpu1")) == "holds gpu1"


def test_who_waits_for_several_holds_none(hold: Callable[..., "subprocess.Popen[str]"]) -> None:
    assert line(hold(1, "gpu1")) == "holds gpu1"
    both = hold(2, "gpu0,gpu1")
    assert line(both).startswith("waits for gpu1, held by")
    assert line(both).startswith("waits for gpu1, held by")
    # It tries again and again; in between gpu0 can be had.
    wait_for(lambda: _free("gpu0"), 5)


def _free(name: str) -> bool:
    """Whether a new process gets the device within some tries."""
    code = (
        f"from flows.process.devices import take_locks, _lock; import sys; sys.exit(_lock({name!r}) is None)"
    )
    return (
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}).returncode
        == 0
    )


def test_a_rank_that_outlives_the_stage_still_holds_its_device(
    hold: Callable[..., "subprocess.Popen[str]"],
) -> None:
    stage = hold(1, "gpu0", "fork")
    assert line(stage) == "holds gpu0"
    rank = int(line(stage))
    stage.kill()
    stage.wait()
    assert not _free("gpu0")
    os.kill(rank, signal.SIGKILL)
    wait_for(lambda: _free("gpu0"), 5)


def test_what_cuda_visible_devices_chooses() -> None:
    uuids = ["GPU-aa", "GPU-ab", "GPU-b"]
    assert chosen(uuids, None) == uuids
    assert chosen(uuids, "2, 0") == ["GPU-b", "GPU-aa"]
    assert chosen(uuids, "GPU-b,GPU-ab") == ["GPU-b", "GPU-ab"]
    assert chosen(uuids, "1,7,0") == ["GPU-ab"]  # as CUDA: the rest is not seen
    assert chosen(uuids, "GPU-a") == [] == chosen(uuids, "") == chosen(uuids, "-1")
    assert chosen(uuids, "MIG-1,MIG-2") == ["MIG-1", "MIG-2"]


def test_a_cpu_has_no_lease() -> None:
    assert accelerators(RuntimeConfig()) == accelerators(RuntimeConfig(device="cpu")) == []
    assert accelerators(RuntimeConfig(device="mps")) == ["mps"]


def test_a_stage_sees_what_it_holds_and_no_more(
    monkeypatch: pytest.MonkeyPatch, folder: Path, hold: Callable[..., "subprocess.Popen[str]"]
) -> None:
    assert line(hold(1, "GPU-a")) == "holds GPU-a"
    monkeypatch.setattr("flows.process.devices.accelerators", lambda *_: ["GPU-a", "GPU-b", "GPU-c"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(os, "environ", {**os.environ})
    said: list[object] = []
    draft = Draft(folder / "draft", runtime=RuntimeConfig())
    Devices(draft, 2, said.append).take()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-b,GPU-c"
    assert not said
    # Too few; and where the machine's GPUs are shared, nothing is asked.
    with pytest.raises(ConfigError, match=r"runtime\.processes is 4, and a stage sees 3"):
        Devices(draft, 4, said.append).take()
    draft.runtime = RuntimeConfig(device_lease=False)
    Devices(draft, 4, said.append).take()


def test_without_uuids_cuda_takes_the_first_and_so_does_the_lease(
    monkeypatch: pytest.MonkeyPatch, folder: Path, hold: Callable[..., "subprocess.Popen[str]"]
) -> None:
    assert line(hold(1, "gpu0")) == "holds gpu0"
    monkeypatch.setattr("flows.process.devices.accelerators", lambda *_: ["gpu0", "gpu1"])

    class Enough(Exception):
        pass

    def say(message: tuple[object, ...]) -> None:
        assert message == ("queued",)
        raise Enough

    with pytest.raises(Enough):
        Devices(Draft(folder / "draft"), 1, say).take()


def test_all_users_may_take_the_lock(folder: Path) -> None:
    umask = os.umask(0o077)
    try:
        take_locks(["GPU-1/2"], 1)
    finally:
        os.umask(umask)
    path = lock_file("GPU-1/2")
    assert path == folder / "tempering-GPU-1-2.lock"
    assert path.stat().st_mode & 0o777 == 0o666
    assert json.loads(path.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("trap", ["link", "hard link", "pipe", "folder"])
def test_a_trap_in_the_place_of_a_lock_is_not_written_to(folder: Path, trap: str) -> None:
    precious = folder / "precious"
    precious.write_text("mine")
    path = lock_file("gpu0")
    {
        "link": lambda: path.symlink_to(precious),
        "hard link": lambda: path.hardlink_to(precious),
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
    }[trap]()
    with pytest.raises(StoreError, match=r"gpu0 cannot be opened: .*tempering-gpu0\.lock: "):
        take_locks(["gpu0"], 1)
    assert precious.read_text() == "mine"


# A run of one stage whose process sees the accelerator gpu0; with "stop" it is cancelled once it waits.
RUN = """
import sys, threading, toy_stages
from flows.display import Display
from flows.graph import Node
from flows.process.workers import Workers
from flows.runner import Runner
from tempering.artifacts.stage import get_stage
from tempering.artifacts.store import Store
from tempering.runtime import RuntimeConfig

waits = threading.Event()

class Watched(Display):
    def warn(self, name, text):
        super().warn(name, text)
        waits.set()

if __name__ == "__main__":
    data = Node("data", get_stage("toy_data"), toy_stages.ToyData())
    sample = Node("sample", get_stage("toy_sample"), toy_stages.ToySample(), {"data": "data"})
    base = Node("base", get_stage("toy_train"), toy_stages.ToyTrain(), {"sample": "sample"})
    display = Watched()
    display.add(["data", "sample", "base"])
    workers = Workers()
    runner = Runner(Store(sys.argv[1]), RuntimeConfig(), display, workers)
    def stop():
        waits.wait()
        workers.stop()
    if sys.argv[2] == "stop":
        threading.Thread(target=stop, daemon=True).start()
    for node in (data, sample, base):
        outcome = runner.run_node(node)
    print(outcome.action, outcome.seconds)
    workers.close()
"""


@pytest.mark.parametrize("how", ["stop", "go"])
def test_a_run_says_who_holds_the_device_and_can_be_stopped(
    folder: Path, hold: Callable[..., "subprocess.Popen[str]"], how: str
) -> None:
    holder = hold(1, "gpu0")
    assert line(holder) == "holds gpu0"
    # A preloaded module makes the stages see a device.
    (folder / "fake_gpu.py").write_text(
        "import flows.process.devices as devices\ndevices.accelerators = lambda *_: ['gpu0']\n"
    )
    (folder / "one_run.py").write_text(RUN)
    path = os.pathsep.join([str(folder), str(HERE), str(ROOT)])
    run = subprocess.Popen(
        [sys.executable, str(folder / "one_run.py"), str(folder / "store"), how],
        env={**os.environ, "TEMPER_PRELOAD": f"{LIGHT['TEMPER_PRELOAD']} fake_gpu", "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines: list[str] = []
    assert run.stderr is not None
    reader = threading.Thread(target=lambda: lines.extend(run.stderr or ()), daemon=True)
    reader.start()
    wait_for(lambda: any("waiting for" in text for text in lines), 30)
    if how == "go":
        time.sleep(1.5)
        holder.kill()
    out = run.stdout.read() if run.stdout else ""
    assert run.wait(30) == 0, lines
    reader.join()
    action, seconds = out.split()
    said = [text for text in lines if text.startswith("base")]
    assert f"base: waiting for gpu0, held by pid {holder.pid} on host" in said[1], lines
    assert "(ppo of lab)" in said[1]
    if how == "stop":
        assert (action, said[-1]) == ("cancelled", "base: cancelled\n"), lines
    else:  # the wait is not the stage's time
        assert (action, said[2]) == ("run", "base: running\n"), lines
        assert float(seconds) < 1.5
