"""What an on-policy checkpoint holds beside Trainer's own: policy, value model, what a rollout needs."""

import json
from pathlib import Path
from typing import Any

from tempering.models.saved_weights import load_weights
from tempering.onpolicy.actor_critic import ActorCritic
from tempering.onpolicy.algorithm import RolloutMaker
from tempering.onpolicy.guards import CollapseGuard

STATE = "onpolicy_state.json"
VALUE = "value_model"


def save(folder: Path, maker: RolloutMaker, guard: CollapseGuard) -> None:
    """Write what is not a weight."""
    (folder / STATE).write_text(json.dumps(_state(maker, guard)))


def load(folder: Path, model: ActorCritic, maker: RolloutMaker, guard: CollapseGuard) -> None:
    """Take all of it over, in place."""
    load_weights(model.policy, folder)
    if model.value is not None:
        model.value.restore(folder / VALUE)
    state = json.loads((folder / STATE).read_text())
    maker.restore(state)
    guard.streaks = {name: state["guard"].get(name, 0) for name in guard.streaks}


def _state(maker: RolloutMaker, guard: CollapseGuard) -> dict[str, Any]:
    return {**maker.state(), "guard": guard.streaks}
