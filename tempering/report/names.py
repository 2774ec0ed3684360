"""Who is who on the page: order, label and colour of every model, the same everywhere.

Known stages have their own colour, so that two reports can be laid side by side; others take
the free ones in order. A colour is a CSS class; its light and dark values are in the style sheet.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

_KNOWN = {
    "pretrain": "Pretrained", "sft": "SFT", "reward_model": "Reward model", "dpo": "DPO", "ppo": "PPO",
    "rloo": "RLOO", "merge": "Merged",
}  # fmt: skip
_SPARE = 6  # classes x0 to x5
STARTING = ("pretrain", "sft", "reward_model")
"""Stages that come before alignment; every other model is an aligned one."""

METRICS = {
    "gold_score": "Gold score", "perfect_share": "Perfect stories", "reward": "Reward",
    "win_rate": "Win rate", "ended_share": "Ended by itself", "loss": "Loss",
    "exact_match": "Exact match", "f1": "F1",
    "minimal_pairs": "Minimal pairs", "accuracy": "Pairs ordered right",
}  # fmt: skip


@dataclass(frozen=True)
class Model:
    """One model on the page. `color` is its CSS class."""

    key: str
    label: str
    color: str
    outside: bool = False
    """It came from elsewhere: what others start from."""

    @property
    def aligned(self) -> bool:
        """Whether it is meant to be better than SFT."""
        return self.key not in STARTING and not self.outside


def label_of(key: str) -> str:
    """A stage's name for readers."""
    return _KNOWN.get(key, key.replace("_", " "))


def metric_label(metric: str) -> str:
    """A metric's name for readers."""
    return METRICS.get(metric, metric.replace("_", " ").capitalize())


def ordered(keys: Iterable[str]) -> list[str]:
    """Known stages in pipeline order, then the others by name."""
    known = list(_KNOWN)
    return sorted(set(keys), key=lambda key: (known.index(key) if key in known else len(known), key))


def cast(keys: Iterable[str], outside: Container[str] = ()) -> Mapping[str, Model]:
    """Every model of the page in order; those in `outside` came from elsewhere."""
    models: dict[str, Model] = {}
    spare = 0
    for key in ordered(keys):
        if key in _KNOWN:
            models[key] = Model(key, label_of(key), f"m-{key}")
        else:
            models[key] = Model(key, label_of(key), f"m-x{spare % _SPARE}", key in outside)
            spare += 1
    return models
