"""A row's log-probabilities are the model's own, and the same alone as among others, in every family."""

import random
from typing import Any

import pytest
import torch

from tempering.generation.scoring import LONGEST, can_branch, scored
from tests.models.test_families import language_model
from tests.models.tiny_families import VOCABULARY, tiny_model

BRANCHING = ("llama", "gpt2", "qwen3", "cohere")
"""Read as trees."""
APART = ("lstm", "kgram", "bloom", "gemma2", "mistral", "opt", "recurrent_gemma")
"""Read row by row: they keep states, look back over windows, or count places themselves."""
ROUGH = ("qwen3_moe", "deepseek_v4", "mamba2")
"""The last bits may differ: experts see few tokens each, and Mamba adds up by pieces of the batch."""
Rows = list[tuple[list[int], list[int]]]


def build(family: str) -> Any:
    if family in ("lstm", "kgram"):
        return language_model(family)
    return tiny_model(family)


def rows_of(longest: int, vocabulary: int) -> Rows:
    """Pairs, choices of one question, equal rows, rows of one token and of many."""
    draw = random.Random(0)
    text = [draw.randrange(3, vocabulary) for _ in range(200)]
    rows: Rows = []
    for place in range(12):
        end = place + 3 + place % 5
        rows += [([1], text[place:end]), ([1], [*text[place : end - 2], text[end + 1], text[end]])]
    question = text[: longest - 8]
    rows += [(question, text[at : at + length]) for at, length in ((60, 1), (70, 3), (80, 6))]
    return [*rows, rows[0], ([1, 5], []), (text[: longest - 1], [9]), ([1], [text[0]])]


def own(model: Any, rows: Rows) -> list[list[float]]:
    """By the model's own forward, a row at a time."""
    lines = []
    with torch.no_grad():
        for before, after in rows:
            ids = torch.tensor([[*before, *after]])
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
            logs = logits[0, :-1].float().log_softmax(-1).gather(-1, ids[0, 1:, None])[:, 0].tolist()
            lines.append(logs[len(before) - 1 :] if after else [])
    return lines


@pytest.mark.parametrize("family", [*BRANCHING, *APART, *ROUGH])
def test_rows_score_alone_as_among_others_and_as_the_model_says(family: str) -> None:
    """Mutations: softmax for `tree_attention`; left padding; a head over fewer than 16 states; a `kept` of
    `common` without its bounds; targets of the row before."""
    model = build(family)
    rows = rows_of(48, model.get_input_embeddings().weight.shape[0])
    together = scored(model, rows, 64)
    assert [len(line) for line in together] == [len(after) for _, after in rows]
    for line, true in zip(together, own(model, rows), strict=True):
        assert line == pytest.approx(true, abs=2e-5)
    alone = [scored(model, [row], 1)[0] for row in rows]
    assert can_branch(model) or family not in BRANCHING
    if family in ROUGH:
        for line, other in zip(together, alone, strict=True):
            assert line == pytest.approx(other, abs=1e-5)
    else:
        assert alone == together == scored(model, rows, 1) == scored(model, rows, 7)
        backwards = scored(model, rows[::-1], 64)
        assert backwards[::-1] == together


def test_common_beginnings_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: a tree for each row."""
    model = tiny_model("llama")
    question = [*range(3, 43)]
    rows = [(question, [50 + choice, 9]) for choice in range(4)]
    scored(model, rows[:1], 8)  # tries whether the model branches
    seen: list[int] = []
    forward = model.model.forward
    monkeypatch.setattr(
        model.model, "forward", lambda **named: seen.append(named["input_ids"].numel()) or forward(**named)
    )
    scored(model, rows, 8)
    assert seen == [48], "40 + 4, up to a multiple of 16"
    assert model.config._attn_implementation == "sdpa"


def test_rows_longer_than_a_tree_are_read_whole() -> None:
    model = tiny_model("llama", max_position_embeddings=400)
    draw = random.Random(1)
    rows: Rows = [([1], [draw.randrange(3, VOCABULARY) for _ in range(size)]) for size in (LONGEST, 300, 7)]
    together = scored(model, rows, 8)
    for line, true in zip(together, own(model, rows), strict=True):
        assert line == pytest.approx(true, abs=2e-5)
    assert [scored(model, [row], 1)[0] for row in rows] == together
