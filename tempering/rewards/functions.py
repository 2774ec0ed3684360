"""A user's Python function as a reward, called as TRL calls it.

It gets those of these arguments that its signature takes: `prompts`, `completions`, `completion_ids`, every
column of the data set, `ended`, and TRL's `log_extra(column, values)` and `log_metric(name, value)`.
`form: text` passes strings (TRL's standard format): a prompt is what its messages say, without the policy's
marks of roles. `form: messages` passes lists of messages (conversational).
"""

import asyncio
import importlib
import inspect
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tempering.data.prompt_format import plain_text
from tempering.errors import ConfigError, UserError
from tempering.rewards.scoring import Messages, Scores

if TYPE_CHECKING:
    from tempering.artifacts.draft import Draft

_LOG_COLUMNS = ("step", "tokens", "prompt", "completion", "score", "reward", "kl", "length", "ended")


class UserFunction:
    """Callable in TRL's signature; an async function gives something to await.

    Args:
        name: module:function.
        form: text or messages.
        out: the draft of the stage; it says where the function ended the process, should it do so.
    """

    def __init__(self, name: str, form: str, out: "Draft | None" = None) -> None:
        self.name, self.form = name, form
        self._inside = partial(out.doing, f"the reward function {name}") if out else nullcontext
        with self._inside():
            self.function = load_function(name)
        self.extra: dict[str, list[Any]] = {}
        self._kinds: dict[str, type] = {}

    def __call__(
        self, prompts: list[Messages], completions: list[str], **columns: Any
    ) -> Scores | Awaitable[Scores]:
        self.extra = {}
        arguments = {**self._texts(prompts, completions), **columns}
        arguments |= {
            "log_extra": self._log_extra(len(completions)),
            "log_metric": self._log_metric(len(completions)),
        }
        try:
            with self._inside():
                scores: Scores | Awaitable[Scores] = self.function(**self._accepted(arguments))
                scores = list(scores) if isinstance(scores, Iterator) else scores  # a generator runs here
        except UserError:
            raise
        except BaseException as error:  # sys.exit() in it must not look like an end of the stage's own
            raise self._failed(error) from error
        return self._awaited(scores) if inspect.isawaitable(scores) else scores

    def _texts(self, prompts: list[Messages], completions: list[str]) -> dict[str, Any]:
        if self.form == "messages":
            answers = [[{"role": "assistant", "content": text}] for text in completions]
            return {"prompts": prompts, "completions": answers}
        return {"prompts": [plain_text(prompt) for prompt in prompts], "completions": completions}

    def _accepted(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments that the function's signature takes."""
        parameters = inspect.signature(self.function).parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            return arguments
        return {name: value for name, value in arguments.items() if name in parameters}

    async def _awaited(self, scores: Any) -> Scores:
        try:
            with self._inside():
                return await scores  # type: ignore[no-any-return]
        except (UserError, asyncio.CancelledError):
            raise
        except BaseException as error:
            raise self._failed(error) from error

    def _failed(self, error: BaseException) -> UserError:
        deed = "raised" if isinstance(error, Exception) else "ended the process: it raised"
        return UserError(
            f"the reward function {self.name} {deed} {type(error).__name__}: {error}{self._place(error)}",
            expected="a score or None for each completion",
            fix="correct the function; `form` decides whether it gets text or messages",
        )

    def _place(self, error: BaseException) -> str:
        """The line in the function's own file, even when a library raised the error."""
        own = getattr(inspect.unwrap(self.function), "__code__", None)
        frames = traceback.extract_tb(error.__traceback__)
        inside = [frame for frame in frames if own is not None and frame.filename == own.co_filename]
        return f" (line {inside[-1].lineno} of {Path(inside[-1].filename).name})" if inside else ""

    def _log_extra(self, count: int) -> Callable[[str, list[Any]], None]:
        def log_extra(column: str, values: list[Any]) -> None:
            if len(values) != count:
                raise ValueError(f"log_extra({column!r}) has {len(values)} values for {count} completions")
            if column in _LOG_COLUMNS or column.startswith("score_"):
                raise ValueError(f"log_extra({column!r}): the log already has a column of that name")
            self.extra[column] = self._of_one_kind(column, [_plain(value) for value in values])

        return log_extra

    def _of_one_kind(self, column: str, values: list[Any]) -> list[Any]:
        """Numbers or text: a column of the table has one type, in every rollout."""
        present = [value for value in values if value is not None]
        kind = str if any(isinstance(value, str) for value in present) else float
        first = self._kinds.setdefault(column, kind) if present else kind
        if first is not kind:
            raise ValueError(f"log_extra({column!r}) had {first.__name__}s before, now {kind.__name__}s")
        return [None if value is None else kind(value) for value in values]

    def _log_metric(self, count: int) -> Callable[[str, float], None]:
        def log_metric(name: str, value: float) -> None:
            self.extra[f"metric_{name}"] = [
                float(value)
            ] * count  # the log has rows only: the same value in each

        return log_metric


def _plain(value: Any) -> Any:
    """A value for JSON: numbers of numpy and torch as Python's, anything else as text."""
    value = value.item() if hasattr(value, "item") else value
    return value if value is None or isinstance(value, str | int | float) else str(value)


def load_function(name: str) -> Callable[..., Any]:
    """The function called `module:function`.

    Raises:
        ConfigError: it cannot be imported, or is not callable.
    """
    module, _, attribute = name.partition(":")
    try:
        function = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # importing it runs its code
        raise ConfigError(
            f"reward function {name!r}: {type(error).__name__}: {error}",
            expected="an importable module:function",
            fix="check the name; the module must be on PYTHONPATH",
        ) from error
    if not callable(function):
        raise ConfigError(f"reward function {name!r} is a {type(function).__name__}", expected="a function")
    return function  # type: ignore[no-any-return]
