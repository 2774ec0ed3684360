"""Advantages, KL, losses and the sampler against numbers worked out by hand."""

import math

import pytest
import torch
from torch import tensor

from tempering.generation.kl import k1, k3
from tempering.generation.rollout import pad_left
from tempering.generation.sampling import Sampling, sample_token
from tempering.onpolicy.advantages import gae, group_normalized, leave_one_out, spread, whiten
from tempering.onpolicy.kl import KLController
from tempering.onpolicy.losses import (
    clipped_policy_loss,
    clipped_value_loss,
    masked_mean,
    weighted_likelihood_loss,
)

NAN = math.nan


def close(found: torch.Tensor, wanted: list) -> None:
    torch.testing.assert_close(found, tensor(wanted, dtype=found.dtype), atol=1e-4, rtol=0)


def test_gae_by_hand() -> None:
    # V = [.5, .6, .7], r = [0, 0, 1], gamma .9, lambda .8:
    # d2 = 1 - .7 = .3; d1 = .9*.7 - .6 = .03; d0 = .9*.6 - .5 = .04
    # A2 = .3; A1 = .03 + .72*.3 = .246; A0 = .04 + .72*.246 = .21712
    advantages, returns = gae(
        tensor([[0.0, 0, 1]]), tensor([[0.5, 0.6, 0.7]]), tensor([[True] * 3]), gamma=0.9, gae_lambda=0.8
    )
    close(advantages, [[0.21712, 0.246, 0.3]])
    close(returns, [[0.71712, 0.846, 1.0]])


def test_gae_ignores_padding() -> None:
    mask = tensor([[True, True, False]])
    advantages, returns = gae(tensor([[0.0, 1, 9]]), tensor([[0.5, 0.6, 7]]), mask, gamma=0.9, gae_lambda=0.8)
    close(advantages, [[0.04 + 0.72 * 0.4, 0.4, 0]])
    close(returns, [[0.54 + 0.72 * 0.4, 1.0, 0]])


def test_gae_with_lambda_and_gamma_one_is_reinforce_with_a_value_baseline() -> None:
    rewards, values = torch.rand(4, 6), torch.rand(4, 6)
    advantages, _ = gae(rewards, values, torch.ones(4, 6, dtype=torch.bool), gamma=1.0, gae_lambda=1.0)
    to_go = rewards.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(advantages, to_go - values)


def test_leave_one_out_by_hand() -> None:
    close(leave_one_out(tensor([[1.0, 2, 3, 6]])), [[-8 / 3, -4 / 3, 0, 4]])


def test_unscored_completions_are_out_of_the_baseline() -> None:
    found = leave_one_out(tensor([[1.0, NAN, 3, NAN], [5.0, NAN, NAN, NAN]]))
    close(found, [[-2, 0, 2, 0], [0, 0, 0, 0]])


def test_group_normalized_by_hand() -> None:
    # mean 3, deviations -2 -1 0 3, variance 14 / 3
    std = math.sqrt(14 / 3) + 1e-4
    close(group_normalized(tensor([[1.0, 2, 3, 6]])), [[-2 / std, -1 / std, 0, 3 / std]])
    # mean 2, deviations -1 1, variance 2; an only one has no group
    std = math.sqrt(2) + 1e-4
    found = group_normalized(tensor([[1.0, NAN, 3, NAN], [5.0, NAN, NAN, NAN]]))
    close(found, [[-1 / std, 0, 1 / std, 0], [0, 0, 0, 0]])
    close(group_normalized(tensor([[2.0, 2, 2, 2]])), [[0, 0, 0, 0]])


def test_spread_leaves_the_mean_alone() -> None:
    # scored 1 and 3: standard deviation 1
    close(spread(tensor([1.0, 3, 100]), tensor([True, True, False])), [1, 3, 100])
    close(spread(tensor([2.0, 6, 0]), tensor([True, True, False])), [1, 3, 0])


def test_whiten() -> None:
    mask = tensor([True, True, True, False])
    close(whiten(tensor([1.0, 2, 3, 100]), mask), [-math.sqrt(1.5), 0, math.sqrt(1.5), 0])


def test_kl_estimators_by_hand() -> None:
    p, q = tensor([math.log(0.5)]), tensor([math.log(0.25)])
    close(k1(p, q), [math.log(2)])
    close(k3(p, q), [0.5 - 1 + math.log(2)])


@pytest.mark.parametrize(("kl", "factor"), [(12.0, 1 + 0.2 * 96 / 960), (6.0, 1.0), (5.4, 1 - 0.1 * 0.1)])
def test_adaptive_controller(kl: float, factor: float) -> None:
    controller = KLController("adaptive", 0.1, target=6.0, horizon=960)
    controller.update(kl, 96, done=0.5)
    assert controller.coef == pytest.approx(0.1 * factor)


def test_fixed_controller_stays() -> None:
    controller = KLController("fixed", 0.1)
    controller.update(100.0, 96, done=0.5)
    assert controller.coef == 0.1


def test_linear_controller_goes_to_its_end() -> None:
    controller = KLController("linear", 0.1, end=0.02)
    for done, wanted in ((0.25, 0.08), (0.5, 0.06), (1.0, 0.02), (1.3, 0.02)):
        controller.update(100.0, 96, done)
        assert controller.coef == pytest.approx(wanted)


def test_policy_loss_clips_on_the_pessimistic_side() -> None:
    ratios = tensor([1.5, 1.5, 0.5, 0.5])
    advantages = tensor([1.0, -1, 1, -1])
    loss, clipped = clipped_policy_loss(
        ratios.log(), torch.zeros(4), advantages, torch.ones(4, dtype=torch.bool), clip_range=0.2
    )
    assert loss.item() == pytest.approx((-1.2 + 1.5 - 0.5 + 0.8) / 4)
    assert clipped.item() == 0.5


def test_value_loss_by_hand() -> None:
    arguments = (tensor([1.0, 0.1]), tensor([0.0, 0.0]), tensor([1.0, 1.0]), tensor([True, True]))
    plain, _ = clipped_value_loss(*arguments, value_clip_range=None)
    clipped, share = clipped_value_loss(*arguments, value_clip_range=0.2)
    assert plain.item() == pytest.approx(0.5 * (0 + 0.81) / 2)
    assert clipped.item() == pytest.approx(0.5 * (0.64 + 0.81) / 2)
    assert share.item() == 0.5


def test_weights_are_shares_of_a_larger_batch() -> None:
    # two of four entries here, each a quarter of the batch
    ratios, advantages = tensor([1.5, 0.5]), tensor([1.0, -1])
    loss, _ = clipped_policy_loss(
        ratios.log(), torch.zeros(2), advantages, tensor([0.25, 0.25]), clip_range=0.2
    )
    assert 0.5 * loss.item() == pytest.approx((-1.2 + 0.8) / 4)


def test_a_capped_ratio_pulls_no_harder() -> None:
    logprobs = tensor([math.log(5.0)], requires_grad=True)
    arguments = (torch.zeros(1), tensor([-1.0]), tensor([True]))
    loss, _ = clipped_policy_loss(logprobs, *arguments, clip_range=0.2)
    assert loss.item() == pytest.approx(5)
    capped, _ = clipped_policy_loss(logprobs, *arguments, clip_range=0.2, ratio_cap=2.0)
    assert capped.item() == pytest.approx(2)
    capped.backward()
    assert logprobs.grad.item() == 0


def test_weighted_likelihood_by_hand() -> None:
    found = weighted_likelihood_loss(
        tensor([-2.0, -3, -9]), tensor([1.0, 0.5, 7]), tensor([True, True, False])
    )
    assert found.item() == pytest.approx((2 + 1.5) / 2)


def test_masked_mean_of_nothing_is_zero() -> None:
    assert masked_mean(tensor([3.0]), tensor([False])).item() == 0


def draw(logits: list[float], sampling: Sampling, step: int = 0, count: int = 4000) -> list[float]:
    rows = tensor([logits]).expand(count, -1)
    uniform = torch.rand(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    token, _ = sample_token(rows, sampling, tensor([2]), step, uniform)
    return [float((token == index).float().mean()) for index in range(len(logits))]


def test_sampling_follows_the_distribution() -> None:
    wanted = torch.softmax(tensor([0.0, 1, 2, 3]) / 0.7, 0)
    counts = tensor(draw([0, 1, 2, 3], Sampling(1, temperature=0.7))) * 4000
    chi_square = ((counts - wanted * 4000) ** 2 / (wanted * 4000)).sum()
    assert chi_square < 16.27  # 0.1% of chi-square with 3 degrees of freedom


def test_filters() -> None:
    assert draw([0, 1, 2, 3], Sampling(1, top_k=2))[:2] == [0, 0]
    assert draw([0, 1, 2, 3], Sampling(1, top_p=0.6))[:3] == [0, 0, 0]
    assert draw([0, 1, 2, 3], Sampling(2, min_new_tokens=1), step=0)[2] == 0
    assert draw([0, 1, 2, 3], Sampling(2, min_new_tokens=1), step=1)[2] > 0
    assert draw([0, 1, 2, 3], Sampling(1, temperature=0)) == [0, 0, 0, 1]


def test_logprob_is_of_the_scaled_full_distribution_whatever_the_filters() -> None:
    logits = tensor([[0.0, 1, 2, 3]])
    token, logprob = sample_token(
        logits, Sampling(1, temperature=0.5, top_k=1), tensor([9]), 5, tensor([0.3])
    )
    wanted = torch.log_softmax(logits / 0.5, -1)[0, 3]
    assert token.item() == 3
    torch.testing.assert_close(logprob[0], wanted)


def test_pad_left() -> None:
    ids, mask = pad_left([[5, 6, 7], [8]], pad_id=0)
    assert ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]
