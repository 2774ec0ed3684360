"""Reward functions as a user would write them."""

import asyncio
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np


def brevity(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
    """Shorter is better."""
    return [-float(len(text)) for text in completions]


def undecided(prompts: list[str], completions: list[str], **_: Any) -> list[float | None]:
    """Scores every second completion."""
    return [None if index % 2 else 1.0 for index, _ in enumerate(completions)]


def of_a_plain_prompt(prompts: list[str], **_: Any) -> list[float]:
    """Scores a prompt that it knows."""
    return [float(prompt == "Be brief.\n\nHow old is Lily? She is 6.\n\nAnd Tom?") for prompt in prompts]


def of_messages(prompts: list[Any], completions: list[Any], **_: Any) -> list[float]:
    """Written for TRL's conversational format."""
    return [
        float(len(answer[0]["content"]) + len(prompt[-1]["content"]))
        for prompt, answer in zip(prompts, completions, strict=True)
    ]


def narrow(completions: list[str], ended: list[bool]) -> list[float]:
    """Without **kwargs: it gets what it asks for."""
    return [float(done) for done in ended]


def logging(
    completions: list[str], completion_ids: list[Any], log_extra: Any, log_metric: Any, **_: Any
) -> Any:
    """Logs as TRL lets it."""
    log_extra("ids", [len(ids) for ids in completion_ids])
    log_metric("seen", len(completions))
    return [0.0] * len(completions)


def broken(completions: list[str], **_: Any) -> list[float]:
    """Has a mistake."""
    return [1 / 0]


def slow(completions: list[str], **_: Any) -> list[float]:
    """Takes its time."""
    time.sleep(0.3)
    return [0.0 for _ in completions]


def leaving(completions: list[str], **_: Any) -> list[float]:
    """Was a script once."""
    sys.exit(3)


def leaving_later(completions: list[str], **_: Any) -> Any:
    """A generator that leaves."""
    yield 1.0
    sys.exit("no more")


def leaving_from_a_pool(completions: list[str], **_: Any) -> list[float]:
    """Its threads leave."""
    with ThreadPoolExecutor(1) as pool:
        return list(pool.map(leaving, completions))  # type: ignore[arg-type]


async def interrupting(completions: list[str], **_: Any) -> list[float]:
    """Raises what Ctrl-C raises."""
    raise KeyboardInterrupt


def ending_the_process(completions: list[str], **_: Any) -> list[float]:
    """Leaves no chance to say why."""
    os._exit(3)


def too_few(completions: list[str], **_: Any) -> list[float]:
    """Forgets the last one."""
    return [0.5] * (len(completions) - 1)


meeting: list[str] = []


async def first(completions: list[str], **_: Any) -> list[float]:
    """Waits until the second one is on its way."""
    meeting.append("first begins")
    await asyncio.sleep(0.01)
    meeting.append("first ends")
    return [1.0] * len(completions)


async def second(completions: list[str], **_: Any) -> list[float | None]:
    """Begins before the first one has ended."""
    meeting.append("second begins")
    await asyncio.sleep(0.02)
    return [2.0, *[None] * (len(completions) - 1)]


async def failing(completions: list[str], **_: Any) -> list[float]:
    """Has a mistake that comes late."""
    await asyncio.sleep(0)
    raise KeyError("nothing")


def texts(completions: list[str], **_: Any) -> Any:
    """Numbers as texts."""
    return ["0.5"] * len(completions)


def deep(completions: list[str], **_: Any) -> list[float]:
    """Fails inside of a library."""
    return [json.loads(text) for text in completions]


def greedy(completions: list[str], answer: list[str]) -> list[float]:
    """Wants a column that is not there."""
    return [float(text in answer) for text in completions]


def overwriting(completions: list[str], log_extra: Any, **_: Any) -> list[float]:
    """Logs under a name that the log has."""
    log_extra("score", completions)
    return [0.0] * len(completions)


def short_log(completions: list[str], log_extra: Any, **_: Any) -> list[float]:
    """Logs too little."""
    log_extra("mine", [1])
    return [0.0] * len(completions)


def numpy_log(completions: list[str], log_extra: Any, **_: Any) -> Any:
    """Numbers as numpy has them."""
    log_extra("mine", np.full(len(completions), 0.5))
    return np.zeros(len(completions))


lock = asyncio.Lock()


async def patient(completions: list[str], **_: Any) -> list[float]:
    """Two wait for one lock, as for a client's connections: it belongs to the loop it first waited in."""

    async def one() -> float:
        async with lock:
            await asyncio.sleep(0)
            return 1.0

    return list(await asyncio.gather(one(), one()))[: len(completions)]


calls = 0


def changing(completions: list[str], log_extra: Any, **_: Any) -> list[float]:
    """Logs numbers in one call and text in the next."""
    global calls
    calls += 1
    log_extra("seen", [calls if calls % 2 else "odd"] * len(completions))
    return [0.0] * len(completions)
