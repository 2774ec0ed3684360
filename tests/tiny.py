"""A tiny real model, tokenizer and artifacts, made once a session for whoever needs them."""

from pathlib import Path
from typing import Any

from tempering.artifacts.draft import Draft
from tempering.artifacts.kinds import Artifact
from tempering.artifacts.resolve import build
from tempering.artifacts.store import Store
from tempering.runtime import RuntimeConfig

CPU = RuntimeConfig(device="cpu")
SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}

PIPELINE: dict[str, Any] = {
    "name": "tiny",
    "datasets": {
        "corpus": {"kind": "world", "rows": "corpus", "size": 300, "eval_fraction": 0.1},
        "demonstrations": {"kind": "world", "rows": "demonstrations", "size": 80, "eval_fraction": 0.1},
        "preferences": {"kind": "world", "rows": "preferences", "size": 80, "eval_fraction": 0.1},
        "prompts": {"kind": "world", "rows": "prompts", "size": 40, "eval_fraction": 0.2},
        "questions": {"kind": "world", "rows": "questions", "size": 10, "split": "test", "eval_fraction": 1},
        "pairs": {"kind": "world", "rows": "minimal_pairs", "size": 10, "split": "test", "eval_fraction": 1},
    },
    "tokenizer": {"kind": "train", "vocab_size": 400, "datasets": ["corpus"]},
    "samples": {
        "pretrain": {"datasets": {"corpus": 1}, "max_length": 128},
        "sft": {"datasets": {"demonstrations": 1}, "max_length": 192},
        "preferences": {"datasets": {"preferences": 1}, "max_length": 192},
        "prompts": {"datasets": {"prompts": 1}, "max_length": 96},
    },
    "pretrain": {
        "architecture": {"preset": "nano", "overrides": SMALL}, "block_size": 64, "batch_size": 8,
        "max_steps": 12,
        "checkpoint_interval": 1500, "learning_rate": 3e-3,
    },
    "sft": {"batch_size": 8, "checkpoint_interval": 1500, "num_epochs": 1},
    "reward_model": {"batch_size": 8, "checkpoint_interval": 2500},
    "dpo": {"batch_size": 8, "checkpoint_interval": 2500, "learning_rate": 1e-3},
    "ppo": {"batch_size": 8, "rollout_batch_size": 8, "checkpoint_interval": 500, "max_new_tokens": 12,
            "learning_rate": 1e-3, "value_init": "reward_model", "kl_control": "adaptive"},
    "rloo": {"batch_size": 8, "rollout_batch_size": 16, "num_completions": 4, "checkpoint_interval": 500,
             "num_epochs": 1.5, "ppo_epochs": 2, "max_new_tokens": 12, "learning_rate": 1e-3},
    "evaluate": {"benchmarks": {
        "stories": {"kind": "completions", "dataset": "prompts", "gold": True, "max_new_tokens": 8},
        "held_out": {"kind": "perplexity", "dataset": "demonstrations"},
        "text": {"kind": "perplexity", "dataset": "corpus"},
        "questions": {"kind": "questions", "dataset": "questions", "max_new_tokens": 3},
        "pairs": {"kind": "minimal_pairs", "dataset": "pairs"},
        "preferences": {"kind": "preferences", "dataset": "preferences"},
    }},
    "report": {},
}  # fmt: skip
"""A whole pipeline that trains in seconds: every stage takes several steps and checkpoints."""


def run_nodes(
    store: Store, nodes: list[Any], wanted: str, made: dict[str, Artifact] | None = None
) -> Artifact:
    """Run `wanted` and what it needs in this process, through the store; what is there is reused."""
    found = made if made is not None else {}
    by_name = {node.name: node for node in nodes}

    def artifact(name: str) -> Artifact:
        if name not in found:
            found[name] = run_node(store, by_name[name], artifact)
        return found[name]

    return artifact(wanted)


def inputs_of(node: Any, artifact: Any) -> dict[str, Any]:
    """Role -> artifact(s), each fetched by calling `artifact` with a node's name."""
    return {
        role: {key: artifact(name) for key, name in given.items()}
        if isinstance(given, dict)
        else artifact(given)
        for role, given in node.inputs.items()
    }


def run_node(store: Store, node: Any, artifact: Any) -> Artifact:
    """One node through the store, in this process."""
    inputs = inputs_of(node, artifact)
    return build(store, node.stage, node.config, inputs, node=node.name, runtime=CPU)


def fresh_draft(path: Path, seed: int = 0) -> Draft:
    """A draft outside any store."""
    return Draft(path, seed=seed, runtime=CPU)
