"""Refusing a reward model that is not good enough, before rollouts are spent on it.

A policy learns whatever its reward model rewards: of one that orders held-out pairs like a coin, hours later,
nothing. The accuracy is the one that the model's own training measured on the pairs its sample held out, so
nothing is computed here.
"""

import math
from collections.abc import Mapping

from tempering.artifacts.kinds import ModelArtifact
from tempering.errors import ArtifactError, GateFailed
from tempering.onpolicy.config import OnPolicyConfig

_GUESS = 0.5
_ERRORS = 2.0


def check_reward_models(config: OnPolicyConfig, models: Mapping[str, ModelArtifact]) -> None:
    """Refuse a reward model below `min_accuracy`; by default one that is clearly worse than a guess.

    Args:
        models: component of the reward -> the model that it names.

    Raises:
        GateFailed: it is below.
        ArtifactError: nobody knows how good it is, and `min_accuracy` is set.
    """
    for component in config.reward_models:
        model = models[component]
        accuracy, pairs = held_out_accuracy(model)
        if config.min_accuracy is None:
            floor = _GUESS - _ERRORS * 0.5 / math.sqrt(pairs) if pairs else 0.0
            if accuracy is not None and not accuracy >= floor:
                raise _too_low(model, accuracy, pairs, f"at least {_GUESS}, which a guess gives")
        elif accuracy is None:
            raise ArtifactError(
                f"min_accuracy is {config.min_accuracy:g}, and how good {model.id} is was not measured",
                expected="a reward model whose sample held pairs out (eval_fraction of its data sets)",
                fix="hold pairs out and train it again, or leave min_accuracy out",
            )
        elif not accuracy >= config.min_accuracy:  # nan is below
            raise _too_low(model, accuracy, pairs, f"min_accuracy {config.min_accuracy:g} or more")


def held_out_accuracy(model: ModelArtifact) -> tuple[float | None, int]:
    """The accuracy on held-out pairs and their number; None where not measured, 0 where not noted.

    A checkpoint is another model than the one that was measured.
    """
    if model.checkpoint is not None:
        return None, 0
    noted = model.details.get("held_out_accuracy", model.manifest.metrics.get("held_out_accuracy"))
    pairs = model.details.get("held_out_rows")
    return noted if isinstance(noted, float | int) else None, pairs if isinstance(pairs, int) else 0


def _too_low(model: ModelArtifact, accuracy: float, pairs: int, expected: str) -> GateFailed:
    count = f"{pairs} " if pairs else ""
    return GateFailed(
        f"the reward model {model.id} orders {accuracy:.3f} of its {count}held-out pairs right",
        expected=expected,
        fix="train it on more or cleaner pairs, or lower min_accuracy (0: train on it all the same)",
    )
