"""KL estimates and the coefficient that weighs them.

Estimators: J. Schulman, "Approximating KL divergence" (2020). Controller: Ziegler et al. 2019
(arXiv:1909.08593), eq. 2.
"""

from torch import Tensor


def k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """log p - log q for tokens sampled from p: unbiased, may be negative. Same shape as given."""
    return logprobs - ref_logprobs


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """q/p - 1 - log(q/p): unbiased, never negative, lower variance. Same shape as given."""
    difference = ref_logprobs - logprobs
    return difference.exp() - 1 - difference


ESTIMATORS = {"k1": k1, "k3": k3}


class KLController:
    """The KL coefficient; with `adaptive` it is steered toward a target.

    Args:
        coef: starting value.
        target: KL a completion to steer to (nats); None keeps `coef` fixed.
        horizon: completions over which the controller reacts.
    """

    def __init__(self, coef: float, target: float | None = None, horizon: int = 10_000) -> None:
        self.coef, self.target, self.horizon = coef, target, horizon

    def update(self, kl: float, completions: int) -> None:
        """Move the coefficient by the clipped proportional error of the observed `kl`."""
        if self.target is None:
            return
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        self.coef *= 1 + error * completions / self.horizon
