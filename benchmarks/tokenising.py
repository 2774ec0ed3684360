"""Tokenising side by side: our sample stage's work against plain `datasets.map`, same rows and tokenizer.

    python benchmarks/tokenising.py TEXTS.jsonl[.gz] --megabytes 100

Both start from the same Parquet rows and end with token rows on disk; each runs in its own process,
by turns, three times, and its best time counts. Ours also reads in random order, adds EOS, cuts
documents to `max_length` and counts tokens. `datasets.map` gets what its documentation recommends: batches,
one process (its tokenizer then uses all cores), and for comparison a process per core.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORKS = ("ours", "datasets.map", "datasets.map, a process a core")


def main() -> None:
    """Print a table of rows/s, tokens/s and peak memory above the imports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("texts", type=Path, help="JSONL with a text column, plain or compressed")
    parser.add_argument("--megabytes", type=int, default=100, help="repeat the texts up to this size")
    parser.add_argument("--work", choices=WORKS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        print(json.dumps(measure(args.work, args.folder)))
        return
    with tempfile.TemporaryDirectory(prefix="tokenising-") as folder:
        prepare(args.texts, args.megabytes << 20, Path(folder))
        print(f"{'':32}{'rows/s':>10}{'tokens/s':>12}{'peak MB':>10}")
        rounds = [{work: run(work, args.texts, Path(folder)) for work in WORKS} for _ in range(3)]
        for work in WORKS:
            best = min((found[work] for found in rounds), key=lambda one: one["seconds"])
            rates = f"{best['rows'] / best['seconds']:10,.0f}{best['tokens'] / best['seconds']:12,.0f}"
            print(f"{work:32}{rates}{best['megabytes']:10.0f}", flush=True)


def prepare(texts: Path, size: int, folder: Path) -> None:
    """A tokenizer trained on the texts, and the texts over and over as a data set on disk."""
    from tempering.data.files import read_records
    from tempering.data.rows import Rejected, RowType
    from tempering.data.schemas import row_schema
    from tempering.data.shards import ShardWriter, writing
    from tempering.data.tokenizers import TrainTokenizerConfig, save_tokenizer, train_tokenizer

    rows = [item[1]["text"] for item in read_records(texts) if not isinstance(item, Rejected)]
    config = TrainTokenizerConfig(vocab_size=16000, datasets=("texts",))
    save_tokenizer(train_tokenizer(rows, config), folder / "tokenizer")
    schema, written, number = row_schema(RowType.TEXT), 0, 0
    parts = {part: ShardWriter(folder / "texts" / part, schema) for part in ("train", "eval")}
    with writing(**parts):
        while written < size:
            text = f"{number} {rows[number % len(rows)]}"
            parts["train"].add({"text": text})
            written, number = written + len(text), number + 1


def run(work: str, texts: Path, folder: Path) -> dict[str, float]:
    """One measurement in a fresh process."""
    command = [sys.executable, __file__, str(texts), "--work", work, "--folder", str(folder)]
    quiet = {
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "true",
    }
    done = subprocess.run(command, env=os.environ | quiet, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(work: str, folder: Path) -> dict[str, float]:
    """Tokenise the rows once; peak memory of this process above that after its imports."""
    import datasets  # noqa: F401  part of the baseline
    import transformers  # noqa: F401
    from memory import Peak

    from tempering.data.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(folder / "tokenizer")
    with tempfile.TemporaryDirectory(prefix="tokenising-") as out, Peak() as peak:
        started = time.perf_counter()
        if work == "ours":
            rows, tokens = ours(tokenizer, folder, Path(out))
        else:
            rows, tokens = theirs(tokenizer, folder, Path(out), os.cpu_count() if "core" in work else None)
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "rows": rows, "tokens": tokens, "megabytes": peak.megabytes}


def ours(tokenizer: object, folder: Path, out: Path) -> tuple[int, int]:
    """What the stage `sample` does."""
    from tempering.data.rows import RowType
    from tempering.data.sample.config import SampleConfig
    from tempering.data.sample.make import make_sample

    config = SampleConfig(datasets={"texts": 1}, max_length=100_000)
    kinds, places = {"texts": RowType.TEXT}, {"texts": folder / "texts"}
    made = make_sample(config, tokenizer, kinds, places, out, out / "rejected.parquet")  # type: ignore[arg-type]
    return made.mixes["train"].rows, made.mixes["train"].tokens


def theirs(tokenizer: object, folder: Path, out: Path, processes: int | None) -> tuple[int, int]:
    """`datasets.map` in batches, as its documentation shows."""
    import datasets

    files = sorted(str(path) for path in (folder / "texts" / "train").glob("*.parquet"))
    rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(out))
    tokens = rows.map(
        lambda batch: tokenizer(batch["text"]),  # type: ignore[operator]
        batched=True,
        num_proc=processes,
        remove_columns=["text"],
    )
    column = tokens.data.column("input_ids")
    return len(rows), sum(len(chunk.flatten()) for chunk in column.chunks)


if __name__ == "__main__":
    main()
