"""The coefficient that weighs the KL penalty; the estimates are those of `generation.kl`.

Controller: Ziegler et al. 2019 (arXiv:1909.08593), eq. 2.
"""

from math import isnan


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
