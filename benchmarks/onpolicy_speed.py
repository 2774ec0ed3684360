"""How fast RLOO, PPO and decoding are beside TRL's trainers, a plain loop and `generate()`.

    python -m benchmarks.onpolicy_speed --trl112 /path/to/venv/bin/python --out docs/onpolicy_speed.json

Every contestant is a fresh process with the same weights (the quickstart's SFT and reward model, made on
the first run), prompts, threads and settings; rounds are interleaved, warm-up rollouts do not count, and the
learning rate is so small that completions keep the lengths they have. Best and median are over rounds. A last
round samples the memory. Prints Markdown; the JSON holds every round.

TRL's PPO trainer was last in 1.12.0, and needs an environment of its own; without `--trl112` it is left out:

    python -m venv trl112 && trl112/bin/pip install "trl==1.12.0" "torch==2.13.0" "transformers>=5.20,<5.25"
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.peers.measure import MARK, Job, job_file
from benchmarks.peers.tables import tables

ROOT = Path(__file__).parent.parent
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TQDM_DISABLE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "GOMP_SPINCOUNT": "10000",  # as `temper` sets it: threads that wait do not spin for long
}
JOB = "JOB"  # stands for its file in a command
MADE_BY = ["dpo=null", "ppo=null", "evaluate=null", "report=null", "rloo.total_episodes=96"]


def main() -> None:
    """Prepare, measure, print."""
    arguments = parsed()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    jobs = prepared(arguments)
    runs = contestants(arguments)
    found: dict[str, Any] = {"machine": machine(arguments), "contestants": {name: [] for name in runs}}
    for number in range(arguments.rounds + 1):
        last = number == arguments.rounds
        for name, (command, kind) in runs.items():
            if last and kind == "decoding":
                continue
            job = replace(jobs[kind], memory=last)
            result = measured(
                [str(written(job, arguments)) if part == JOB else part for part in command], arguments
            )
            found["contestants"][name].append({"memory_round": last, **result})
            print(f"round {number} {name}: {brief(result)}", file=sys.stderr, flush=True)
            if arguments.out:
                arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    print(tables(found))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trl112", type=Path, help="python of an environment with TRL 1.12.0")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "onpolicy_speed")
    parser.add_argument("--store", type=Path, help="store with the quickstart's artifacts; made if absent")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rollouts", type=int, default=20, help="of RLOO; PPO makes a third of them")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--patience", type=float, default=0.0, help="seconds to wait for a quiet machine")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--only", action="append", help="contestants whose name holds this text")
    parser.add_argument(
        "--variants",
        action="store_true",
        help="compiled layers, two processes with half of the threads each, a value head on the policy's "
        "trunk (less work), our decoder compiled",
    )
    return parser.parse_args()


def contestants(arguments: argparse.Namespace) -> dict[str, tuple[list[str], str]]:
    """Name -> command and which job it does."""

    def module(name: str, *more: str, python: Any = sys.executable) -> list[str]:
        return [str(python), "-m", f"benchmarks.peers.{name}", JOB, *more]

    def twice(name: str, *more: str, python: Any = sys.executable) -> list[str]:
        launch = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29517"]
        return [str(python), *launch, "-m", f"benchmarks.peers.{name}", JOB, *more]

    runs = {
        "TRL RLOO": (module("trl_rloo"), "rloo"),
        "TRL RLOO, micro-batches of 24": (module("trl_rloo", "24"), "rloo"),
        "plain loop": (module("plain_loop"), "rloo"),
        "ours RLOO": (module("ours", "rloo"), "rloo"),
        "TRL PPO": (module("trl_ppo", python=arguments.trl112), "ppo"),
        "TRL PPO, micro-batches of 24": (module("trl_ppo", "24", python=arguments.trl112), "ppo"),
        "ours PPO": (module("ours", "ppo"), "ppo"),
        "generate()": (module("decoding", "generate"), "decoding"),
        "our decoder": (module("decoding", "decoder"), "decoding"),
    }
    variants = {
        "TRL RLOO, two processes": (twice("trl_rloo"), "rloo"),
        "ours RLOO, compiled": (module("ours", "rloo", "compiled"), "rloo"),
        "ours RLOO, two processes": (module("ours", "rloo", "twice"), "rloo"),
        "ours RLOO, compiled, two processes": (module("ours", "rloo", "compiled", "twice"), "rloo"),
        "TRL PPO, two processes": (twice("trl_ppo", python=arguments.trl112), "ppo"),
        "ours PPO, compiled": (module("ours", "ppo", "compiled"), "ppo"),
        "ours PPO, two processes": (module("ours", "ppo", "twice"), "ppo"),
        "ours PPO, compiled, two processes": (module("ours", "ppo", "compiled", "twice"), "ppo"),
        "ours PPO, shared trunk": (module("ours", "shared"), "ppo"),
        "our decoder, compiled": (module("decoding", "compiled"), "decoding"),
    }
    runs |= variants if arguments.variants else {}
    wanted = arguments.only or [""]
    return {
        name: run
        for name, run in runs.items()
        if any(text in name for text in wanted) and (arguments.trl112 or "TRL PPO" not in name)
    }


def prepared(arguments: argparse.Namespace) -> dict[str, Job]:
    """The jobs, from artifacts that are made where they are not there yet."""
    from tempering.artifacts.store import Store
    from tempering.artifacts.tables import read_rows
    from tempering.onpolicy.prompts import Prompts

    folder = arguments.store or arguments.folder / "store"
    temper = str(Path(sys.executable).with_name("temper"))
    command = [temper, "run", "configs/quickstart.yaml", "--store", str(folder), *MADE_BY]
    subprocess.run(command, check=True, stdout=sys.stderr, cwd=ROOT)
    store = Store(folder)
    rows = read_rows(store.get("sample[prompts]@latest").rows_path("train"))  # type: ignore[attr-defined]
    order = Prompts(rows, seed=0)
    given = [order._at(place) for place in range(len(rows))]
    base = Job(
        model=str(store.get("sft@latest").model_dir),  # type: ignore[attr-defined]
        reward_model=str(store.get("reward_model@latest").model_dir),  # type: ignore[attr-defined]
        prompts=[{"text": row["query"], "input_ids": list(row["input_ids"])} for row in given],
        folder="",
        store=str(folder),
        rollouts=arguments.rollouts,
        warmup=arguments.warmup,
        batch=96,
        siblings=4,
        new_tokens=48,
        epochs=4,
        precision=arguments.precision,
        memory=False,
    )
    third = max(2, arguments.rollouts // 3)
    ppo = replace(base, rollouts=third, warmup=min(2, arguments.warmup))
    # TRL's PPO shuffles: it is given the prompts that ours will take, no more
    return {
        "rloo": base,
        "ppo": replace(ppo, prompts=base.prompts[: ppo.total * ppo.batch]),
        "decoding": replace(base, rollouts=max(2, arguments.rollouts // 4), warmup=2),
    }


def written(job: Job, arguments: argparse.Namespace) -> Path:
    """The file of a job with a fresh scratch folder."""
    folder = tempfile.mkdtemp(dir=arguments.folder, prefix="run-")
    return job_file(replace(job, folder=folder), Path(folder) / "job.json")


def measured(command: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """The result of one process; `others` are the cores that other processes kept busy meanwhile."""
    wait_for_quiet(arguments.patience)
    each = max(1, arguments.threads // (2 if "torch.distributed.run" in command else 1))
    environment = os.environ | QUIET | {"OMP_NUM_THREADS": str(each)}
    started, busy, own = time.perf_counter(), busy_seconds(), os.times()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)
    used = os.times()
    spent = used.children_user + used.children_system - own.children_user - own.children_system
    others = max(0.0, busy_seconds() - busy - spent) / (time.perf_counter() - started)
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not lines:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(lines[-1].removeprefix(MARK))
    return {**found, "others": round(others, 3)}


def busy_seconds() -> float:
    """CPU seconds that all processes of this machine have used, other guests of its host included."""
    user, nice, system, _idle, _wait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def wait_for_quiet(patience: float) -> None:
    """Until other processes use less than a twentieth of a core for two seconds, or patience ends."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        before = busy_seconds()
        time.sleep(2)
        if busy_seconds() - before < 0.1:
            return


def brief(result: dict[str, Any]) -> str:
    """For the terminal."""
    if "completions_per_second" not in result:
        sizes = {size: one for size, one in result.items() if isinstance(one, dict)}
        speeds = [f"{size}: {one['completions_per_second']:.0f}" for size, one in sizes.items()]
        return f"{', '.join(speeds)}; others {result['others']}"
    speed, memory = result["completions_per_second"], result["memory_mib"]
    return f"{speed:.0f} completions/s, {memory} MiB; others {result['others']}"


def machine(arguments: argparse.Namespace) -> dict[str, Any]:
    """Where this was measured."""
    import torch

    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line]
    return {
        "processor": names[0].partition(": ")[2] if names else "unknown",
        "cores": os.cpu_count(),
        "threads": arguments.threads,
        "precision": arguments.precision,
        "torch": torch.__version__,
        "load_at_start": round(statistics.fmean(os.getloadavg()), 2),
    }


if __name__ == "__main__":
    main()
