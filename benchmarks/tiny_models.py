"""Tiny stand-ins for the models that the recipes name: the same architecture, tokens and manners, a
thousandth of the size.

`python -m benchmarks.tiny_models llama DIR --texts FILE...` trains a byte-level BPE on the strings in the
files, makes a model with that family's settings (grouped queries, tied embeddings, Llama's scaled rotary
positions), trains it for a few steps as a language model on the same files, and writes a Hugging Face
folder. A minute on two CPU cores; offline; the same files and seed give the same model.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tempering.data.files import read_document, read_lines
from tempering.data.files.opening import head
from tempering.data.rows import Rejected

BLOCK, BATCH = 128, 16
SHAPE = {
    "hidden_size": 96,
    "intermediate_size": 256,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "initializer_range": 0.08,
}

_LLAMA_CHAT = (
    "{{ bos_token }}{% for turn in messages %}"
    "{{ '<|start_header_id|>' + turn['role'] + '<|end_header_id|>\n\n' }}"
    "{{ turn['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
_QWEN_CHAT = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou answer questions.<|im_end|>\n' }}{% endif %}"
    "{% for turn in messages %}"
    "{{ '<|im_start|>' + turn['role'] + '\n' + turn['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """What is particular to a family: its tokens, its chat template and its settings."""

    model_type: str
    settings: dict[str, Any]
    tokens: tuple[str, ...]
    chat: str
    eos: str
    bos: str | None = None
    pad: str | None = None
    stops: tuple[str, ...] = ()
    spare_rows: int = 0


FAMILIES = {
    # An instruct model: BOS before every text, no pad token, three tokens that end a turn.
    "llama": Family(
        "llama",
        {
            "rms_norm_eps": 1e-5, "max_position_embeddings": 131072, "rope_theta": 500000.0,
            "rope_scaling": {
                "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
        },
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>",
         "<|eot_id|>"),
        _LLAMA_CHAT, eos="<|eot_id|>", bos="<|begin_of_text|>",
        stops=("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
    ),
    # A base model: no BOS, EOS is the pad token too, and the embeddings have rows that no token uses.
    "qwen": Family(
        "qwen2",
        {"rms_norm_eps": 1e-6, "max_position_embeddings": 32768, "rope_theta": 1000000.0},
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        _QWEN_CHAT, eos="<|endoftext|>", pad="<|endoftext|>", stops=("<|endoftext|>",), spare_rows=32,
    ),
}  # fmt: skip


def make_tiny_model(
    family: Family, texts: list[str], folder: Path, *, vocab_size: int = 2048, steps: int = 300, seed: int = 0
) -> int:
    """Write a model with its tokenizer into `folder`; the number of its parameters."""
    tokenizer = train_tokenizer(family, texts, vocab_size)
    model = new_model(family, tokenizer, seed)
    if steps:
        train(model, tokenizer, texts, steps, seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(weights.numel() for weights in model.parameters())


def train_tokenizer(family: Family, texts: Iterable[str], vocab_size: int) -> Any:
    """A byte-level BPE with the family's special tokens and chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size - len(family.tokens), initial_alphabet=alphabet, show_progress=False
        ),
    )
    backend.add_special_tokens(list(family.tokens))
    if family.bos:
        mark = (family.bos, backend.token_to_id(family.bos))
        backend.post_processor = processors.TemplateProcessing(
            single=f"{family.bos} $A", pair=f"{family.bos} $A {family.bos} $B", special_tokens=[mark]
        )
    marks = {"bos_token": family.bos, "eos_token": family.eos, "pad_token": family.pad}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, **{name: token for name, token in marks.items() if token}
    )
    tokenizer.chat_template = family.chat
    return tokenizer


def new_model(family: Family, tokenizer: Any, seed: int) -> Any:
    """Random weights in the family's architecture."""
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    set_seed(seed)
    config = AutoConfig.for_model(
        family.model_type,
        vocab_size=len(tokenizer) + family.spare_rows,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.convert_tokens_to_ids(list(family.stops)),
        **SHAPE,
        **family.settings,
    )
    return AutoModelForCausalLM.from_config(config)


def train(model: Any, tokenizer: Any, texts: Iterable[str], steps: int, seed: int) -> None:
    """A few steps of language modelling on random blocks: enough to know common words."""
    import torch

    ids = [tokenizer.eos_token_id]
    for text in texts:
        ids += [
            *tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"],
            tokenizer.eos_token_id,
        ]
    stream = torch.tensor(ids)
    if len(stream) <= BLOCK:
        raise SystemExit(f"the texts have {len(stream)} tokens; give more than {BLOCK}, or --steps 0")
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        starts = torch.randint(len(stream) - BLOCK, (BATCH,), generator=generator)
        block = torch.stack([stream[start : start + BLOCK] for start in starts.tolist()])
        loss = model(input_ids=block, labels=block).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    print(f"{steps} steps, loss {loss.item():.2f}", file=sys.stderr)


def strings_in(path: Path) -> Iterator[str]:
    """The texts of a file: the lines of a text file, every string of 20 characters or more in JSON."""
    start = head(path, 64).lstrip()[:1]
    if start == b"[":
        yield from _strings(read_document(path))
        return
    for item in read_lines(path):
        if isinstance(item, Rejected) or not item[1].strip():
            continue
        yield from _strings(json.loads(item[1])) if start == b"{" else [item[1]]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str) and len(value) >= 20:
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("folder", type=Path, help="where the model goes")
    parser.add_argument("--texts", type=Path, nargs="+", required=True, help="text, JSON or JSONL, also .gz")
    parser.add_argument("--vocab-size", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=300, help="training steps; 0: random weights")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    texts = list(dict.fromkeys(text for path in args.texts for text in strings_in(path)))
    parameters = make_tiny_model(
        FAMILIES[args.family],
        texts,
        args.folder,
        vocab_size=args.vocab_size,
        steps=args.steps,
        seed=args.seed,
    )
    print(f"{args.folder}: {args.family}, {parameters:,} parameters")


if __name__ == "__main__":
    main()
