"""When gold falls while the learned reward rises, and which cheap signals say so before, on the world.

    python -m benchmarks.overoptimisation --store /tmp/overoptimisation --out docs/measured/overoptimisation
    python -m benchmarks.overoptimisation --seeds 1 --tokens 200000 --store /tmp/overoptimisation

PPO and RLOO train from one SFT model on reward models of few and of many pairs, with and without a KL
penalty, and at twice the quickstart's learning rate: longer than is good. Every completion of every rollout
is in the stages' own tables, so that its gold score is computed from these, and nothing is sampled again.
Two further reward models of other seeds make an ensemble with the one that is trained on. What the store has
already is reused. Writes OUT.json, prints Markdown tables.
"""

import argparse
import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from benchmarks.overoptimisation_signals import Run, read_run, tables
from tempering.artifacts.store import Store

ROOT = Path(__file__).parent.parent
METHODS = ("rloo", "ppo")
PAIRS = {"few": 70_000, "many": 700_000}
"""Reward models -> the tokens of pairs that they learn from."""
KL_COEFS = (0.0, 0.02, 0.05)
MEMBERS = 3
"""Reward models of each size; the policies are trained on the first."""


def main() -> None:
    """Run what is missing, measure, print."""
    arguments = parsed()
    names = train(arguments)
    store = Store(arguments.store)
    record = store.runs.last_run()
    assert record is not None, "it has just run"
    artifacts = {
        name: store.get(entry.artifact, check=False)
        for name, entry in record.stages.items()
        if entry.artifact is not None
    }
    runs = []
    for name, about in names.items():
        if name in artifacts:
            members = [artifacts[f"{about['reward_model']}_{member}"] for member in range(1, MEMBERS)]
            runs.append(read_run(about, artifacts[name], members))
            print(f"{name}: read", file=sys.stderr, flush=True)
    write(runs, arguments.out)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tokens", type=int, default=100_000, help="of each run")
    parser.add_argument("--store", type=Path, default=Path("/tmp/overoptimisation"))
    parser.add_argument("--out", type=Path, default=Path("/tmp/overoptimisation/result"))
    return parser.parse_args()


def train(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """One run of a pipeline with all policies; stage -> its settings."""
    stages = {
        f"{method}_{pairs}_{round(1000 * kl_coef)}_{seed}": {
            "method": method,
            "reward_model": pairs,
            "kl_coef": kl_coef,
            "seed": seed,
        }
        for seed, method, pairs, kl_coef in product(arguments.seeds, METHODS, PAIRS, KL_COEFS)
    }
    file = arguments.store / "overoptimisation.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(pipeline(stages, arguments.tokens), sort_keys=False))
    command = [sys.executable, "-m", "flows.cli.main", "run", str(file), "--store", str(arguments.store)]
    # A run that fails is left out below; the others are measured.
    subprocess.run(command, check=False, stdout=sys.stderr, cwd=ROOT)
    return stages


def pipeline(stages: dict[str, dict[str, Any]], tokens: int) -> dict[str, Any]:
    """The quickstart up to its SFT model, the reward models, and a stage for each policy."""
    interval = {"checkpoint_interval": 10 * tokens}
    common = {"learning_rate": 1e-3, "batch_size": 32, **interval}
    return {
        "extends": str(ROOT / "configs" / "quickstart.yaml"),
        **dict.fromkeys(("reward_model", "dpo", "ppo", "rloo", "evaluate", "report")),
        "samples": {
            name: {"datasets": {"preferences": 1}, "token_limit": limit, "max_length": 128}
            for name, limit in PAIRS.items()
        },
        **{
            f"{pairs}_{member}": {"kind": "reward_model", "sample": pairs, "seed": member, **common}
            for pairs, member in product(PAIRS, range(MEMBERS))
        },
        **{
            name: {
                "kind": about["method"],
                "learning_rate": 1e-3,
                "lr_schedule": "constant",
                "batch_size": 48 if about["method"] == "ppo" else 96,
                "ppo_epochs": 1,
                "num_epochs": 20,
                "token_limit": tokens,
                "kl_coef": about["kl_coef"],
                "seed": about["seed"],
                "reward": {"kind": "model", "model": f"{about['reward_model']}_0"},
                **interval,
            }
            for name, about in stages.items()
        },
    }


def write(runs: list[Run], out: Path) -> None:
    """OUT.json and the tables."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps([run.summary() for run in runs], indent=1) + "\n")
    print(tables(runs))


if __name__ == "__main__":
    main()
