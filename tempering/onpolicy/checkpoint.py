"""What an on-policy checkpoint holds beside Trainer's own: policy, value model, what a rollout needs."""

import json
from pathlib import Path
from typing import Any

from tempering.models.saved_weights import check_weights, load_weights
from tempering.onpolicy.actor_critic import ActorCritic
from tempering.onpolicy.algorithm import RolloutMaker
from tempering.onpolicy.guards import CollapseGuard
from tempering.training.soundness import expect, expect_like, read_json

STATE = "onpolicy_state.json"
VALUE = "value_model"


def save(folder: Path, maker: RolloutMaker, guard: CollapseGuard) -> None:
    """Write what is not a weight."""
    (folder / STATE).write_text(json.dumps(_state(maker, guard)))


def check(folder: Path, model: ActorCritic, maker: RolloutMaker, guard: CollapseGuard) -> None:
    """Refuse what `load` could not take over; nothing is changed.

    Raises:
        ArtifactError: the weights are of another model, or cannot be read.
        ValueError: the state has another shape.
    """
    check_weights(model.policy, folder)
    if model.value is not None:
        model.value.check(folder / VALUE)
    # The same names as our own state, with values of the same types.
    tree, own = read_json(folder / STATE), _state(maker, guard)
    expect_like(tree, own, STATE)
    expect_like(tree["shaping"], own["shaping"], STATE)
    expect_like(tree["guard"], dict.fromkeys(tree["guard"], 0), STATE)  # an older version knew fewer signs
    numbers = [tree["rollouts_done"], tree["kl_coef"], *tree["shaping"].values(), *tree["guard"].values()]
    expect(all(0 <= abs(number) < float("inf") for number in numbers), STATE, "a number is not finite")
    expect(tree["rollouts_done"] >= 0 and tree["kl_coef"] >= 0, STATE, "a number is negative")


def load(folder: Path, model: ActorCritic, maker: RolloutMaker, guard: CollapseGuard) -> None:
    """Take all of it over, in place."""
    load_weights(model.policy, folder)
    if model.value is not None:
        model.value.restore(folder / VALUE)
    state = read_json(folder / STATE)
    maker.restore(state)
    guard.streaks = {name: state["guard"].get(name, 0) for name in guard.streaks}


def _state(maker: RolloutMaker, guard: CollapseGuard) -> dict[str, Any]:
    return {**maker.state(), "guard": guard.streaks}
