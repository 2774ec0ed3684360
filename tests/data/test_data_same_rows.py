"""The same rows from every format: the same normalised rows, token ids and masks.

What a format cannot keep is settled for all of them in `tempering.data.files.values`: null keys of objects,
the order of keys, 1 and 1.0. CSV holds text alone, so only rows of text are written to it. Rows that a format
cannot hold at all (Parquet has no objects without keys) are passed over.
"""

import csv
import json
from itertools import chain

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tempering.data.builders import (
    ChatConfig,
    PreferenceConfig,
    PromptResponseConfig,
    TextConfig,
    build,
)
from tempering.data.files.values import as_json
from tempering.data.prompt_format import Unfit
from tempering.data.row_conversion import convert, uses_of
from tempering.data.rows import Notice, Row
from tempering.data.sample.encode import Encoder

datasets.disable_progress_bars()

# --- Values: what a column of one type can hold in some rows beside others

TRICKY = (
    "\ufeffa",
    "a\r\nb",
    "\r",
    "e\u0301\u2028",
    "\x85",
    '"',
    "'",
    "\\n",
    "\U0001f469\u200d\U0001f680",
    "null",
    "1",
    "[1]",
    "{}",
    "a\x00b",
    "=1",
    "\t",
)
TEXTS = st.one_of(st.sampled_from(TRICKY), st.text(max_size=8))
WORDS = st.one_of(
    st.sampled_from([f"word {text}" for text in TRICKY]), st.text(max_size=8).map("a {}".format)
)
NUMBERS = {
    "whole": st.integers(-(2**63), 2**63 - 1),
    "mixed": st.one_of(
        st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), st.just(-0.0)
    ),
    "flag": st.booleans(),
}
NAMES = ("name", "type", "x", "Ünï", "a b")


def objects(values):
    """Objects of some of these keys, in any order, null or not there."""
    keys = st.dictionaries(st.sampled_from(sorted(values)), st.none(), max_size=len(values))
    filled = st.fixed_dictionaries(
        {}, optional={name: st.one_of(st.none(), kind) for name, kind in values.items()}
    )
    shuffled = filled.flatmap(lambda made: st.permutations(list(made.items())).map(dict))
    return st.one_of(shuffled, keys)


INNER = objects({**NUMBERS, "list": st.lists(st.integers(0, 9), max_size=2), "name": TEXTS})
ARGUMENTS = objects({**NUMBERS, "text": TEXTS, "inner": INNER, "inners": st.lists(INNER, max_size=2)})
CALLS = st.lists(
    st.fixed_dictionaries({"function": st.fixed_dictionaries({"name": WORDS, "arguments": ARGUMENTS})}),
    max_size=2,
)
PARTS = st.lists(st.fixed_dictionaries({"text": TEXTS}, optional={"type": st.just("text")}), max_size=2)


def turn(role, content, **more):
    return st.fixed_dictionaries({"role": st.just(role), "content": content}, optional=more)


MARKS = {
    "train": st.booleans(),
    "weight": st.sampled_from([0, 1, 0.5]),
    "thinking": TEXTS,
    "tool_calls": CALLS,
}
EXCHANGE = st.tuples(turn("user", TEXTS), turn("assistant", TEXTS, **MARKS)).map(list)
CHATS = st.fixed_dictionaries(
    {"messages": st.lists(EXCHANGE, min_size=1, max_size=2).map(lambda pairs: list(chain(*pairs)))},
    optional={
        "tools": st.lists(objects({"name": WORDS, "parameters": INNER}), max_size=2),
        "note": TEXTS,
        **NUMBERS,
    },
)
IN_PARTS = st.fixed_dictionaries(
    {"messages": st.tuples(turn("user", PARTS), turn("assistant", PARTS)).map(list)}
)
FLAT = st.fixed_dictionaries(
    {"prompt": WORDS, "completion": WORDS, "chosen": WORDS, "rejected": WORDS, "note": TEXTS, "text": WORDS}
)


def several(rows):
    return st.lists(rows, min_size=1, max_size=4)


# --- Formats


def jsonl(rows, folder):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "rows.jsonl").write_bytes(text.encode())
    return folder / "rows.jsonl"


def array(rows, folder):
    (folder / "rows.json").write_text(json.dumps(rows, indent=1))  # escapes, and rows that span lines
    return folder / "rows.json"


def table(rows):
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])


def parquet(rows, folder):
    pq.write_table(table(rows), folder / "rows.parquet")
    return folder / "rows.parquet"


def arrow(rows, folder):
    with pa.ipc.new_file(folder / "rows.arrow", table(rows).schema) as writer:
        writer.write_table(table(rows), max_chunksize=2)
    return folder / "rows.arrow"


def saved(rows, folder):
    datasets.Dataset(table(rows)).save_to_disk(folder / "saved")
    return folder / "saved"


def separated(rows, folder):
    path = folder / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, dict.fromkeys(name for row in rows for name in row))
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {name: text if isinstance(text, str) else json.dumps(text) for name, text in row.items()}
            )
    return path


COLUMNAR = (parquet, arrow, saved)


def read(config):
    """Rows, and what was rejected or changed, by number of the row."""
    first = 1 if str(config.paths[0]).endswith(".jsonl") else 0
    items = [
        (item.line - first, item.values if isinstance(item, Row) else [item.reason, item.kept])
        for item in build(config)
        if not isinstance(item, Notice)
    ]
    return as_json([list(item) for item in items])


def encoded(config, tokenizer):
    """Token ids and masks of each row, for its natural use."""
    source = config.row_type
    encoder = Encoder(tokenizer, uses_of(source)[0], 4096)
    rows = [convert(item.values, source, encoder.row_type) for item in build(config) if isinstance(item, Row)]
    found = encoder.encode_batch(rows)
    return [str(item) if isinstance(item, Unfit) else [piece.values for piece in item] for item in found]


def assert_the_same(tmp_path_factory, tokenizer, kind, rows, formats):
    folder = tmp_path_factory.mktemp("same")
    first = kind(path=jsonl(rows, folder))
    expected, ids = read(first), encoded(first, tokenizer)
    for write in formats:
        try:
            config = kind(path=write(rows, folder))
        except pa.ArrowNotImplementedError:
            continue
        assert read(config) == expected, write.__name__
        assert encoded(config, tokenizer) == ids, write.__name__


# Shrinking reads the files hundreds of times; a few small rows need none.
PHASES = [Phase.explicit, Phase.reuse, Phase.generate]
OFTEN = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=PHASES)


@settings(OFTEN, max_examples=25)
@given(rows=several(CHATS))
def test_conversations_are_the_same_from_every_format(tmp_path_factory, tokenizer, rows):
    assert_the_same(tmp_path_factory, tokenizer, ChatConfig, rows, (array, *COLUMNAR))


@settings(OFTEN, max_examples=12)
@given(rows=several(IN_PARTS))
def test_contents_in_parts_are_the_same_from_every_format(tmp_path_factory, tokenizer, rows):
    assert_the_same(tmp_path_factory, tokenizer, ChatConfig, rows, (array, *COLUMNAR))


@settings(OFTEN, max_examples=12)
@given(rows=several(FLAT), kind=st.sampled_from([PromptResponseConfig, PreferenceConfig, TextConfig]))
def test_rows_of_text_are_the_same_from_every_format(tmp_path_factory, tokenizer, rows, kind):
    assert_the_same(tmp_path_factory, tokenizer, kind, rows, (array, *COLUMNAR, separated))
