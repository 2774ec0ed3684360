"""Ways in which a checkpoint can be damaged: each changes the files of one in place."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

Form = Callable[[Path], None]


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.place,)


def bomb_place(checkpoint: Path) -> Path:
    """What a bomb in `checkpoint` would leave."""
    return checkpoint.parent.parent / "the bomb went off"


def cut(name: str) -> Form:
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def empty(name: str) -> Form:
    return lambda folder: os.truncate(folder / name, 0)


def gone(name: str) -> Form:
    return lambda folder: (folder / name).unlink()


def flipped(name: str) -> Form:
    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[-5] ^= 1
        (folder / name).write_bytes(content)

    return damage


def a_folder(name: str) -> Form:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def a_pipe(name: str) -> Form:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return damage


def a_loop(name: str) -> Form:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(name)

    return damage


def text(name: str, content: str) -> Form:
    return lambda folder: (folder / name).write_text(content) and None


def bomb(name: str, zipped: bool) -> Form:
    def damage(folder: Path) -> None:
        if zipped:
            torch.save({"state": Bomb(bomb_place(folder))}, folder / name)
        else:
            (folder / name).write_bytes(pickle.dumps(Bomb(bomb_place(folder))))

    return damage


def saved(name: str, change: Callable[[Any], Any]) -> Form:
    """What torch has saved, with a change."""

    def damage(folder: Path) -> None:
        state = torch.load(folder / name, weights_only=False)
        torch.save(change(state) or state, folder / name)

    return damage


def tensors(name: str, change: Callable[[dict[str, torch.Tensor]], Any]) -> Form:
    def damage(folder: Path) -> None:
        state = load_file(folder / name)
        change(state)
        save_file(state, folder / name)

    return damage


def keys(name: str, **changes: Any) -> Form:
    """A JSON object with other values; None takes a key away."""

    def damage(folder: Path) -> None:
        tree = json.loads((folder / name).read_text()) | changes
        (folder / name).write_text(json.dumps({key: tree[key] for key in tree if tree[key] is not None}))

    return damage


def as_a_whole(change: Callable[[Path], None]) -> Form:
    def damage(folder: Path) -> None:
        shutil.rmtree(folder)
        change(folder)

    return damage


def narrower(state: dict[str, torch.Tensor]) -> None:
    name = next(iter(state))
    state[name] = state[name][..., :-1].contiguous()


def moments_of_another_shape(state: Any) -> None:
    state["state"][0]["exp_avg"] = torch.zeros(3)


WEIGHTS, STATE, OWN = "model.safetensors", "trainer_state.json", "onpolicy_state.json"
OPTIMIZER, SCHEDULE, RANDOM = "optimizer.pt", "scheduler.pt", "rng_state.pth"

FORMS: dict[str, Form] = {
    "weights cut in half": cut(WEIGHTS),
    "weights empty": empty(WEIGHTS),
    "weights missing": gone(WEIGHTS),
    "weights a folder": a_folder(WEIGHTS),
    "weights a pipe": a_pipe(WEIGHTS),
    "weights a link to itself": a_loop(WEIGHTS),
    "weights one tensor fewer": tensors(WEIGHTS, lambda state: state.popitem()),
    "weights of another shape": tensors(WEIGHTS, narrower),
    "weights of another name": tensors(WEIGHTS, lambda state: state.update(more=torch.zeros(2))),
    "weights in half precision": tensors(WEIGHTS, lambda s: s.update({k: v.half() for k, v in s.items()})),
    "optimizer empty": empty(OPTIMIZER),
    "optimizer cut in half": cut(OPTIMIZER),
    "optimizer text": text(OPTIMIZER, "not a state"),
    "optimizer a folder": a_folder(OPTIMIZER),
    "optimizer a pickle": bomb(OPTIMIZER, zipped=False),
    "optimizer a pickle in a zip": bomb(OPTIMIZER, zipped=True),
    "optimizer a list": saved(OPTIMIZER, lambda state: [1, 2]),
    "optimizer without state": saved(OPTIMIZER, lambda state: state["state"].clear()),
    "optimizer of another shape": saved(OPTIMIZER, moments_of_another_shape),
    "optimizer with fewer parameters": saved(
        OPTIMIZER, lambda state: state["param_groups"][0]["params"].pop() and None
    ),
    "optimizer without learning rate": saved(
        OPTIMIZER, lambda state: state["param_groups"][0].pop("lr") and None
    ),
    "schedule empty": empty(SCHEDULE),
    "schedule an empty dictionary": saved(SCHEDULE, lambda state: state.clear()),
    "schedule of another step": saved(SCHEDULE, lambda state: state.update(last_epoch=1)),
    "schedule of other types": saved(SCHEDULE, lambda state: state.update(last_epoch="two")),
    "schedule a pickle": bomb(SCHEDULE, zipped=True),
    "random state missing": gone(RANDOM),
    "random state of another form": saved(RANDOM, lambda state: {"python": 1}),
    "random state a pickle": bomb(RANDOM, zipped=True),
    "trainer state malformed": cut(STATE),
    "trainer state empty": empty(STATE),
    "trainer state missing": gone(STATE),
    "trainer state a list": text(STATE, "[1, 2]"),
    "trainer state nested for ever": text(STATE, "[" * 100_000),
    "trainer state of other types": keys(STATE, num_input_tokens_seen="many"),
    "trainer state of another step": keys(STATE, global_step=10**9),
    "trainer state without count": keys(STATE, global_step=None),
    "trainer state of fewer tokens": keys(STATE, num_input_tokens_seen=1),
    "trainer state with unknown keys": keys(STATE, unknown=1),
    "trainer state without callbacks": keys(STATE, stateful_callbacks={}),
    "a file": as_a_whole(Path.touch),
    "a link to nothing": as_a_whole(lambda folder: folder.symlink_to("nothing")),
}
"""Those of every trainer."""

SEALED: dict[str, Form] = {
    "weights with a flipped bit": flipped(WEIGHTS),
    "optimizer with a flipped bit": flipped(OPTIMIZER),
    "optimizer missing": gone(OPTIMIZER),
    "digests malformed": cut("digests.json"),
    "digests a list": text("digests.json", "[]"),
    "digests of another form": text("digests.json", '{"optimizer.pt": 5}'),
    "the mark of the end missing": gone("finished"),
    "a tokenizer file missing": gone("words.txt"),
}
"""Those that only digests show."""

ON_POLICY: dict[str, Form] = {
    "own state malformed": cut(OWN),
    "own state missing": gone(OWN),
    "own state a list": text(OWN, "[]"),
    "own state of other types": keys(OWN, rollouts_done="three"),
    "own state negative": keys(OWN, rollouts_done=-1),
    "own state not a number": keys(OWN, kl_coef=float("nan")),
    "own state without statistics": keys(OWN, shaping={}),
    "own state with other streaks": keys(OWN, guard={"kl": "one"}),
    "value head cut in half": cut("value_model/value_head.safetensors"),
    "value head missing": gone("value_model/value_head.safetensors"),
    "value head of another shape": tensors("value_model/value_head.safetensors", narrower),
    "value model of another shape": tensors("value_model/model.safetensors", narrower),
}
