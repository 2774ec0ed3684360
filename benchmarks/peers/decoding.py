"""Decoding alone: our decoder or `generate()` (second argument), at several batch sizes.

All prompts are different ones. `forced` makes every completion as long as it may be; else EOS decides.
"""

import json
import sys
import time
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from benchmarks.peers.measure import MARK, Job, given_job

SIZES = (32, 64, 96, 128)


def main() -> None:
    """Every size, with and without EOS."""
    job, engine = given_job(), sys.argv[2]
    tokenizer = AutoTokenizer.from_pretrained(job.model, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype="float32").eval()
    found = {}
    for forced in (False, True):
        for size in SIZES:
            decode = ENGINES[engine](job, model, tokenizer, size, forced)
            found[f"{size}{' forced' if forced else ''}"] = measured(job, decode, size)
    print(MARK + json.dumps(found), flush=True)


def measured(job: Job, decode: Any, size: int) -> dict[str, float]:
    """Completions a second over all measured calls, and their mean length."""
    lengths: list[float] = []
    seconds = 0.0
    with torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bf16"):
        for call in range(job.total):
            start = call * size % (len(job.prompts) - size)
            started = time.perf_counter()
            length = decode(job.prompts[start : start + size], call)
            if call >= job.warmup:
                seconds += time.perf_counter() - started
                lengths.append(length)
    return {
        "completions_per_second": size * len(lengths) / seconds,
        "mean_length": sum(lengths) / len(lengths),
    }


def generate(job: Job, model: Any, tokenizer: Any, size: int, forced: bool) -> Any:
    """transformers' own."""
    torch.manual_seed(0)

    @torch.no_grad()
    def decode(prompts: list[dict[str, Any]], call: int) -> float:
        given = tokenizer.pad(
            {"input_ids": [row["input_ids"] for row in prompts]}, padding=True, return_tensors="pt"
        )
        found = model.generate(
            input_ids=given["input_ids"],
            attention_mask=given["attention_mask"],
            do_sample=True,
            top_k=0,
            max_new_tokens=job.new_tokens,
            min_new_tokens=job.new_tokens if forced else None,
        )[:, given["input_ids"].shape[1] :]
        before = ((found == tokenizer.eos_token_id).cumsum(1) == 0).sum(1)
        return float((before + 1).clamp(max=job.new_tokens).float().mean())

    return decode


def decoder(job: Job, model: Any, tokenizer: Any, size: int, forced: bool, compile: bool = False) -> Any:
    """Ours, which gives log-probabilities too."""
    from tempering.generation.decoder import Decoder
    from tempering.generation.sampling import Sampling
    from tempering.models.loading import stop_ids

    sampling = Sampling(job.new_tokens, min_new_tokens=job.new_tokens if forced else 0)
    engine = Decoder(model, stop_ids(model, tokenizer), tokenizer.pad_token_id, compile=compile)

    def decode(prompts: list[dict[str, Any]], call: int) -> float:
        uniform = sampling.numbers(size, torch.Generator().manual_seed(call))
        rollout = engine.generate([list(row["input_ids"]) for row in prompts], sampling, uniform)
        return float(rollout.lengths.float().mean())

    return decode


def compiled(*args: Any) -> Any:
    """Ours with `torch.compile`; compiling is in the warm-up."""
    return decoder(*args, compile=True)


ENGINES = {"generate": generate, "decoder": decoder, "compiled": compiled}


if __name__ == "__main__":
    main()
