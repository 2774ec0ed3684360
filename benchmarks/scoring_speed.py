"""How fast minimal pairs are scored beside lm-evaluation-harness, at equal scores.

    python -m benchmarks.scoring_speed BLIMP_FOLDER --pairs 67000 --out speed.json

A Llama of 1.3 million random weights reads the pairs of BLiMP's files (`*.jsonl` or `*.jsonl.gz`) in both
programs, in turns and in one process: texts to accuracies, loading not counted. Where the files hold fewer
pairs than asked for, they are used again with the case of the first letter changed, so that neither program
meets a sentence twice. The harness runs its model `hf` on tasks in the form of its BLiMP tasks. Processor
time (user and system) counts as well as wall time, since others may work on the machine.
"""

import argparse
import gzip
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TASK = """task: {name}
tag: pairs
dataset_path: json
dataset_kwargs: {{data_files: {{train: {rows}}}}}
output_type: multiple_choice
validation_split: train
doc_to_text: ""
doc_to_target: 0
doc_to_choice: "{{{{[sentence_good, sentence_bad]}}}}"
num_fewshot: 0
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""
SIDES = ("sentence_good", "sentence_bad")
Pairs = dict[str, list[tuple[str, str]]]


def main() -> None:
    """Prepare, measure in turns, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("blimp", type=Path)
    parser.add_argument("--pairs", type=int, default=67000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=128, help="ours")
    parser.add_argument("--their-batch-size", type=int, default=64)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pairs = read_pairs(arguments.blimp, arguments.pairs)
        model = make_model(Path(folder) / "model", pairs)
        programs = {
            "ours": ours(model, pairs, arguments.batch_size),
            "theirs": theirs(model, pairs, arguments.their_batch_size, Path(folder) / "tasks"),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
        scores: dict[str, dict[str, float]] = {}
        for number in range(arguments.rounds):
            for name, program in programs.items():
                wall, cpu = time.perf_counter(), processor_time()
                scores[name] = program()
                times[name].append((time.perf_counter() - wall, processor_time() - cpu))
                print(
                    f"round {number} {name}: wall, processor {times[name][-1]}", file=sys.stderr, flush=True
                )
    gap = max(abs(scores["ours"][name] - scores["theirs"][name]) for name in pairs)
    ratio = [
        statistics.median(line[which] for line in times["theirs"])
        / statistics.median(line[which] for line in times["ours"])
        for which in (0, 1)
    ]
    found = {"pairs": arguments.pairs, "seconds": times, "times_faster": ratio, "largest_gap": gap}
    print(json.dumps(found, indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


def processor_time() -> float:
    """User and system seconds of this process."""
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2])


def read_pairs(folder: Path, count: int) -> Pairs:
    """Pairs by paradigm; those of a second use begin with the other case."""
    files = sorted(folder.glob("*.jsonl*"))
    pairs: Pairs = {}
    for again in range(10):
        for file in files:
            if count <= 0:
                return pairs
            content = file.read_bytes()
            lines = (gzip.decompress(content) if file.suffix == ".gz" else content).splitlines()
            rows = [json.loads(line) for line in lines[:count]]
            count -= len(rows)
            name = file.name.split(".")[0] + (f"_again_{again}" if again else "")
            sides = [tuple(row[side] for side in SIDES) for row in rows]
            if again:
                sides = [tuple(text[0].swapcase() + text[1:] for text in pair) for pair in sides]
            pairs[name] = sides
    return pairs


def make_model(folder: Path, pairs: Pairs) -> Path:
    """A Llama of 1.3 million weights, and a tokenizer of 4,096 tokens made from the sentences."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    words.train_from_iterator((text for rows in pairs.values() for pair in rows for text in pair), trainer)
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>", pad_token="<pad>").save_pretrained(
        folder
    )
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.08,
        eos_token_id=1,
        bos_token_id=None,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def ours(folder: Path, pairs: Pairs, batch_size: int) -> Callable[[], dict[str, float]]:
    """Accuracy of each paradigm by our scoring, in the harness's form, where the first side wins ties."""
    from tempering.data.token_ids import encode_texts
    from tempering.generation.language_model import LanguageModel

    model = LanguageModel(folder, "plain", "cpu", batch_size)

    def run() -> dict[str, float]:
        texts = [f" {text}" for rows in pairs.values() for pair in rows for text in pair]
        ids = encode_texts(model.tokenizer, texts, literal=True)
        lines = model.logprobs([([model.tokenizer.eos_token_id], line) for line in ids])
        sums = iter([sum(line) for line in lines])
        return {name: sum(next(sums) >= next(sums) for _ in rows) / len(rows) for name, rows in pairs.items()}

    return run


def theirs(folder: Path, pairs: Pairs, batch_size: int, tasks: Path) -> Callable[[], dict[str, float]]:
    """Accuracy of each paradigm by lm-evaluation-harness."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    tasks.mkdir()
    for name, rows in pairs.items():
        file = tasks / f"{name}.jsonl"
        file.write_text("".join(json.dumps(dict(zip(SIDES, pair, strict=True))) + "\n" for pair in rows))
        (tasks / f"{name}.yaml").write_text(TASK.format(name=name, rows=file))
    model = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=batch_size)
    manager = TaskManager(include_path=str(tasks), include_defaults=False)

    def run() -> dict[str, float]:
        report: Any = lm_eval.simple_evaluate(
            model=model, tasks=["pairs"], task_manager=manager, log_samples=False
        )
        return {name: report["results"][name]["acc,none"] for name in pairs}

    return run


if __name__ == "__main__":
    main()
