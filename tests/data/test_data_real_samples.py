"""The builders on real samples of the data sets the recipes name; skipped where they are absent."""

import os
from collections import Counter
from pathlib import Path

import pytest

from tempering.data.builders import AlpacaConfig, ChatConfig, HHConfig, SquadConfig, TextConfig
from tempering.data.encode import Encoder
from tempering.data.parts import build_parts, count_reasons
from tempering.data.rows import RowType
from tempering.data.sampling import Source, mix

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("TEMPERING_SHARED_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="module")
def shared():
    if not (SHARED / "SOURCES.md").is_file():
        pytest.skip(f"no real samples in {SHARED}; set TEMPERING_SHARED_DATA to their folder")
    return SHARED


HH, ALPACA = "preference/hh_harmless_base_test.jsonl.gz", "sft/alpaca_en_demo.json.gz"
TOPICAL = "sft/topical_chat_valid_freq.messages.jsonl.gz"
EMPTY, DIFFER = "chosen: the last answer is empty", "the prompts of chosen and rejected differ"
CUT = "trailing turns after the last answer cut off"
CASES = {
    "tinystories": (TextConfig, "pretrain/tinystories_head.txt.gz", {}, 2316, {}),
    "tinystories_jsonl": (TextConfig, "pretrain/tinystories_head.jsonl.gz", {}, 2316, {}),
    "wiki": (TextConfig, "pretrain/babylm_simple_wiki.jsonl.gz", {}, 3298, {}),
    "switchboard": (TextConfig, "pretrain/babylm_switchboard.txt.gz", {"documents": "line"}, 12000, {}),
    "alpaca": (AlpacaConfig, ALPACA, {}, 659, {}),
    "topical": (ChatConfig, TOPICAL, {}, 220, {CUT: 166}),
    "hh": (HHConfig, HH, {}, 1176, {DIFFER: 3, EMPTY: 2}),
    "hh_prompts": (HHConfig, HH, {"rows": "prompts"}, 1179, {EMPTY: 2}),
    "xquad": (SquadConfig, "sft/xquad.en.json", {}, 612, {}),
    "xquad_flat": (SquadConfig, "sft/xquad.en.flat.jsonl.gz", {}, 612, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_real_samples(shared, name):
    kind, path, settings, rows, rejected = CASES[name]
    parts = build_parts(kind(path=shared / path, **settings))
    assert len(parts.train) + len(parts.eval) == rows
    assert parts.train
    assert parts.eval
    assert count_reasons(parts.rejected) == Counter(rejected)


def test_both_forms_of_the_same_data_agree(shared):
    for text, flat in (("tinystories", "tinystories_jsonl"), ("xquad", "xquad_flat")):
        one, other = (
            build_parts(CASES[name][0](path=shared / CASES[name][1], eval_fraction=0)).train
            for name in (text, flat)
        )
        if text == "xquad":
            one, other = ([{**row, "id": "", "title": ""} for row in rows] for rows in (one, other))
        assert one == other


@pytest.mark.parametrize(
    ("name", "use"), [("alpaca", None), ("topical", None), ("hh", None), ("hh", "prompt")]
)
def test_real_rows_can_be_encoded(shared, tokenizer, name, use):
    kind, path, settings, _, _ = CASES[name]
    parts = build_parts(kind(path=shared / path, max_rows=120, max_rejected_fraction=1, **settings))
    target = RowType(use or parts.row_type)
    mixed = mix([Source(name, parts.row_type, parts.train)], Encoder(tokenizer, target, 2048), None, 0)
    assert len(mixed.rows) + mixed.sources[0].rejected == len(parts.train)
    assert len(mixed.rows) > 0.9 * len(parts.train)
