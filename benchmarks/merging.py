"""How far merging an adapter moves the logits, by the dtype the merged weights are written in.

    python -m benchmarks.merging STORE        every adapter of a store, merged into its base
    python -m benchmarks.merging --large      an untrained 124 M GPT-2 and 60 M Llama with a random adapter

Prints Markdown: the largest difference on the compared rows, and the largest logit beside it.
"""

import argparse
import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tempering.model_config import LoraConfig, MergeConfig

DTYPES = ("fp32", "fp16", "bf16")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", nargs="?")
    parser.add_argument("--large", action="store_true")
    args = parser.parse_args()
    print("| adapter | parameters | largest logit | " + " | ".join(DTYPES) + " |\n|" + "---|" * 6)
    for name, parameters, found in large() if args.large else of_store(args.store):
        scale = max(found["fp32"].values())
        cells = " | ".join(f"{max(found[dtype].keys()):.1e}" for dtype in DTYPES)
        print(f"| {name} | {parameters / 1e6:.2f} M | {scale:.1f} | {cells} |", flush=True)


def of_store(store: str) -> Iterator[tuple[str, int, Any]]:
    """Each stage's newest adapter, merged into its base by the code of the merge stage."""
    from tempering.artifacts.store import Store
    from tempering.data.tokenizers import load_tokenizer
    from tempering.models.adapters import is_adapter
    from tempering.models.loading import save_model
    from tempering.models.merging import merge_adapter

    shelf = Store(store, writable=False)
    for stage in ("sft", "reward_model", "dpo", "ppo", "rloo"):
        adapter: Any = shelf.get(f"{stage}@latest")
        if not is_adapter(adapter.model_dir):
            continue
        base: Any = shelf.get(adapter.manifest.inputs["model"].id)
        rows = shelf.get(adapter.manifest.inputs["sample"].id).rows_path("train")  # type: ignore[attr-defined]
        found = {}
        for dtype in DTYPES:
            with tempfile.TemporaryDirectory() as folder:

                def save(model: Any, folder: Path = Path(folder), adapter: Any = adapter) -> Path:
                    save_model(model, load_tokenizer(adapter.model_dir), folder)
                    return folder

                config = MergeConfig(dtype=dtype, tolerance=1e9)
                differences = merge_adapter(base, adapter, rows, config, save)
                found[dtype] = {row["difference"]: row["scale"] for row in differences}
        yield stage, base.details["parameters"], found


def large() -> Iterator[tuple[str, int, Any]]:
    """Models too large to train here, with an adapter of the size that training gives."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from tempering.models.adapters import add_adapter
    from tempering.models.loading import DTYPES as TORCH

    shapes = {
        "GPT-2 small, random": AutoConfig.for_model("gpt2"),
        "Llama small preset, random": AutoConfig.for_model(
            "llama",
            vocab_size=16_000,
            tie_word_embeddings=True,
            hidden_size=640,
            intermediate_size=1728,
            num_hidden_layers=10,
            num_attention_heads=10,
        ),
    }
    for name, shape in shapes.items():
        torch.manual_seed(0)
        plain = AutoModelForCausalLM.from_config(shape).eval()
        parameters = sum(p.numel() for p in plain.parameters())
        model: Any = add_adapter(plain, LoraConfig(rank=16), 0)
        for key, parameter in model.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(parameter, std=0.01)
        ids = torch.randint(0, shape.vocab_size, (1, 32))
        found = {}
        with torch.no_grad():
            before = model(input_ids=ids).logits
            merged = model.merge_and_unload()
            for dtype in DTYPES:
                after = copy.deepcopy(merged).to(TORCH[dtype])(input_ids=ids).logits.float()
                found[dtype] = {float((after - before).abs().max()): float(before.abs().max())}
        yield name, parameters, found


if __name__ == "__main__":
    main()
