"""A user's Python function as a reward, called as TRL calls it.

It gets `prompts`, `completions`, `completion_ids`, every column of the data set, `ended`, and TRL's
`log_extra(column, values)` and `log_metric(name, value)`; of these only what its signature takes.
`form: text` gives strings (TRL's standard format), `form: messages` lists of messages (conversational).
"""

import importlib
import inspect
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tempering.errors import ConfigError, UserError
from tempering.rewards.scoring import Messages, Scores

_TAKEN = ("step", "tokens", "prompt", "completion", "score", "reward", "kl", "length", "ended")


class UserFunction:
    """Callable in TRL's signature; an async function gives something to await.

    Args:
        name: module:function.
        form: text or messages.
    """

    def __init__(self, name: str, form: str) -> None:
        self.name, self.form, self.function = name, form, load_function(name)
        self.extra: dict[str, list[Any]] = {}
        self._kinds: dict[str, type] = {}

    def __call__(
        self, prompts: list[Messages], completions: list[str], **columns: Any
    ) -> Scores | Awaitable[Scores]:
        self.extra = {}
        given = {**self._formed(prompts, completions, columns), **columns}
        given |= {
            "log_extra": self._log_extra(len(completions)),
            "log_metric": self._log_metric(len(completions)),
        }
        try:
            found: Scores | Awaitable[Scores] = self.function(**self._taken(given))
        except UserError:
            raise
        except Exception as error:
            raise self._failed(error) from error
        return self._awaited(found) if inspect.isawaitable(found) else found

    def _formed(self, prompts: list[Messages], completions: list[str], columns: Any) -> dict[str, Any]:
        if self.form == "messages":
            answers = [[{"role": "assistant", "content": text}] for text in completions]
            return {"prompts": prompts, "completions": answers}
        texts = columns.get("query") or [prompt[-1]["content"] if prompt else "" for prompt in prompts]
        return {"prompts": list(texts), "completions": completions}

    def _taken(self, given: dict[str, Any]) -> dict[str, Any]:
        parameters = inspect.signature(self.function).parameters.values()
        if any(one.kind is one.VAR_KEYWORD for one in parameters):
            return given
        return {name: value for name, value in given.items() if name in {one.name for one in parameters}}

    async def _awaited(self, found: Any) -> Scores:
        try:
            return await found  # type: ignore[no-any-return]
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> UserError:
        return UserError(
            f"the reward function {self.name} raised {type(error).__name__}: {error}{self._place(error)}",
            expected="a score or None for each completion",
            fix="correct the function; `form` says whether it is given text or messages",
        )

    def _place(self, error: Exception) -> str:
        """The line of the function's own file, however deep in a library it happened."""
        own = getattr(inspect.unwrap(self.function), "__code__", None)
        frames = traceback.extract_tb(error.__traceback__)
        inside = [frame for frame in frames if own is not None and frame.filename == own.co_filename]
        return f" (line {inside[-1].lineno} of {Path(inside[-1].filename).name})" if inside else ""

    def _log_extra(self, count: int) -> Callable[[str, list[Any]], None]:
        def log_extra(column: str, values: list[Any]) -> None:
            if len(values) != count:
                raise ValueError(f"log_extra({column!r}) has {len(values)} values for {count} completions")
            if column in _TAKEN or column.startswith("score_"):
                raise ValueError(f"log_extra({column!r}): the log has a column of that name")
            self.extra[column] = self._of_one_kind(column, [_plain(value) for value in values])

        return log_extra

    def _of_one_kind(self, column: str, values: list[Any]) -> list[Any]:
        """Numbers or text: a column of the table has one type, in every rollout."""
        there = [value for value in values if value is not None]
        kind = str if any(isinstance(value, str) for value in there) else float
        if there and self._kinds.setdefault(column, kind) is not kind:
            raise ValueError(
                f"log_extra({column!r}) had {self._kinds[column].__name__}s before, and now others"
            )
        return [None if value is None else kind(value) for value in values]

    def _log_metric(self, count: int) -> Callable[[str, float], None]:
        def log_metric(name: str, value: float) -> None:
            self.extra[f"metric_{name}"] = [float(value)] * count  # one table: the same in every row

        return log_metric


def _plain(value: Any) -> Any:
    """What JSON can hold: numbers of numpy and torch as Python's, anything else as its text."""
    value = value.item() if hasattr(value, "item") else value
    return value if value is None or isinstance(value, str | int | float) else str(value)


def load_function(name: str) -> Callable[..., Any]:
    """The function called `module:function`.

    Raises:
        ConfigError: there is none.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # importing it runs its code
        raise ConfigError(
            f"reward function {name!r}: {type(error).__name__}: {error}",
            expected="an importable module:function",
            fix="check the name; the module must be on PYTHONPATH",
        ) from error
    if not callable(found):
        raise ConfigError(f"reward function {name!r} is {type(found).__name__}", expected="a function")
    return found  # type: ignore[no-any-return]
