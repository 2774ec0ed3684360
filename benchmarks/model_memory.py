"""The memory estimate of `temper plan --memory` against what the trainers really take, on the CPU.

`python -m benchmarks.model_memory` runs every size and trainer one after another, each in a process of
its own, and prints a Markdown table. A case is a real stage on made-up rows of full length: two
optimizer steps (two rollouts), its checkpoint and its final save. Measured is anonymous resident
memory, sampled every 5 ms, above what the process holds when everything is imported.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
TRAINERS = ("pretrain", "sft", "reward_model", "dpo", "ppo", "rloo")
STEPS = 6
LORA = {"kind": "lora", "rank": 16}


@dataclass(frozen=True)
class Size:
    """A model from scratch, and how long and how many the rows are."""

    architecture: dict[str, Any]
    vocab_size: int
    length: int
    batch: int
    prompt: int = 32
    new: int = 48

    def case(self, trainer: str, changes: dict[str, Any]) -> "Case":
        return Case(self, trainer, changes)


SIZES = {
    "nano": Size({"kind": "transformer", "preset": "nano"}, 660, 128, 16),
    "25M": Size(
        {"kind": "transformer", "preset": "small", "overrides": {"num_hidden_layers": 4}}, 8192, 128, 8
    ),
    "110M": Size({"kind": "transformer", "preset": "gpt2-small"}, 32000, 128, 4),
    "lstm": Size({"kind": "lstm", "preset": "nano"}, 660, 128, 16),
    "kgram": Size({"kind": "kgram", "preset": "nano"}, 660, 128, 16),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "checkpointing": {"gradient_checkpointing": True},
    "micro batches": {"micro_batch_size": 2},
    "LoRA": {"adapter": LORA},
    "bf16": {"precision": "bf16"},
}


@dataclass(frozen=True)
class Case:
    """One stage of one size, with its settings."""

    size: Size
    trainer: str
    changes: dict[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """The section of the pipeline for this stage."""
        common = {"batch_size": self.size.batch, "max_steps": STEPS, **self.changes}
        if self.trainer == "pretrain":
            return {"architecture": self.size.architecture, "block_size": self.size.length, **common}
        if self.trainer in ("ppo", "rloo"):
            extra = {"num_completions": 4} if self.trainer == "rloo" else {}
            rollout = {"rollout_batch_size": 2 * self.size.batch, "ppo_epochs": 1}
            return common | {
                "max_steps": STEPS,
                "num_epochs": 4,
                "max_new_tokens": self.size.new,
                **rollout,
                **extra,
            }
        return common


# -- what the stages are given ---------------------------------------------------------------


def prepare(size: Size, folder: Path) -> None:
    """A tokenizer, a language model, a reward model and three samples under `folder`."""
    import torch

    from tempering.data.tokenizers import TrainTokenizerConfig, save_tokenizer, train_tokenizer
    from tempering.models.loading import load_scorer, new_model, save_model
    from tempering.training.config import PretrainConfig

    words = made_up_words(3 * size.vocab_size)
    config = TrainTokenizerConfig(vocab_size=size.vocab_size, min_frequency=1, datasets=("none",))
    tokenizer = train_tokenizer([" ".join(words)], config)
    save_tokenizer(tokenizer, folder / "tokenizer" / "tokenizer")
    architecture = PretrainConfig.model_validate({"architecture": size.architecture}).architecture
    save_model(new_model(architecture, tokenizer, 0), tokenizer, folder / "model" / "model")
    scorer = load_scorer(folder / "model" / "model", new_head=True)
    save_model(scorer, tokenizer, folder / "reward_model" / "model")
    torch.manual_seed(0)
    write_samples(size, len(tokenizer), folder)


def made_up_words(count: int) -> list[str]:
    """Distinct words of random letters."""
    import random

    source = random.Random(0)
    return [
        "".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=source.randint(4, 9))) for _ in range(count)
    ]


def write_samples(size: Size, vocab_size: int, folder: Path) -> None:
    """Rows of each type, every other one of full length (so batches are padded), and no held-out part."""
    import random

    from tempering.data.rows import RowType
    from tempering.data.schemas import token_schema
    from tempering.data.shards import ShardWriter, writing

    source = random.Random(0)

    def ids(count: int) -> list[int]:
        return [source.randrange(261, vocab_size) for _ in range(count)]

    def answer(number: int) -> int:
        return size.length - size.prompt - 8 * (number % 2)

    prompt = [{"role": "user", "content": "say something"}]
    rows: dict[RowType, Any] = {
        RowType.TEXT: lambda number: {"input_ids": ids(size.length)},
        RowType.PROMPT_COMPLETION: lambda number: {
            "input_ids": ids(size.prompt + answer(number)),
            "completion_mask": [False] * size.prompt + [True] * answer(number),
        },
        RowType.PREFERENCE: lambda number: {
            "prompt_ids": ids(size.prompt),
            "chosen_ids": ids(answer(0)),
            "rejected_ids": ids(answer(number)),
        },
        RowType.PROMPT: lambda number: {
            "input_ids": ids(size.prompt - 4 * (number % 2)),
            "query": "say something",
            "prompt": prompt,
        },
    }
    for row_type, make in rows.items():
        place = folder / str(row_type) / "rows"
        writers = {part: ShardWriter(place / part, token_schema(row_type)) for part in ("train", "eval")}
        with writing(**writers):
            for number in range(8 * size.batch):
                writers["train"].add({**make(number), "num_tokens": size.length})


ROW_TYPES = {
    "pretrain": "text",
    "sft": "prompt_completion",
    "reward_model": "preference",
    "dpo": "preference",
    "ppo": "prompt",
    "rloo": "prompt",
}


def inputs(trainer: str, folder: Path) -> dict[str, Any]:
    """The artifacts that the stage is called with."""
    from tempering.artifacts.kinds import ModelArtifact, SampleArtifact, TokenizerArtifact
    from tempering.artifacts.manifest import Manifest

    def made(kind: Any, name: str, **details: Any) -> Any:
        manifest = Manifest(
            stage=name,
            kind=kind.kind,
            id=f"{name}/made-up",
            fingerprint="0" * 64,
            payload_digest="made-up",
            details={
                "digest": "made-up",
                "tokenizer": "made-up",
                "prompt_format": "chat",
                "head": "causal_lm",
                **details,
            },
        )
        return kind(folder / name, manifest)

    row_type = ROW_TYPES[trainer]
    found = {"sample": made(SampleArtifact, row_type, row_type=row_type)}
    if trainer == "pretrain":
        return found | {"tokenizer": made(TokenizerArtifact, "tokenizer")}
    if trainer in ("ppo", "rloo"):
        found["reward_models"] = {"model": made(ModelArtifact, "reward_model", head="score")}
    return found | {"model": made(ModelArtifact, "model")}


# -- measuring, in the child -----------------------------------------------------------------


class Peak:
    """The highest resident memory of this process above the start, in bytes.

    Counted are anonymous pages, every 5 ms, and those of mapped safetensors files, every 100 ms: a model
    that is only read (the reference, the reward model) stays in its file, and needs the memory as well.
    """

    def __init__(self) -> None:
        self.status = open("/proc/self/status", "rb", buffering=0)  # noqa: SIM115
        self.mapped = 0
        self.start = self.highest = self.anonymous()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def anonymous(self) -> int:
        """Anonymous resident memory."""
        self.status.seek(0)
        line = self.status.read(8192).partition(b"RssAnon:")[2]
        return int(line.split(None, 1)[0]) * 1024

    def stop(self) -> int:
        """End the watch: the peak."""
        self._done.set()
        self._thread.join()
        return self.highest - self.start

    def _watch(self) -> None:
        looked = 0.0
        while not self._done.wait(0.005):
            if time.monotonic() - looked > 0.1:
                self.mapped, looked = mapped_weights(), time.monotonic()
            self.highest = max(self.highest, self.anonymous() + self.mapped)


def mapped_weights() -> int:
    """Resident pages of mapped safetensors files that are still the file's own."""
    found, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, value = line.partition(" ")
        if not name.endswith(":"):
            inside = line.endswith(".safetensors")
        elif inside and name == "Rss:":
            found += int(value.split()[0]) * 1024
        elif inside and name == "Anonymous:":
            found -= int(value.split()[0]) * 1024
    return found


def measure(case: Case, folder: Path, out: Path) -> dict[str, float]:
    """Import everything, run the stage, and tell the peak."""
    import gc
    import importlib

    from flows.process.preload import MODULES

    for module in (
        *MODULES,
        "peft",
        "tempering.onpolicy.run",
        "tempering.training.preference",
        "tempering.training.causal",
        "transformers.models.gpt2.modeling_gpt2",
    ):
        importlib.import_module(module)
    from tempering.artifacts.draft import Draft
    from tempering.artifacts.stage import get_stage
    from tempering.runtime import RuntimeConfig
    from tempering.validation import validate

    stage = get_stage(case.trainer)
    config = validate(stage.config_class, case.settings(), case.trainer)
    given = inputs(case.trainer, folder)
    draft = Draft(out, runtime=RuntimeConfig(device="cpu"))
    gc.collect()
    peak = Peak()
    started = time.monotonic()
    stage(draft, config, **given)
    return {"bytes": peak.stop(), "seconds": time.monotonic() - started}


def in_child(case: Case, folder: Path) -> dict[str, float]:
    """`measure` in a fresh process."""
    with tempfile.TemporaryDirectory() as out:
        description = json.dumps([case.size.__dict__, case.trainer, case.changes])
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.model_memory", "--child", description, str(folder), out],
            env={**os.environ, **ENVIRONMENT},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


# -- the table -------------------------------------------------------------------------------


def estimated(case: Case) -> Any:
    """What `temper plan --memory` says of the case."""
    import tasks  # noqa: F401  registers the stages
    from tempering.artifacts.stage import get_stage
    from tempering.memory.estimate import estimate
    from tempering.memory.models import FromArchitecture
    from tempering.memory.parts import Inputs
    from tempering.training.config import PretrainConfig
    from tempering.validation import validate

    size, on_policy = case.size, case.trainer in ("ppo", "rloo")
    architecture = PretrainConfig.model_validate({"architecture": size.architecture}).architecture
    model = FromArchitecture(architecture, size.vocab_size)
    length = size.prompt if on_policy else size.length
    config: Any = validate(get_stage(case.trainer).config_class, case.settings(), case.trainer)
    rewards = {"model": model} if on_policy else {}
    return estimate(config, Inputs(model, length, reward_models=rewards))


def table_row(name: str, variant: str, case: Case, folder: Path) -> str:
    """One line of Markdown."""
    expected, measured = estimated(case), in_child(case, folder)
    found = measured["bytes"]
    cells = (
        name,
        f"{expected.parameters / 1e6:.1f} M",
        case.trainer,
        variant,
        f"{expected.total / 1e6:,.0f} MB",
        f"{found / 1e6:,.0f} MB",
        f"{expected.total / found:.2f}",
        expected.peak,
        f"{measured['seconds']:.0f} s",
    )
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure what the arguments ask for, or (`--child`) be the process that is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--trainers", nargs="*", default=list(TRAINERS), choices=TRAINERS)
    parser.add_argument("--variants", nargs="*", default=["plain"], choices=list(VARIANTS))
    args = parser.parse_args()
    if args.child:
        size, trainer, changes = json.loads(args.child[0])
        print(json.dumps(measure(Case(Size(**size), trainer, changes), *map(Path, args.child[1:]))))
        return
    os.environ.update(ENVIRONMENT)
    print("| size | parameters | stage | settings | estimate | measured | ratio | highest in | took |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            prepare(SIZES[name], Path(folder))
            for variant in args.variants:
                for trainer in args.trainers:
                    if variant == "LoRA" and trainer == "pretrain":
                        continue  # an adapter needs a model to adapt
                    case = SIZES[name].case(trainer, VARIANTS[variant])
                    print(table_row(name, variant, case, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
