"""Several processes for one stage: who they are, and what happens when one of them fails."""

import subprocess
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.process.ranks import beside
from tests.forked import Forks

Run = Callable[[str], "subprocess.CompletedProcess[str]"]

SCRIPT = """
    import os, sys, time
    from pathlib import Path
    from flows.process.ranks import beside
    from tempering.errors import StageStopped

    folder = Path(sys.argv[1])

    def work():
        rank = os.environ.get("RANK")
        if sys.argv[2] == rank:
            raise RuntimeError("the one that fails")
        if sys.argv[2] == "stopped":
            raise StageStopped
        if sys.argv[2] != "nobody":
            time.sleep(60)  # as if it waited for the other one
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT")
        (folder / rank).write_text(" ".join(os.environ[name] for name in names))

    with beside(3, work):
        work()
"""


@pytest.fixture
def run(forks: Forks, tmp_path: Path) -> Run:
    """Run the script with one that fails; as in a stage, torch is there before the ranks are."""
    return lambda failing: forks.run(textwrap.dedent(SCRIPT), tmp_path, failing)


def test_every_rank_does_the_work_at_one_address(run: Run, tmp_path: Path) -> None:
    assert run("nobody").returncode == 0
    said = [(tmp_path / str(rank)).read_text().split() for rank in range(3)]
    assert [words[:3] for words in said] == [[str(rank), str(rank), "3"] for rank in range(3)]
    assert len({words[3] for words in said}) == 1


@pytest.mark.parametrize("failing", ["0", "2"])
def test_a_rank_that_fails_ends_all(run: Run, failing: str) -> None:
    started = time.monotonic()
    found = run(failing)
    assert found.returncode == 1
    assert "the one that fails" in found.stderr
    assert time.monotonic() - started < 40


def test_all_are_stopped_in_silence(run: Run) -> None:
    found = run("stopped")
    assert found.stderr.count("Traceback") == 1, "rank 0 alone tells its caller"


def test_one_process_is_this_one(monkeypatch: Any) -> None:
    monkeypatch.delenv("RANK", raising=False)
    import os

    with beside(1, lambda: None):
        assert "RANK" not in os.environ


@pytest.mark.slow
def test_two_processes_make_the_artifact_of_one(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the flow's own workers: same completions, and only one of them writes."""
    monkeypatch.delenv("TEMPER_PRELOAD", raising=False)  # of the toys: each stage would import torch
    import torch
    from safetensors.torch import load_file

    from flows.process.workers import Workers
    from tempering.artifacts.resolve import resolve
    from tempering.artifacts.store import Store
    from tempering.runtime import RuntimeConfig
    from tests.conftest import tiny_nodes
    from tests.tiny import inputs_of

    class Nobody:
        def message(self, message: Any) -> None: ...

        def line(self, text: str) -> None: ...

    from flows.process.run_stage import work

    node = next(node for node in tiny_nodes({"rloo.max_steps": 6}) if node.name == "rloo")
    inputs = inputs_of(node, tiny)
    workers, made = Workers(), []
    try:
        for processes in (1, 2):
            store = Store(tmp_path / str(processes))
            found = resolve(store, node.stage, node.config, inputs)
            runtime = RuntimeConfig(device="cpu", processes=processes)
            lease = store.lease(node.stage.name, found.fingerprint.hex)
            with store.draft(node.name, found, lease, runtime=runtime) as draft:
                arguments = (node.stage.module, node.stage.name, draft, node.config, inputs)
                summary, outcome = workers.run(
                    work, *arguments, log=draft.path / "log.txt", listener=Nobody()
                )
                draft.adopt(outcome)
                made.append(store.commit(draft, summary))
    finally:
        workers.close()
    texts = [one.read("generated_outputs")["completion"].tolist() for one in made]
    assert texts[0] == texts[1]
    first, second = (load_file(one.model_dir / "model.safetensors") for one in made)
    for name, tensor in first.items():
        torch.testing.assert_close(second[name], tensor, atol=1e-4, rtol=1e-3)
    names = [sorted(path.name for path in (one.path / "checkpoints").iterdir()) for one in made]
    assert names[0] == names[1]
