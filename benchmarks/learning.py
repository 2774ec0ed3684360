"""What PPO, RLOO and DPO learn on the embedded world: the quickstart, once for each seed, from raw text on.

    python -m benchmarks.learning --store /tmp/learning --out docs/onpolicy_learning
    python -m benchmarks.learning --seeds 0 1 --store /tmp/learning

For each seed the whole chain runs with the learned reward, PPO, RLOO and DPO at equal tokens; then PPO and
RLOO run again, longer, with the world's exact score as their reward. That is where a gold score of 0.9
should be reached: the learned reward is an imperfect copy of it. What the store has already is reused, so an
interrupted run goes on. Writes OUT.json, OUT_*.svg and OUT.md; prints the Markdown.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.learning_measures import METHODS, figures
from benchmarks.learning_picture import curves
from benchmarks.learning_tables import tables
from tempering.artifacts.kinds import Artifact
from tempering.artifacts.store import Store

ROOT = Path(__file__).parent.parent
GOLD_TOKENS = 600_000


def main() -> None:
    """Run what is missing, then measure, draw and print."""
    arguments = parsed()
    seeds = []
    for seed in arguments.seeds:
        kept = arguments.store / f"learning-{seed}.json"
        found = measured(seed, arguments)
        kept.write_text(json.dumps(found) + "\n")
        seeds.append(found)
        print(f"seed {seed}: done", file=sys.stderr, flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    summary = [{key: value for key, value in one.items() if key != "curves"} for one in seeds]
    arguments.out.with_suffix(".json").write_text(json.dumps(summary, indent=1) + "\n")
    for name, drawing in curves(seeds).items():
        Path(f"{arguments.out}_{name}.svg").write_text(drawing + "\n")
    text = tables(seeds)
    arguments.out.with_suffix(".md").write_text(text + "\n")
    print(text)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--store", type=Path, default=Path("/tmp/learning"))
    parser.add_argument("--out", type=Path, default=Path("/tmp/learning/result"))
    parser.add_argument("--config", default="configs/quickstart.yaml")
    parser.add_argument("--tokens", type=int, default=300_000, help="of PPO, RLOO and DPO each")
    parser.add_argument("--gold-tokens", type=int, default=GOLD_TOKENS, help="with the exact reward")
    parser.add_argument("--exact-seeds", type=int, nargs="*", help="seeds of the runs with the exact reward")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="overrides for every run")
    return parser.parse_args()


def measured(seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """The figures of a seed, from its two runs."""
    limits = {"samples.dpo.token_limit": arguments.tokens, "dpo.num_epochs": 1}
    for method in ("ppo", "rloo"):  # epochs enough for the tokens: the tokens end the run
        limits |= {f"{method}.token_limit": arguments.tokens, f"{method}.num_epochs": 20}
    limits["dpo.checkpoint_interval"] = arguments.tokens // 4
    learned = run(seed, arguments, limits)
    limits |= {"dpo": "null", "evaluate": "null", "report": "null"}
    del limits["dpo.num_epochs"], limits["dpo.checkpoint_interval"]
    for method in ("ppo", "rloo"):
        limits |= {f"{method}.token_limit": arguments.gold_tokens, f"{method}.reward.kind": "gold"}
    wanted = arguments.exact_seeds is None or seed in arguments.exact_seeds
    exact = run(seed, arguments, limits) if wanted else {}
    return {"seed": seed, **figures(learned, exact)}


def run(seed: int, arguments: argparse.Namespace, changes: dict[str, Any]) -> dict[str, Artifact]:
    """One run of the pipeline in a process of its own; stage -> artifact."""
    overrides = [f"seed={seed}", *arguments.set, *(f"{key}={value}" for key, value in changes.items())]
    temper = str(Path(sys.executable).with_name("temper"))
    command = [temper, "run", arguments.config, "--store", str(arguments.store), *overrides]
    subprocess.run(command, check=True, stdout=sys.stderr, cwd=ROOT)
    store = Store(arguments.store)
    record = store.runs.last_run()
    assert record is not None, "it has just run"
    wanted = ("sft", *METHODS)
    return {
        name: store.get(entry.artifact, check=False)
        for name, entry in record.stages.items()
        if entry.artifact and (name in wanted or name.startswith("evaluate"))
    }


if __name__ == "__main__":
    main()
