"""Peak memory of the data stages on small and large input: it should not grow with the data.

    python benchmarks/data_memory.py --megabytes 100 1000 [--duplicates near] [--curriculum]

Makes JSONL files of the given sizes out of words, runs the stages `dataset`, `tokenizer` and `sample`
on each in one fresh process, and prints the peak anonymous memory above that after the imports.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORDS = [f"{a}{b}{c}" for a in "bdklmnprst" for b in "aeiou" for c in ("n", "rk", "st", "m", "lla", "ve")]


def main() -> None:
    """Print one line a size and stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--duplicates", default="keep", choices=("keep", "exact", "near"))
    parser.add_argument("--curriculum", action="store_true", help="order the sample by length")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.folder:
        print(json.dumps(measure(args.folder, args.duplicates, args.curriculum)))
        return
    print(f"{'JSONL':>9}{'rows':>10}   peak MB above imports (seconds)")
    for megabytes in args.megabytes:
        with tempfile.TemporaryDirectory(prefix="memory-") as folder:
            rows = write_texts(Path(folder) / "texts.jsonl", megabytes * 1_000_000)
            flags = ["--curriculum"] if args.curriculum else []
            command = [sys.executable, __file__, "--folder", folder, "--duplicates", args.duplicates, *flags]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
        shown = "   ".join(f"{name} {peak:.0f} ({seconds:.0f} s)" for name, (peak, seconds) in found.items())
        print(f"{megabytes:6} MB{rows:10,}   {shown}", flush=True)


def write_texts(path: Path, size: int) -> int:
    """JSONL of about `size` bytes in rows of about 1,000 characters; returns the number of rows."""
    random.seed(0)
    rows = written = 0
    with path.open("w") as file:
        while written < size:
            text = " ".join(random.choices(WORDS, k=random.randint(100, 300)))
            written += file.write(json.dumps({"text": text, "source": "made", "number": rows}) + "\n")
            rows += 1
    return rows


def measure(folder: Path, duplicates: str, curriculum: bool) -> dict[str, tuple[float, float]]:
    """Peak in MB and seconds of each stage."""
    import datasets  # noqa: F401  part of the baseline
    import transformers  # noqa: F401
    from memory import Peak

    from tempering.data.builders import TextConfig
    from tempering.data.prepare import build_parts
    from tempering.data.quality.config import QualityConfig
    from tempering.data.rows import RowType
    from tempering.data.sample.config import SampleConfig
    from tempering.data.sample.curriculum import CurriculumConfig
    from tempering.data.sample.make import make_sample
    from tempering.data.shards import iter_rows
    from tempering.data.tokenizers import TrainTokenizerConfig, on_all_cores, train_tokenizer

    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    found: dict[str, tuple[float, float]] = {}
    started = time.perf_counter()
    with Peak() as peak:
        config = TextConfig(path=folder / "texts.jsonl", quality=QualityConfig(duplicates=duplicates))
        build_parts(config, folder / "rows", folder / "rejected.parquet")
    found["dataset"] = (peak.megabytes, time.perf_counter() - started)
    texts = (row["text"] for row, _ in zip(iter_rows(folder / "rows" / "train"), range(20_000), strict=False))
    with on_all_cores():
        tokenizer = train_tokenizer(texts, TrainTokenizerConfig(vocab_size=4000, datasets=("texts",)))
    started = time.perf_counter()
    with Peak() as peak:
        order = CurriculumConfig(by="length") if curriculum else None
        config_of_sample = SampleConfig(datasets={"texts": 1}, max_length=512, curriculum=order)
        made = make_sample(
            config_of_sample,
            tokenizer,
            {"texts": RowType.TEXT},
            {"texts": folder / "rows"},
            folder / "sample",
            folder / "sample.rejected.parquet",
        )
    found["sample"] = (peak.megabytes, time.perf_counter() - started)
    assert made.mixes["train"].tokens
    return found


if __name__ == "__main__":
    main()
