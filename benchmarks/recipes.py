"""Run the local form of a recipe on a folder of samples and print what every stage gave, as Markdown.

`python -m benchmarks.recipes RECIPE --samples DIR --store DIR [key=value ...]`. The samples are small files
in the forms of the recipes' data sets; `SAMPLES` says which. Recipes that start from a model get a tiny one
(`benchmarks.tiny_models`) beside the store. What docs/measured/recipes.md records was made with this.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.tiny_models import FAMILIES, make_tiny_model, strings_in
from tempering.data.answers import exact_match, f1

ROOT = Path(__file__).parent.parent
TRAINING = ("pretrain", "sft", "reward_model", "dpo", "ppo", "rloo")
SAMPLES = {
    "babylm-ppo": {
        "childes": "pretrain/babylm_childes.txt.gz",
        "gutenberg": "pretrain/babylm_gutenberg.jsonl.gz",
        "simple_wiki": "pretrain/babylm_simple_wiki.jsonl.gz",
        "switchboard": "pretrain/babylm_switchboard.txt.gz",
        "stories": "pretrain/tinystories_head.txt.gz",
        "reviews": "sentiment/imdb_reviews_unlabelled.jsonl.gz",
        "blimp": "evaluation/blimp",
    },
    "pico-squad": dict.fromkeys(
        ("contexts", "demonstrations", "questions", "pairs"), "sft/xquad.en.flat.jsonl.gz"
    ),
    "llama3b-ultrafeedback": dict.fromkeys(
        ("demonstrations", "pairs", "prompts"), "preference/ultrafeedback_binarized.jsonl.gz"
    ),
    "qwen-smoltalk": {
        "smoltalk": "sft/identity_messages_parts.jsonl.gz",
        "pairs": "preference/ultrafeedback_binarized.jsonl.gz",
        "prompts": "preference/ultrafeedback_binarized.jsonl.gz",
    },
}
"""Recipe -> data set -> file below the folder of samples."""
MODELS = {"llama3b-ultrafeedback": "llama", "qwen-smoltalk": "qwen"}
SHOWN = {"loss": "loss", "score": "score", "kl": "KL", "ended_share": "ended"}
"""Column of the training log -> how the table calls it."""
HELD_OUT = {
    "eval_loss": "held-out loss",
    "eval_accuracy": "held-out accuracy",
    "eval_rewards/accuracies": "held-out accuracy",
}
"""Metric of the stage on its sample's eval part -> the same."""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("recipe", choices=SAMPLES)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--samples", type=Path, required=True, help="the folder of samples")
    parser.add_argument("--store", type=Path, required=True)
    args = parser.parse_args()
    paths = {name: args.samples / file for name, file in SAMPLES[args.recipe].items()}
    overrides = [f"datasets.{name}.path={path}" for name, path in paths.items()]
    if args.recipe in MODELS:
        overrides.append(f"models.base={tiny_model(MODELS[args.recipe], paths, args.store)}")
    rows = run(args.recipe, args.store, [*overrides, *args.overrides])
    print(training_table(rows, args.store), evaluation_table(rows, args.store), sep="\n\n")
    if args.recipe == "pico-squad":
        print(span_baseline(rows, args.store))


def tiny_model(family: str, paths: dict[str, Path], store: Path) -> Path:
    """A tiny model of the family beside the store, made of the recipe's own samples."""
    folder = store.parent / f"tiny-{family}"
    if not folder.exists():
        texts = list(dict.fromkeys(text for path in set(paths.values()) for text in strings_in(path)))
        made = make_tiny_model(FAMILIES[family], sorted(texts), folder)
        print(f"{folder}: {made:,} parameters", file=sys.stderr)
    return folder


def run(recipe: str, store: Path, overrides: list[str]) -> list[dict[str, Any]]:
    """`temper run`, whose rows say which artifact every stage has."""
    config = ROOT / "configs" / "recipes" / recipe / "local.yaml"
    command = [Path(sys.executable).parent / "temper", "run", config, "--store", store, "--json", *overrides]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode:
        raise SystemExit(done.returncode)
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def training_table(rows: list[dict[str, Any]], store: Path) -> str:
    """A row a stage that trains: size, cost, and its log from the first step to the last tenth."""
    lines = [
        "| stage | parameters | steps | tokens | seconds | log, first → last |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        name = re.sub(r"merge\[(.*)\]", r"\1", row["stage"])
        if name not in TRAINING or not row["artifact"]:
            continue
        folder = store / row["artifact"]
        manifest = json.loads((folder / "manifest.json").read_text())
        found = manifest["metrics"]
        cells = [row["stage"], f"{manifest['details']['parameters']:,}"]
        if name == row["stage"]:
            cells += [
                str(found["steps"]),
                f"{manifest['tokens']:,}",
                f"{manifest['seconds']:.0f}",
                log_of(folder),
            ]
        else:
            cells += [
                "",
                "",
                f"{manifest['seconds']:.0f}",
                f"logits differ by {found['largest_difference']:.2g}",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def log_of(folder: Path) -> str:
    """The first row of the log and the mean of its last tenth; and what was measured on held-out rows."""
    stats = pd.read_parquet(folder / "metadata" / "training_stats.parquet")
    last = stats.tail(max(1, len(stats) // 10))
    on_policy = "score" in stats
    columns = [name for name in SHOWN if name in stats and not (on_policy and name == "loss")]
    parts = [f"{SHOWN[name]} {stats[name].iloc[0]:.2f} → {last[name].mean():.2f}" for name in columns]
    held = folder / "metadata" / "held_out.parquet"
    if held.exists():
        values: dict[str, float] = dict(pd.read_parquet(held)[["metric", "value"]].itertuples(index=False))
        parts += [f"{shown} {values[name]:.2f}" for name, shown in HELD_OUT.items() if name in values]
    return ", ".join(parts)


def evaluation_table(rows: list[dict[str, Any]], store: Path) -> str:
    """Models across, benchmarks down, each value with its 95% interval."""
    found = [
        pd.read_parquet(store / row["artifact"] / "metadata" / "metrics.parquet")
        for row in rows
        if row["stage"].startswith("evaluate[") and row["artifact"]
    ]
    table = pd.concat(found)
    models = list(dict.fromkeys(table["model"]))
    lines = [f"| benchmark | n | {' | '.join(models)} |", "|---" * (len(models) + 2) + "|"]
    for (benchmark, metric), group in table.groupby(["benchmark", "metric"], sort=False):
        by_model = {
            row.model: f"{row.value:.3f} ({row.low:.3f} to {row.high:.3f})" for row in group.itertuples()
        }
        cells = [
            f"{benchmark}, {metric}",
            str(group["n"].max()),
            *(by_model.get(name, "") for name in models),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def span_baseline(rows: list[dict[str, Any]], store: Path, draws: int = 20) -> str:
    """What guessing gives on the questions: a random span of the context, as long as the right answer."""
    artifact = next(row["artifact"] for row in rows if row["stage"] == "dataset[questions]")
    table = pd.concat(map(pd.read_parquet, sorted((store / artifact / "rows" / "eval").glob("*.parquet"))))
    rng, exact, overlap = random.Random(0), [], []
    for row in table.to_dict("records"):
        words, length = row["context"].split(), len(row["answers"][0].split())
        for _ in range(draws):
            start = rng.randrange(max(1, len(words) - length + 1))
            guess = " ".join(words[start : start + length])
            exact.append(exact_match(guess, list(row["answers"])))
            overlap.append(f1(guess, list(row["answers"])))
    values = f"exact match {sum(exact) / len(exact):.3f}, F1 {sum(overlap) / len(overlap):.3f}"
    return f"\nA random span of the right length: {values}"


if __name__ == "__main__":
    main()
