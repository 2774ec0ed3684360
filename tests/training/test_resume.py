"""Killed at any moment and run again: same weights, same log rows as the uninterrupted run, bit for bit.

Every training stage is killed with SIGKILL in its own process, once in the middle of an optimizer
step and once in the middle of writing its second checkpoint, and must then really go on from the
first one.
"""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import tiny_nodes
from tests.tiny import inputs_of, run_node

TRAINING = ("pretrain", "sft", "reward_model", "dpo", "ppo", "rloo")
TIMES = {"seconds", "tokens_per_second"}
LORA = {"kind": "lora", "rank": 4}


def child(store: Any, name: str, inputs: dict[str, str], changes: dict[str, Any], death: str) -> None:
    """Run one stage in this process, and die where `death` says."""
    if death:
        arrange_death(death)
    node = next(node for node in tiny_nodes(changes) if node.name == name)
    run_node(store, node, lambda source: store.get(inputs[source]))


def arrange_death(death: str) -> None:
    import torch

    from tempering.training import checkpoints, trainer

    published: list[str] = []
    original, step = checkpoints.publish, torch.optim.AdamW.step

    def publish(temporary: Path, final: Path) -> None:
        if death == "mid-save" and published:
            (temporary / "optimizer.pt").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        original(temporary, final)
        published.append(final.name)

    def stepping(self: Any, *args: Any, **kwargs: Any) -> Any:
        if death == "mid-step" and published:
            parameter = self.param_groups[0]["params"][0]
            parameter.data.add_(1.0)  # half an update
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, *args, **kwargs)

    trainer.publish = publish
    torch.optim.AdamW.step = stepping


def run_child(*arguments: Any) -> int:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["flows.preload"])
    process = context.Process(target=child, args=arguments)
    process.start()
    process.join(300)
    assert process.exitcode is not None, "the stage hangs"
    return process.exitcode


def weights(artifact: Any) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(artifact.model_dir.glob("*.safetensors"))}


def rows(artifact: Any, table: str) -> list[dict[str, Any]]:
    frame = artifact.read(table)
    return (
        frame.drop(columns=[name for name in frame if name in TIMES])
        .astype(object)
        .where(frame.notna(), None)
        .to_dict("records")
    )


def same_run(first: Any, second: Any) -> None:
    assert weights(first) == weights(second)
    assert first.manifest.tokens == second.manifest.tokens
    for table in ("training_stats", "generated_outputs"):
        if (first.path / "metadata" / f"{table}.parquet").exists():
            assert rows(first, table) == rows(second, table)


def kill_and_resume(tiny: Any, tmp_path: Path, name: str, changes: dict[str, Any], death: str) -> None:
    from tempering.artifacts.store import Store

    node = next(node for node in tiny_nodes(changes) if node.name == name)
    artifacts: dict[str, Any] = {}
    inputs_of(node, lambda source: artifacts.setdefault(source, tiny(source)))
    whole, killed = Store(tmp_path / "whole"), Store(tmp_path / "killed")
    ids = {source: artifact.id for source, artifact in artifacts.items()}
    for store in (whole, killed):  # the inputs are shared: a store finds what lies in its folders
        for artifact in artifacts.values():
            folder = store.root / artifact.path.parent.name
            folder.mkdir(exist_ok=True)
            (folder / artifact.path.name).symlink_to(artifact.path)
    assert run_child(whole, name, ids, changes, "") == 0
    assert run_child(killed, name, ids, changes, death) == -signal.SIGKILL
    assert run_child(killed, name, ids, changes, "") == 0
    finished, resumed = whole.get(f"{name}@latest"), killed.get(f"{name}@latest")
    assert not finished.manifest.resumed_from_tokens
    assert resumed.manifest.resumed_from_tokens, "it began again instead of going on"
    same_run(finished, resumed)


@pytest.mark.slow
@pytest.mark.parametrize("death", ["mid-step", "mid-save"])
@pytest.mark.parametrize("name", TRAINING)
def test_resumed_equals_uninterrupted(tiny: Any, tmp_path: Path, name: str, death: str) -> None:
    kill_and_resume(tiny, tmp_path, name, {}, death)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sft", "ppo", "rloo"])
def test_resumed_equals_uninterrupted_with_an_adapter(tiny: Any, tmp_path: Path, name: str) -> None:
    kill_and_resume(tiny, tmp_path, name, {f"{name}.adapter": LORA}, "mid-step")
