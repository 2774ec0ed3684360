"""The table of docs/measured/data.md: every file of a folder of samples, its builder, rows, rejections.

    PYTHONPATH=. python benchmarks/data_table.py FOLDER > table.md

Each file goes through `build_parts`, as in the stage `dataset`, read by `kind: auto` or by the settings
that tests/data/real_samples.py gives it. Tokens are those of the running text, by a byte-level BPE of 16,000
tokens trained on TinyStories, Simple Wikipedia, Alpaca and HH from the same folder.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from tempering.data.builders import Builder, FileBuilderConfig
from tempering.data.prepare import Totals, build_parts
from tempering.data.rows import RowType, texts
from tempering.data.shards import iter_rows
from tempering.data.token_ids import encode_texts
from tempering.data.tokenizers import TrainTokenizerConfig, on_all_cores, train_tokenizer
from tempering.errors import DataError
from tests.data.real_samples import CASES

ADAPTER: TypeAdapter[Any] = TypeAdapter(Builder)
TRAINED_ON = (
    "pretrain/tinystories_head.jsonl.gz",
    "pretrain/babylm_simple_wiki.jsonl.gz",
    "sft/alpaca_en_demo.json.gz",
    "preference/hh_harmless_base_test.jsonl.gz",
)
BATCH = 512


def main() -> None:
    """Print the table."""
    folder = Path(sys.argv[1])
    config = TrainTokenizerConfig(vocab_size=16000, datasets=("samples",))
    with on_all_cores():
        tokenizer = train_tokenizer((text for name in TRAINED_ON for text in running(folder, name)), config)
        print("| data set | builder | row type | rows | tokens | rejected |\n|---|---|---|--:|--:|---|")
        for name, settings in sets():
            print(line(folder, name, settings, tokenizer), flush=True)


def sets() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every file once, the files of BLIMP as one folder."""
    blimp = False
    for name, case in CASES.items():
        settings = getattr(case, "settings", {})
        if name.startswith("evaluation/blimp/"):
            if not blimp:
                yield "evaluation/blimp", {"max_rejected_fraction": 0.05}
            blimp = True
        else:
            yield name, settings


def line(folder: Path, name: str, settings: dict[str, Any], tokenizer: Any) -> str:
    """One row of the table."""
    try:
        config, totals, said, tokens = built(folder, name, settings, tokenizer)
    except DataError as error:
        return f"| {name} | refused | | | | {getattr(CASES[name], 'reason', error.found)} |"
    kind = said.split("kind: ")[1] if said else config.kind
    for mark in (" by its", ";", ", columns"):
        kind = kind.split(mark)[0]
    kind = kind if said else f"*{kind}*"
    rejected = "; ".join(f"{count} {reason}" for reason, count in totals.dropped.most_common()) or "0"
    rows = sum(totals.rows.values())
    return f"| {name} | {kind} | {totals.row_type} | {rows:,} | {tokens:,} | {rejected} |"


def built(
    folder: Path, name: str, settings: dict[str, Any], tokenizer: Any
) -> tuple[FileBuilderConfig, Totals, str, int]:
    """The data set on disk for a moment: its config, what became of its rows, what was said, its tokens."""
    given = {"kind": "auto", "path": folder / name, "eval_fraction": 0.05, **settings}
    config = ADAPTER.validate_python(given)
    said: list[str] = []
    with tempfile.TemporaryDirectory() as out:
        place = Path(out)
        totals = build_parts(config, place / "rows", place / "rejected.parquet", say=said.append)
        tokens, batch = 0, list[str]()
        for part in ("train", "eval"):
            for row in iter_rows(place / "rows" / part):
                batch += texts(RowType(totals.row_type), row)
                if len(batch) >= BATCH:
                    tokens += sum(map(len, encode_texts(tokenizer, batch, literal=True)))
                    batch = []
        tokens += sum(map(len, encode_texts(tokenizer, batch, literal=True)))
    return config, totals, said[0] if said else "", tokens


def running(folder: Path, name: str) -> Iterator[str]:
    """The running text of a sample."""
    config = ADAPTER.validate_python({"kind": "auto", "path": folder / name, "max_rejected_fraction": 0.05})
    for item in config.read(None):
        if hasattr(item, "values"):
            yield from texts(config.row_type, item.values)


if __name__ == "__main__":
    main()
