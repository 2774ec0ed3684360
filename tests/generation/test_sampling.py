"""What may be sampled: min-p and repetition penalty against `generate()` and against numbers worked out."""

import math
from typing import Any

import pytest
import torch

from tempering.generation.decoder import Decoder
from tempering.generation.sampling import Sampling, sample_token
from tests.generation.test_rollout import EOS, PAD, PROMPTS, model, rollout, uniform

__all__ = ["model"]

# p = 0.5, 0.3, 0.15, 0.05
LOGITS = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()


def drawn(count: int = 400, met: Any = None, **sampling: Any) -> set[int]:
    """The tokens that come up."""
    rows = LOGITS.expand(count, -1)
    met = None if met is None else torch.tensor([met]).expand(count, -1)
    tokens, _ = sample_token(rows, Sampling(1, **sampling), torch.tensor([0]), 0, uniform(count), met)
    return set(tokens.tolist())


def test_min_p_drops_what_is_too_unlikely_against_the_likeliest() -> None:
    assert drawn() == {0, 1, 2, 3}
    assert drawn(min_p=0.2) == {0, 1, 2}  # 0.05 < 0.2 * 0.5
    assert drawn(min_p=0.31) == {0, 1}
    assert drawn(min_p=1.0) == {0}
    # Temperature comes first: at 0.5 the shares go as 0.25, 0.09, 0.0225, 0.0025.
    assert drawn(min_p=0.1, temperature=0.5) == {0, 1}


def test_repetition_penalty_divides_positive_and_multiplies_negative_logits() -> None:
    logits = torch.tensor([[2.0, -1.0, 1.5, -3.0]])
    met = torch.tensor([[True, True, False, False]])
    greedy = Sampling(1, temperature=0, repetition_penalty=2.0)
    token, logprob = sample_token(logits, greedy, torch.tensor([3]), 0, None, met)
    assert token.item() == 2, "2.0 / 2 is below 1.5"
    assert logprob.item() == pytest.approx(torch.log_softmax(logits, -1)[0, 2].item())
    # Drawn from softmax(1, -2, 1.5, -3): token 1 has 1.1% instead of 2.9%.
    many = Sampling(1, repetition_penalty=2.0)
    tokens, _ = sample_token(
        logits.expand(20_000, -1), many, torch.tensor([3]), 0, uniform(20_000), met.expand(20_000, -1)
    )
    shares = torch.bincount(tokens, minlength=4) / 20_000
    wanted = torch.softmax(torch.tensor([1.0, -2.0, 1.5, -3.0]), -1)
    torch.testing.assert_close(shares, wanted, atol=0.01, rtol=0)


def test_filters_leave_the_logprobs_those_of_the_full_distribution() -> None:
    token, logprob = sample_token(LOGITS, Sampling(1, min_p=1.0), torch.tensor([3]), 0, uniform(1))
    assert (token.item(), logprob.item()) == (0, pytest.approx(math.log(0.5)))


@pytest.mark.parametrize("penalty", [1.3, 5.0])
def test_greedy_with_a_penalty_equals_generate(model: Any, penalty: float) -> None:
    ours = rollout(model, temperature=0, repetition_penalty=penalty)
    theirs = model.generate(
        input_ids=ours.prompt_ids,
        attention_mask=ours.prompt_mask,
        max_new_tokens=10,
        do_sample=False,
        eos_token_id=EOS,
        pad_token_id=PAD,
        repetition_penalty=penalty,
    )[:, ours.prompt_ids.shape[1] :]
    assert ours.completion_ids.tolist() == theirs.tolist()
    plain = rollout(model, temperature=0)
    assert ours.completion_ids.tolist() != plain.completion_ids.tolist(), "the penalty does something"


def test_a_strong_penalty_never_says_a_token_twice(model: Any) -> None:
    found = Decoder(model, [EOS], PAD).generate(
        PROMPTS, Sampling(10, temperature=0, repetition_penalty=1e6), None
    )
    for prompt, ids, mask in zip(PROMPTS, found.completion_ids, found.completion_mask, strict=True):
        said = [*prompt, *ids[mask].tolist()]
        assert len(said) == len(set(said))
