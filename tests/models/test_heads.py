"""The score head: read at the last real token, trained, saved, loaded: never re-initialised unseen."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tempering.models.loading import load_scorer
from tempering.models.pooling import last_real_token
from tests.models.outside import outside

ROWS = [[5, 6, 7], [8, 9, 10, 11, 12], [13]]


@pytest.fixture(params=["llama", "qwen2", "gpt2"])
def scorer(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return load_scorer(outside(tmp_path / request.param, request.param, scorer=True))


def padded(rows: list[list[int]], side: str, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows)) + 2
    fill = [[pad] * (width - len(row)) for row in rows]
    ids = [gap + row if side == "left" else row + gap for row, gap in zip(rows, fill, strict=True)]
    real = [
        [0] * len(gap) + [1] * len(row) if side == "left" else [1] * len(row) + [0] * len(gap)
        for row, gap in zip(rows, fill, strict=True)
    ]
    return torch.tensor(ids), torch.tensor(real)


def test_the_last_one_counts_wherever_the_padding_is() -> None:
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]])
    assert last_real_token(mask).tolist() == [1, 3, 3, 2]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pad_is_eos", [False, True])
@torch.no_grad()
def test_padding_changes_no_score(scorer: Any, side: str, pad_is_eos: bool) -> None:
    eos, pad = 0, 0 if pad_is_eos else 3
    scorer.config.pad_token_id = pad
    rows = [[*row, eos] for row in ROWS]  # each answer ends, as in training
    alone = torch.cat([scorer(input_ids=torch.tensor([row])).logits for row in rows])
    ids, mask = padded(rows, side, pad)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    together = scorer(input_ids=ids, attention_mask=mask, position_ids=positions).logits
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    without_eos = scorer(input_ids=torch.tensor([ROWS[0]])).logits
    assert (alone[0] - without_eos).abs() > 1e-4, "the EOS itself is judged"


def test_transformers_own_pooling_agrees_where_pad_is_a_token_of_its_own(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = outside(tmp_path / "llama", scorer=True)
    plain = AutoModelForSequenceClassification.from_pretrained(folder)
    plain.config.pad_token_id = 3
    ids, mask = padded(ROWS, "right", 3)
    with torch.no_grad():
        theirs = plain(input_ids=ids, attention_mask=mask).logits
        ours = load_scorer(folder)(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(ours, theirs)


@pytest.mark.slow
def test_a_trained_head_scores_the_same_after_save_and_load(tiny: Any, tmp_path: Path) -> None:
    """Against the weights on disk, worked out by hand: backbone's state at the last token times the head."""
    from safetensors.torch import load_file
    from transformers import AutoModel

    folder = tiny("reward_model").model_dir
    ids = torch.tensor([[5, 6, 7, 8]])
    head = load_file(folder / "model.safetensors")["score.weight"]
    with torch.no_grad():
        state = AutoModel.from_pretrained(folder)(input_ids=ids).last_hidden_state[:, -1]
        torch.testing.assert_close(load_scorer(folder)(input_ids=ids).logits, state @ head.T)
    fresh = load_scorer(tiny("sft").model_dir, new_head=True, seed=0).score.weight
    assert (head - fresh).abs().max() > 1e-4, "it was trained"


@pytest.mark.slow
def test_a_missing_head_is_refused_unless_asked_for(tiny: Any) -> None:
    from tempering.errors import ArtifactError

    with pytest.raises(ArtifactError, match=r"missing: score\.weight"):
        load_scorer(tiny("sft").model_dir)
