"""The results of `benchmarks.onpolicy_speed` as Markdown tables."""

import statistics
from typing import Any

PEERS = {  # of ours whose name starts so
    "ours RLOO": ("TRL RLOO", "TRL RLOO, micro-batches of 24", "TRL RLOO, two processes", "plain loop"),
    "ours PPO": ("TRL PPO", "TRL PPO, micro-batches of 24", "TRL PPO, two processes"),
}


def tables(found: dict[str, Any]) -> str:
    """Trainers, phases and decoding."""
    rounds = {name: list(results) for name, results in found["contestants"].items() if results}
    trainers = {name: results for name, results in rounds.items() if "phases" in results[0]}
    decoders = {name: results for name, results in rounds.items() if name not in trainers}
    parts = [trainer_table(trainers), phase_table(trainers)] if trainers else []
    parts += [decoding_table(decoders)] if decoders else []
    others = [one["others"] for results in rounds.values() for one in timed(results)]
    most, mean = max(others), statistics.fmean(others)
    said = f"Other processes kept {mean:.2f} cores busy meanwhile (mean of all runs; at most {most:.2f})."
    return "\n\n".join([*parts, said])


def trainer_table(trainers: dict[str, Any]) -> str:
    """Completions a second, length, memory, and how many times a peer's."""
    lines = [
        "| | completions/s, best | median | mean length | peak memory, MiB | ours / peer, median |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, results in trainers.items():
        best, middle = max(speeds(results)), statistics.median(speeds(results))
        length = statistics.fmean(one["mean_length"] for one in timed(results))
        memory = [one["memory_mib"] for one in results if one["memory_mib"] is not None]
        against = [
            f"{middle / statistics.median(speeds(trainers[peer])):.2f} x {peer}"
            for ours, peers in PEERS.items()
            for peer in peers
            if name.startswith(ours) and peer in trainers
        ]
        lines.append(
            f"| {name} | {best:.0f} | {middle:.0f} | {length:.1f} | "
            f"{f'{max(memory):.0f}' if memory else 'not measured'} | {', '.join(against)} |"
        )
    return "\n".join(lines)


def phase_table(trainers: dict[str, Any]) -> str:
    """Milliseconds of a rollout by phase; `rest` is what no phase covers."""
    lines = [
        "| ms a rollout | decode | score | compare | update and rest | sum |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, results in trainers.items():
        best = max(timed(results), key=lambda one: one["completions_per_second"])
        phases, whole = best["phases"], best["seconds_per_rollout"]
        score = phases.get("score", phases.get("score and values", 0.0))
        shown = [phases.get("decode", 0.0), score, phases.get("compare", 0.0)]
        cells = [*shown, whole - sum(shown), whole]
        lines.append(f"| {name} | " + " | ".join(f"{1000 * cell:.0f}" for cell in cells) + " |")
    return "\n".join(lines)


def decoding_table(decoders: dict[str, Any]) -> str:
    """Completions a second by batch size, median over rounds."""
    names = list(decoders)
    lines = [
        "| batch | " + " | ".join(f"{name}, completions/s (mean length)" for name in names) + " | ratio |",
        "|---|" + "--:|" * (len(names) + 1),
    ]
    for size in [key for key, one in decoders[names[0]][0].items() if isinstance(one, dict)]:
        middles = {
            name: statistics.median(one[size]["completions_per_second"] for one in results)
            for name, results in decoders.items()
        }
        lengths = {
            name: statistics.fmean(one[size]["mean_length"] for one in results)
            for name, results in decoders.items()
        }
        cells = [f"{middles[name]:.0f} ({lengths[name]:.1f})" for name in names]
        base = middles.get("generate()", 0.0)
        ratios = [f"{middles[name] / base:.2f}" for name in names if name != "generate()" and base]
        lines.append(f"| {size} | " + " | ".join(cells) + f" | {', '.join(ratios)} |")
    return "\n".join(lines)


def timed(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the round that sampled the memory."""
    return [one for one in results if not one["memory_round"]] or results


def speeds(results: list[dict[str, Any]]) -> list[float]:
    """Completions a second of each round."""
    return [one["completions_per_second"] for one in timed(results)]
