"""KL estimates and the coefficient that weighs them.

Estimators: J. Schulman, "Approximating KL divergence" (2020). Controller: Ziegler et al. 2019
(arXiv:1909.08593), eq. 2.
"""

from math import isnan

from torch import Tensor


def k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """log p - log q for tokens sampled from p: unbiased, may be negative. Same shape as its inputs."""
    return logprobs - ref_logprobs


def k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """q/p - 1 - log(q/p): unbiased, never negative, lower variance. Same shape as its inputs."""
    difference = ref_logprobs - logprobs
    return difference.exp() - 1 - difference


ESTIMATORS = {"k1": k1, "k3": k3}


class KLController:
    """The KL coefficient: fixed, steered toward a target, or on a line to its end.

    Args:
        control: fixed, adaptive (Ziegler et al. 2019, eq. 2) or linear.
        coef: starting value.
        target: adaptive: KL per completion to steer to (nats).
        horizon: adaptive: completions over which it reacts.
        end: linear: value at the end of the run.
    """

    def __init__(
        self, control: str, coef: float, *, target: float = 6.0, horizon: int = 10_000, end: float = 0.0
    ) -> None:
        self.control, self.start, self.coef = control, coef, coef
        self.target, self.horizon, self.end = target, horizon, end

    def update(self, kl: float, completions: int, done: float) -> None:
        """Move the coefficient after a rollout.

        Args:
            kl: mean KL of its completions, in nats.
            completions: their number.
            done: share of the run that is done, in [0, 1].
        """
        if self.control == "adaptive" and not isnan(kl):
            error = min(max(kl / self.target - 1, -0.2), 0.2)
            self.coef *= 1 + error * completions / self.horizon
        elif self.control == "linear":
            self.coef = self.start + (self.end - self.start) * min(done, 1.0)
