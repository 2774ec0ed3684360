"""The configs beside the recipes: each makes a graph, of what its name says and no more."""

from pathlib import Path

import pytest

from flows.build import build_graph
from flows.config import load_pipeline

TRAINED = {
    "quickstart": ["pretrain", "sft", "reward_model", "dpo", "ppo", "rloo"],
    "ppo": ["pretrain", "sft", "reward_model", "ppo"],
    "teacher": ["pretrain", "sft", "ppo"],
    "compare": [
        "pretrain",
        "sft",
        "reward_model",
        "dpo",
        "rloo",
        "sft_short",
        "grpo",
        "dpo_again",
        "dpo_short",
    ],
}


def test_none_is_forgotten(repository: Path) -> None:
    assert sorted(path.stem for path in (repository / "configs").glob("*.yaml")) == sorted(TRAINED)


@pytest.mark.parametrize("name", list(TRAINED))
def test_it_trains_what_it_is_for(repository: Path, name: str) -> None:
    nodes = build_graph(load_pipeline(repository / "configs" / f"{name}.yaml"))
    assert [node.name for node in nodes if node.stage.trains] == TRAINED[name]
    for node in nodes:
        if "reward_models" in node.stage.roles:
            assert node.inputs["reward_models"] == ({} if name == "teacher" else {"model": "reward_model"})
