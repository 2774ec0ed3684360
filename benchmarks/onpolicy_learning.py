"""What PPO, RLOO and DPO learn on the story world, seed by seed.

    python -m benchmarks.onpolicy_learning --store /tmp/learning --seeds 0 1 2 3 4 --out docs/onpolicy_learning.json

All start from the quickstart's SFT model and use its reward model; the seed is that of DPO, PPO and RLOO
(order, sampling, batches), of which PPO and RLOO get the same number of tokens. Then these two again with the
gold score itself as reward: what the algorithms do when the reward is what is measured. Runs are ordinary
`temper run`s into one store, one after the other, so whatever is there already is reused. Prints Markdown,
draws a picture beside the JSON.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tempering.artifacts.store import Store
from tempering.report.pairing import differences
from tempering.world import gold_score

ROOT = Path(__file__).parent.parent
TOKENS = 210_000
GOALS = (0.75, 0.9)
WINDOW = 5  # rollouts: a running mean over about 480 completions
ROLLOUT = 96
T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
NAMES = ("reward", "stage", "seed", "gold", "learned reward over SFT", "KL", "tokens", "seconds",
         "to 0.75", "to 0.9")  # fmt: skip
COLOURS = {"ppo": "#1f6f8b", "rloo": "#c4602a"}


def main() -> None:
    """Run what is missing, then read."""
    arguments = parsed()
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[list[tuple[int, float]]]] = {}
    for reward in ("learned", "gold"):
        for seed in arguments.seeds:
            run(arguments.store, reward, seed)
            store = Store(arguments.store, writable=False)
            for stage in ("dpo", "ppo", "rloo") if reward == "learned" else ("ppo", "rloo"):
                row, curve = looked_at(store, stage)
                rows.append({"reward": reward, "seed": seed, "stage": stage, **row})
                if curve:
                    curves.setdefault(f"{stage} {reward}", []).append(curve)
            arguments.out.write_text(json.dumps({"rows": rows, "curves": curves}, indent=1) + "\n")
    print(table(rows))
    arguments.out.with_suffix(".svg").write_text(drawn(curves))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--out", type=Path, required=True, help="JSON; the picture lies beside it")
    return parser.parse_args()


def run(store: Path, reward: str, seed: int) -> None:
    """One `temper run` of the quickstart with that seed and reward."""
    settings = [f"{stage}.seed={seed}" for stage in ("dpo", "ppo", "rloo")]
    settings += [f"ppo.token_limit={TOKENS}", f"rloo.token_limit={TOKENS}", "report=null"]
    if reward == "gold":
        settings += ["dpo=null", "ppo.reward={kind: gold}", "rloo.reward={kind: gold}"]
    command = [sys.executable, "-m", "flows.cli", "run", "configs/quickstart.yaml", "--store", str(store)]
    print(f"{reward} reward, seed {seed}", file=sys.stderr, flush=True)
    subprocess.run([*command, *settings], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def looked_at(store: Store, stage: str) -> tuple[dict[str, Any], list[tuple[int, float]]]:
    """The newest run's numbers of a stage, and its gold score over tokens."""
    model, metrics = store.get(f"{stage}@latest"), measured(store, stage)
    evaluations: Any = {name: store.get(f"evaluate[{name}]@latest") for name in ("sft", stage)}
    found = differences(evaluations, {stage: "sft"}, "stories", "reward", "higher")[stage]
    row = {
        "gold": metrics["gold_score"], "reward_gain": [found.mean, found.low, found.high],
        "tokens": model.manifest.tokens, "seconds": round(model.manifest.seconds, 1),
    }  # fmt: skip
    if stage == "dpo":
        return row, []
    steps = model.read("training_stats").drop_duplicates("tokens").to_dict("records")
    row["kl"] = statistics.mean(step["kl"] for step in steps[-WINDOW:])
    curve = gold_curve(model.read("generated_outputs"))
    for goal in GOALS:
        row[f"seconds_to_{goal}"] = seconds_to(goal, curve, steps)
    return row, curve


def measured(store: Store, stage: str) -> dict[str, float]:
    """Metric -> value, on the held-out prompts."""
    rows = store.get(f"evaluate[{stage}]@latest").read("metrics").to_dict("records")
    return {row["metric"]: row["value"] for row in rows if row["benchmark"] == "stories"}


def gold_curve(outputs: Any) -> list[tuple[int, float]]:
    """(tokens, mean gold score) of each rollout's completions."""
    found = []
    for tokens, rollout in outputs.groupby("tokens"):
        texts = zip(rollout["prompt"], rollout["completion"], rollout["ended"], strict=True)
        scores = [
            gold_score(prompt.removeprefix("<|user|>").removesuffix("<|assistant|>"), text, bool(ended)).total
            for prompt, text, ended in texts
        ]
        found.append((int(tokens), statistics.mean(scores)))
    return found


def seconds_to(goal: float, curve: list[tuple[int, float]], steps: list[dict[str, Any]]) -> float | None:
    """Seconds of training until the running mean reaches the goal; None: it does not."""
    seconds = {int(step["tokens"]): step["seconds"] for step in steps}
    for place in range(WINDOW - 1, len(curve)):
        if statistics.mean(score for _, score in curve[place - WINDOW + 1 : place + 1]) >= goal:
            return float(seconds[curve[place][0]])
    return None


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: each run, then means over seeds with a 95% interval."""
    lines = [f"| {' | '.join(NAMES)} |", "|---" * len(NAMES) + "|"]
    for row in sorted(rows, key=lambda row: (row["reward"] != "learned", row["stage"], row["seed"])):
        mean, low, high = row["reward_gain"]
        cells = [
            row["reward"], row["stage"], row["seed"], f"{row['gold']:.3f}",
            f"{mean:+.3f} ({low:+.3f} to {high:+.3f})", f"{row['kl']:.1f}" if "kl" in row else "", f"{row['tokens']:,}", f"{row['seconds']:.0f}",
            *(("" if "kl" not in row else "not reached" if row[f"seconds_to_{goal}"] is None
               else f"{row[f'seconds_to_{goal}']:.0f}") for goal in GOALS),
        ]  # fmt: skip
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += ["", "| reward | stage | gold, mean over seeds (95%) | seeds above SFT |", "|---|---|---|---|"]
    for key in dict.fromkeys((row["reward"], row["stage"]) for row in rows):
        own = [row for row in rows if (row["reward"], row["stage"]) == key]
        mean, half = interval([row["gold"] for row in own])
        above = sum(row["reward_gain"][1] > 0 for row in own)
        lines.append(f"| {key[0]} | {key[1]} | {mean:.3f} ± {half:.3f} | {above} of {len(own)} |")
    return "\n".join(lines)


def interval(values: list[float]) -> tuple[float, float]:
    """Mean, and half of its 95% interval by Student's t."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return mean, math.nan
    return mean, T_95[len(values)] * statistics.stdev(values) / math.sqrt(len(values))


def drawn(curves: dict[str, list[list[tuple[int, float]]]]) -> str:
    """Two panels, learned reward and gold: gold score over tokens, with 95% intervals over seeds."""
    width, height, panels = 420, 260, ("learned", "gold")
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * width} {height + 40}" '
             'font-family="system-ui, sans-serif" font-size="12">',
             f'<rect width="{2 * width}" height="{height + 40}" fill="white"/>']  # fmt: skip
    for number, panel in enumerate(panels):
        left = number * width + 46
        right, top, bottom = number * width + width - 14, 34, height - 10

        def place(
            tokens: float, gold: float, box: tuple[int, int, int, int] = (left, right, top, bottom)
        ) -> str:
            x = box[0] + (box[1] - box[0]) * tokens / TOKENS
            y = box[3] - (box[3] - box[2]) * (gold - 0.5) / 0.5
            return f"{x:.1f},{y:.1f}"

        parts.append(f'<text x="{left}" y="20" font-weight="600">reward: {panel}</text>')
        for tick in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
            x, y = place(0, tick).split(",")
            parts.append(f'<line x1="{left}" x2="{right}" y1="{y}" y2="{y}" stroke="#ddd"/>'
                         f'<text x="{float(x) - 8:.0f}" y="{y}" dy="4" text-anchor="end">{tick}</text>')  # fmt: skip
        for tick in range(0, TOKENS + 1, 70_000):
            x = place(tick, 0.5).split(",")[0]
            parts.append(f'<text x="{x}" y="{height + 8}" text-anchor="middle">{tick // 1000}K</text>')
        for row, stage in enumerate(("ppo", "rloo")):
            runs = curves.get(f"{stage} {panel}", [])
            if runs:
                parts += band(runs, place, COLOURS[stage])
            parts.append(f'<text x="{right - 50}" y="{bottom - 30 + 16 * row}" fill="{COLOURS[stage]}" '
                         f'font-weight="600">{stage.upper()}</text>')  # fmt: skip
        parts.append(f'<text x="{(left + right) // 2}" y="{height + 28}" text-anchor="middle">tokens</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def band(runs: list[list[tuple[int, float]]], place: Any, colour: str) -> list[str]:
    """The mean of smoothed runs at each rollout, with its interval."""
    count = min(map(len, runs))
    upper, lower, middle = [], [], []
    for at in range(count):
        values = [
            statistics.mean(score for _, score in one[max(0, at - WINDOW + 1) : at + 1]) for one in runs
        ]
        tokens = statistics.mean(one[at][0] for one in runs)
        mean, half = interval(values)
        half = 0.0 if math.isnan(half) else half
        middle.append(place(tokens, mean))
        upper.append(place(tokens, min(mean + half, 1.0)))
        lower.append(place(tokens, max(mean - half, 0.5)))
    return [
        f'<polygon points="{" ".join([*upper, *reversed(lower)])}" fill="{colour}" opacity="0.18"/>',
        f'<polyline points="{" ".join(middle)}" fill="none" stroke="{colour}" stroke-width="2"/>',
    ]


if __name__ == "__main__":
    main()
