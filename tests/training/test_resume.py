"""Killed at any moment and run again: same weights, same log rows as the uninterrupted run, bit for bit.

Every training stage is killed with SIGKILL in its own process, once in the middle of an optimizer
step, once in the middle of writing its second checkpoint, and once after its last one, and must then
really go on from a checkpoint. A stop (SIGTERM) makes it write one first.
"""

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from flows.process.preload import MODULES
from tempering.training.checkpoints import STOPPED
from tests.conftest import tiny_nodes
from tests.tiny import inputs_of, run_node

TRAINING = ("pretrain", "sft", "reward_model", "dpo", "ppo", "rloo")
TIMES = ("seconds", "per_second")
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
        last = (temporary / "finished").exists()
        original(temporary, final)
        published.append(final.name)
        if death == "after-the-end" and last:
            os.kill(os.getpid(), signal.SIGKILL)

    def stepping(self: Any, *args: Any, **kwargs: Any) -> Any:
        if death == "mid-step" and published:
            parameter = self.param_groups[0]["params"][0]
            parameter.data.add_(1.0)  # half an update
            os.kill(os.getpid(), signal.SIGKILL)
        if death == "stop" and published:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *args, **kwargs)

    if death == "mid-rollout":
        from tempering.generation.decoder import Decoder

        generate = Decoder.generate

        def generating(self: Any, *args: Any) -> Any:
            found = generate(self, *args)
            if len(published) > 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        Decoder.generate = generating
    trainer.publish = publish
    torch.optim.AdamW.step = stepping


def run_child(*arguments: Any) -> int:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*MODULES, "tests.conftest"])
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
        frame.drop(columns=[name for name in frame if name.endswith(TIMES)])
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


@pytest.fixture(scope="module")
def uninterrupted(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The store of a stage's uninterrupted run, and the ids of its inputs; run once for each stage."""
    made: dict[str, Any] = {}

    def store_of(name: str, changes: dict[str, Any]) -> Any:
        key = f"{name} {changes}"
        if key not in made:
            store, ids = store_with_inputs(tiny, tmp_path_factory.mktemp("whole"), name, changes)
            assert run_child(store, name, ids, changes, "") == 0
            made[key] = store
        return made[key]

    return store_of


def store_with_inputs(
    tiny: Any, folder: Path, name: str, changes: dict[str, Any]
) -> tuple[Any, dict[str, str]]:
    """A new store that sees the inputs of a stage: it finds what lies in its folders."""
    from tempering.artifacts.store import Store

    node = next(node for node in tiny_nodes(changes) if node.name == name)
    artifacts: dict[str, Any] = {}
    inputs_of(node, lambda source: artifacts.setdefault(source, tiny(source)))
    store = Store(folder)
    for artifact in artifacts.values():
        kind = store.root / artifact.path.parent.name
        kind.mkdir(exist_ok=True)
        (kind / artifact.path.name).symlink_to(artifact.path)
    return store, {source: artifact.id for source, artifact in artifacts.items()}


def kill_and_resume(
    tiny: Any, uninterrupted: Any, tmp_path: Path, name: str, changes: dict[str, Any], death: str
) -> None:
    whole = uninterrupted(name, changes)
    killed, ids = store_with_inputs(tiny, tmp_path, name, changes)
    ending = run_child(killed, name, ids, changes, death)
    assert ending == (1 if death == "stop" else -signal.SIGKILL)
    assert (death == "stop") == any(killed.root.glob(f".partial/*/checkpoints/*/{STOPPED}"))
    assert run_child(killed, name, ids, changes, "") == 0
    finished, resumed = whole.get(f"{name}@latest"), killed.get(f"{name}@latest")
    assert not finished.manifest.resumed_from_tokens
    assert resumed.manifest.resumed_from_tokens, "it began again instead of going on"
    same_run(finished, resumed)


@pytest.mark.slow
@pytest.mark.parametrize("death", ["mid-step", "mid-save", "after-the-end"])
@pytest.mark.parametrize("name", TRAINING)
def test_resumed_equals_uninterrupted(
    tiny: Any, uninterrupted: Any, tmp_path: Path, name: str, death: str
) -> None:
    kill_and_resume(tiny, uninterrupted, tmp_path, name, {}, death)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pretrain", "ppo"])
def test_stopped_equals_uninterrupted(tiny: Any, uninterrupted: Any, tmp_path: Path, name: str) -> None:
    kill_and_resume(tiny, uninterrupted, tmp_path, name, {}, "stop")


ON_POLICY = {
    "ppo": {"ppo.score_normalization": "whiten", "ppo.reward": {"kind": "gold"}, "ppo.value_init": "policy",
            "ppo.value_trunk": "shared", "ppo.guard": {"patience": 2, "max_unended": 0.1}},
    "rloo": {"rloo.estimator": "grpo", "rloo.kl_control": "linear", "rloo.stop_kl": 0.001,
             "rloo.old_logprobs": "sampler", "rloo.adapter": LORA},
}  # fmt: skip
"""Everything that has a state of its own, beside what the tiny pipeline has."""


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ON_POLICY))
def test_killed_while_sampling(tiny: Any, uninterrupted: Any, tmp_path: Path, name: str) -> None:
    kill_and_resume(tiny, uninterrupted, tmp_path, name, ON_POLICY[name], "mid-rollout")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sft", "reward_model", "dpo", "ppo"])  # rloo's is in ON_POLICY
def test_resumed_equals_uninterrupted_with_an_adapter(
    tiny: Any, uninterrupted: Any, tmp_path: Path, name: str
) -> None:
    kill_and_resume(tiny, uninterrupted, tmp_path, name, {f"{name}.adapter": LORA}, "mid-step")
