"""Orders from easy to hard, and difficulty as the loss of a model."""

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tempering.data.sample.curriculum import CurriculumConfig, open_share, order, unknown_rows
from tempering.generation import difficulty
from tempering.generation.difficulty import losses

SHUFFLED = np.random.default_rng(0).permutation(1000).astype(float)
WAYS = [
    {},
    {"descending": True},
    {"stages": 3},
    {"stages": 50, "descending": True},
    {"pacing": "linear"},
    {"pacing": "root", "start": 0.01, "until": 1.0},
]


def ordered(values, seed=0, **settings) -> np.ndarray:
    return order(values, CurriculumConfig(**settings), seed)


@given(
    st.lists(st.none() | st.floats() | st.integers(0, 3), max_size=40),
    st.sampled_from(WAYS),
    st.integers(0, 5),
)
def test_every_row_comes_once_and_the_unknown_ones_last(values, way, seed):
    found = ordered(values, seed, **way)
    assert sorted(found.tolist()) == list(range(len(values)))
    known = [values[row] is not None and not math.isnan(values[row]) for row in found]
    assert known == sorted(known, reverse=True)
    assert unknown_rows(values) == known.count(False)


def test_a_full_sort():
    assert ordered([3.0, 1.0, None, 2.0]).tolist() == [1, 3, 0, 2]
    assert ordered([3.0, 1.0, float("nan"), 2.0], descending=True).tolist() == [0, 3, 1, 2]


def test_equally_hard_rows_come_in_an_order_of_the_seed():
    same = np.zeros(50)
    assert ordered(same, 1).tolist() == ordered(same, 1).tolist()
    assert ordered(same, 1).tolist() != ordered(same, 2).tolist()
    assert ordered(same, 1).tolist() != list(range(50))


def splitmix64(state: int) -> int:
    """Steele, Lea, Flood 2014, in plain integers."""
    state = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) % 2**64
    state = ((state ^ state >> 27) * 0x94D049BB133111EB) % 2**64
    return state ^ state >> 31


def test_chance_hangs_on_no_library():
    start = int.from_bytes(hashlib.blake2b(b"curriculum/3", digest_size=8).digest(), "big")
    noise = [splitmix64((start + (row + 1) * 0x9E3779B97F4A7C15) % 2**64) for row in range(20)]
    assert ordered(np.zeros(20), 3).tolist() == sorted(range(20), key=noise.__getitem__)


def test_stages_are_equal_and_shuffled_inside():
    found = SHUFFLED[ordered(SHUFFLED, stages=4)]
    for stage in range(4):
        part = found[stage * 250 : (stage + 1) * 250]
        assert sorted(part) == list(range(stage * 250, (stage + 1) * 250))
        assert abs(np.corrcoef(part, np.arange(250))[0, 1]) < 0.2
    hardest_first = SHUFFLED[ordered(SHUFFLED, stages=4, descending=True)]
    assert hardest_first[:250].min() == 750


@pytest.mark.parametrize(
    ("pacing", "shares"),
    [("linear", [0.2, 0.4, 0.6, 0.8, 1, 1]), ("root", [0.2, 0.529150, 0.721110, 0.871780, 1, 1])],
)
def test_competence_by_hand(pacing, shares):
    # start 0.2, until 0.8: root at a quarter of it is sqrt(0.04 + 0.96 / 4) = sqrt(0.28).
    config = CurriculumConfig(pacing=pacing, start=0.2, until=0.8)
    done = np.array([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert open_share(done, config).tolist() == pytest.approx(shares, abs=1e-6)


@pytest.mark.parametrize("pacing", ["linear", "root"])
@pytest.mark.parametrize("until", [0.5, 1.0])
def test_no_row_comes_before_it_is_open(pacing, until):
    config = CurriculumConfig(pacing=pacing, start=0.1, until=until)
    rank = SHUFFLED[order(SHUFFLED, config, 0)]
    places = np.arange(1000)
    last = np.maximum(open_share(places / 1000, config) * 1000, places + 1)
    assert (rank < last).all()
    assert rank[:50].max() > 60  # and it is drawn from all that is open, not from the next few
    assert (np.diff(rank) < 0).mean() > 0.3


def test_pacing_draws_evenly_among_what_is_open():
    config = CurriculumConfig(pacing="linear", start=0.5, until=1.0)
    firsts = [int(order(np.arange(8.0), config, seed)[0]) for seed in range(2000)]
    assert np.bincount(firsts, minlength=8) / 2000 == pytest.approx([0.25] * 4 + [0] * 4, abs=0.04)


def test_all_open_from_the_start_is_a_plain_shuffle():
    found = ordered(np.arange(1000.0), pacing="linear", start=1.0)
    assert abs(np.corrcoef(found, np.arange(1000))[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"by": "column"}, "by: column needs `column`"),
        ({"by": "loss"}, "by: loss needs `model`"),
        ({"column": "score"}, "column is a setting of by: column"),
        ({"by": "column", "column": "score", "model": "sft"}, "model is a setting of by: loss"),
        ({"stages": 1}, "shuffles all rows together"),
        ({"stages": 2, "pacing": "root"}, "set one of them"),
        ({"start": 0.3}, "start is set, and pacing none"),
        ({"stages": 2, "until": 0.3}, "until is set, and pacing none"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, said):
    with pytest.raises(ValidationError, match=said):
        CurriculumConfig(**settings)


def by_hand(model, before: list[int], after: list[int]) -> list[float]:
    """Cross-entropy of each token of `after`, one row at a time, with all logits."""
    with torch.no_grad():
        logits = model(torch.tensor([before + after])).logits[0, len(before) - 1 : -1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(after), reduction="none").tolist()


def token_rows() -> list[dict]:
    ids = [[(7 * row + 3 * place) % 250 + 5 for place in range(3 + 5 * row)] for row in range(6)]
    documents = [{"input_ids": row, "num_tokens": len(row)} for row in ids]
    answers = [
        {"input_ids": ids[4], "completion_mask": [False] * 9 + [True] * (len(ids[4]) - 9)},
        {"input_ids": ids[2], "completion_mask": [False, True, True, False, False, True] + [False] * 7},
        {"input_ids": ids[1], "completion_mask": [True, True] + [False] * 6},
    ]
    pair = {"prompt_ids": ids[3], "chosen_ids": ids[1], "rejected_ids": ids[2]}
    return [*documents, *answers, pair]


def test_losses_are_those_worked_out_by_hand(tiny, monkeypatch):
    from tempering.models.loading import load_causal_lm

    monkeypatch.setattr(difficulty, "BATCH_TOKENS", 60)  # several batches, and several chunks
    monkeypatch.setattr(difficulty, "CHUNK_TOKENS", 50)
    folder = tiny("pretrain").model_dir
    model = load_causal_lm(folder)
    rows = token_rows()
    expected = [np.mean(by_hand(model, row["input_ids"][:1], row["input_ids"][1:])) for row in rows[:6]]
    for row in rows[6:9]:
        every = [math.nan, *by_hand(model, row["input_ids"][:1], row["input_ids"][1:])]
        counted = [loss for loss, counts in zip(every, row["completion_mask"], strict=True) if counts]
        expected.append(np.nanmean(counted))
    expected.append(np.mean(by_hand(model, rows[9]["prompt_ids"], rows[9]["chosen_ids"])))
    found = losses(folder, iter(rows), "cpu")
    assert found.shape == (10,)
    assert found.tolist() == pytest.approx(expected, abs=1e-4)


def test_rows_without_a_token_to_predict_are_unknown(tiny):
    folder = tiny("pretrain").model_dir
    rows = [
        {"input_ids": [5]},
        {"input_ids": [5, 6, 7], "completion_mask": [True, False, False]},
        {"input_ids": [5, 6, 7], "completion_mask": [False, False, False]},
        {"prompt_ids": [], "chosen_ids": [5]},
    ]
    assert np.isnan(losses(folder, rows, "cpu")).all()
    assert losses(folder, [], "cpu").shape == (0,)
    assert np.isfinite(losses(folder, [{"prompt_ids": [], "chosen_ids": [5, 6]}], "cpu")).all()
