"""Every family through all stages on the embedded world, then in a clean process without a network."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tempering.artifacts.store import Store
from tests.conftest import tiny_nodes
from tests.forked import Forks
from tests.tiny import SMALL, run_nodes

pytestmark = pytest.mark.slow
GPT2 = {"n_embd": 32, "n_inner": 64, "n_head": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"kind": "transformer", "overrides": SMALL},
    "gpt2": {"kind": "transformer", "model_type": "gpt2", "overrides": GPT2},
    "qwen2": {"kind": "transformer", "model_type": "qwen2", "overrides": SMALL | {"num_key_value_heads": 1}},
    "lstm": {"kind": "lstm", "overrides": {"hidden_size": 32, "state_size": 32}},
    "kgram": {
        "kind": "kgram",
        "overrides": {"hidden_size": 32, "context_size": 8, "token_size": 16, "intermediate_size": 64},
    },
}
TRAINED = ("pretrain", "sft", "reward_model", "dpo", "ppo", "rloo")
STARTS_FROM = {"sft": "pretrain", "reward_model": "sft", "dpo": "sft", "ppo": "sft", "rloo": "sft"}
FEW_STEPS = {
    "sft.max_steps": 4,
    "reward_model.max_steps": 4,
    "dpo.max_steps": 4,
    "ppo.max_steps": 3,
    "rloo.max_steps": 4,
}

CLEAN_PROCESS = """
import json, socket, sys

def refuse(*_, **__):
    raise OSError("no network here")

socket.socket.connect = socket.getaddrinfo = refuse
import torch
import tempering.models
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer


def use(policy, scorer, copy):
    model = AutoModelForCausalLM.from_pretrained(policy)
    tokenizer = AutoTokenizer.from_pretrained(policy)
    texts = ["Who is", "Anna took the red ball to the"]
    batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
    keep = {name: batch[name] for name in ("input_ids", "attention_mask")}
    greedy = model.generate(**keep, max_new_tokens=6, do_sample=False)
    sampled = model.generate(**keep, max_new_tokens=6, do_sample=True, num_return_sequences=2)
    model.save_pretrained(copy)
    again = AutoModelForCausalLM.from_pretrained(copy).generate(**keep, max_new_tokens=6, do_sample=False)
    score = AutoModelForSequenceClassification.from_pretrained(scorer)(**keep).logits
    return {
        "type": model.config.model_type,
        "module": type(model).__module__.split(".")[0],
        "same": torch.equal(greedy, again),
        "new": greedy.shape[1] - keep["input_ids"].shape[1],
        "rows": len(sampled),
        "scores": score.flatten().tolist(),
    }

print(json.dumps([use(*folders) for folders in json.loads(sys.argv[1])]))
"""


def through_every_stage(store: Store, family: str) -> tuple[dict[str, Any], Any]:
    """The stages that train, and the evaluation of the last; made once, by whoever asks first."""
    nodes = tiny_nodes({"pretrain.architecture": {"preset": "nano", **FAMILIES[family]}, **FEW_STEPS})
    made: dict[str, Any] = {}
    stages = {name: run_nodes(store, nodes, name, made) for name in TRAINED}
    return stages, run_nodes(store, nodes, "evaluate[rloo]", made)


@pytest.mark.parametrize("family", FAMILIES)
def test_family_goes_through_every_stage(family: str, tiny_store: Store) -> None:
    stages, evaluation = through_every_stage(tiny_store, family)
    assert json.loads((stages["rloo"].model_dir / "config.json").read_text())["model_type"] == family
    for name in ("pretrain", "sft"):
        losses = stages[name].read("training_stats")["loss"]
        assert losses.iloc[-1] < losses.iloc[0], f"{name} learns"
    for name, start in STARTS_FROM.items():
        assert 0 < moved(stages[start], stages[name]) < 1, f"{name} trains the weights it was given"
    first = stages["dpo"].read("training_stats")["loss"].iloc[0]
    assert first == pytest.approx(0.6931, abs=1e-3), "DPO starts at its own reference"
    for name in ("ppo", "rloo"):
        log = stages[name].read("training_stats")
        assert log["kl"].iloc[0] == pytest.approx(0, abs=1e-4), "a policy starts at its reference"
        assert (log["grad_norm"] > 0).any()
    found = evaluation.manifest.metrics
    assert all(value == value for value in found.values() if isinstance(value, float))


def test_every_family_is_loaded_in_a_clean_process(tiny_store: Store, forks: Forks, tmp_path: Path) -> None:
    folders = []
    for family in FAMILIES:
        stages, _ = through_every_stage(tiny_store, family)
        folders.append((stages["rloo"].model_dir, stages["reward_model"].model_dir, tmp_path / family))
    answers = in_a_clean_process(forks, folders)
    assert [answer["type"] for answer in answers] == list(FAMILIES)
    for family, answer in zip(FAMILIES, answers, strict=True):
        assert answer["module"] == ("tempering" if family in ("lstm", "kgram") else "transformers")
        assert answer["same"]
        assert answer["new"] > 0
        assert answer["rows"] == 4
        assert len(set(answer["scores"])) == 2


def moved(start: Any, trained: Any) -> float:
    """Mean relative change of the matrices; one that is missing or unchanged fails at once."""
    before, after = (load_file(model.model_dir / "model.safetensors") for model in (start, trained))
    matrices = [name for name in before if before[name].ndim == 2]  # tied embeddings are stored once
    changes = [float((after[name] - before[name]).norm() / before[name].norm()) for name in matrices]
    assert min(changes) > 0
    return sum(changes) / len(changes)


def in_a_clean_process(forks: Forks, folders: list[tuple[Path, Path, Path]]) -> Any:
    """Load, generate, save, load and score with the Auto classes; every connection is refused.

    One process for all: its imports take longer than its work.
    """
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    arguments = json.dumps([[*map(str, three)] for three in folders])
    root = Path(__file__).parent.parent.parent
    found = forks.run(CLEAN_PROCESS, arguments, cwd=root, env=environment)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout.splitlines()[-1])
