"""Watching a run: signs of collapse, with their likely cause, and numbers that are not finite.

A sign counts when it has held for `patience` rollouts in a row; it is reported once, and again only after it
has gone. How long each has held is part of a checkpoint, so that a resumed run reports the same.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from tempering.errors import StageFailed
from tempering.onpolicy.config import GuardConfig

Stats = Mapping[str, float]


class CollapseGuard:
    """Looks at the statistics of each rollout.

    Args:
        contrast: whether nothing is learnt from completions of a prompt that got the same reward.
    """

    def __init__(self, config: GuardConfig, warn: Callable[[str], None], *, contrast: bool = True) -> None:
        self.config, self.warn, self.contrast = config, warn, contrast
        self.streaks: dict[str, int] = dict.fromkeys(self._signs(), 0)

    def _signs(self) -> dict[str, tuple[Callable[[Stats], bool], str]]:
        config = self.config
        # Each: what shows it, and what to tell the user (fact, likely causes, setting that helps).
        return {
            "entropy": (
                lambda stats: stats["entropy"] < config.min_entropy,
                f"the policy's entropy is below {config.min_entropy:g} nats per token: it says one thing "
                "only. Likely causes: learning_rate too high, kl_coef too low, or a reward that one text "
                "satisfies; entropy_coef holds against it",
            ),
            "kl": (
                lambda stats: stats["kl"] > config.max_kl,
                f"the KL to the reference is above {config.max_kl:g} nats per completion: the policy has "
                "left it. Likely causes: kl_coef too low or learning_rate too high; "
                "kl_control: adaptive steers it",
            ),
            "length": (
                lambda stats: stats["completion_length"] < config.min_length,
                f"completions have fewer than {config.min_length:g} tokens. Likely causes: a reward that "
                "grows when less is said, or a KL penalty (summed over tokens) larger than the reward; "
                "min_new_tokens holds against it",
            ),
            "unended": (
                lambda stats: 1 - stats["ended_share"] > config.max_unended,
                f"more than {config.max_unended:.0%} of the completions never end. Likely causes: "
                "max_new_tokens too low, a model that was not trained to end (no EOS in SFT), or "
                "missing_eos_penalty too low",
            ),
            "unscored": (
                lambda stats: stats["unscored_share"] == 1,
                "no completion could be scored, so nothing is learnt. Likely cause: the reward function "
                "gives None for all, or the teacher cannot be reached",
            ),
            "no_contrast": (
                lambda stats: self.contrast and stats.get("zero_variance_share", 0) == 1,
                "all completions of every prompt got the same reward, so nothing is learnt from them, and "
                "without an entropy bonus no step is made. Likely causes: a reward that cannot tell them "
                "apart, a policy that says one thing only, or a single scored completion of each prompt",
            ),
            "equal_rewards": (
                lambda stats: not self.contrast and stats.get("equal_rewards", 0) == 1,
                "all completions got the same reward, so what moves the policy is chance, the errors of the "
                "value model and the KL. Likely causes: a reward that cannot tell them apart, or a policy "
                "that says one thing only",
            ),
        }

    def look(self, stats: Stats) -> None:
        """After each rollout.

        Raises:
            StageFailed: a sign has held long enough, and `guard.action` is stop.
        """
        for name, (shows, text) in self._signs().items():
            self.streaks[name] = self.streaks[name] + 1 if shows(stats) else 0
            if self.streaks[name] == self.config.patience:
                message = f"for {self.config.patience} rollouts in a row {text}"
                if self.config.action == "stop":
                    raise StageFailed(f"stopped by guard.action: stop: {message}")
                self.warn(message)


def refuse_nan(value: float, batch: Mapping[str, Tensor], folder: Path, step: int, quantity: str) -> None:
    """Stop where a loss or gradient is not finite, and save the batch that caused it.

    Raises:
        StageFailed: naming the file and the likely cause.
    """
    if value - value == 0:  # neither NaN nor infinite
        return
    path = folder / f"bad_batch_step_{step}.safetensors"
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in batch.items()}, path)
    culprits = [name for name, tensor in batch.items() if not tensor.isfinite().all()]
    cause = (
        f"{' and '.join(culprits)} of the batch already hold such numbers: look at the reward"
        if culprits
        else "the batch itself is sound, so the update made it: lower learning_rate or clip_range, set "
        "max_grad_norm, or train in fp32"
    )
    raise StageFailed(
        f"the {quantity} of step {step} is {value}. {cause}. The batch is in {path}; the run can resume "
        "from its last checkpoint"
    )
