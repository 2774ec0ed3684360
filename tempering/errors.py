"""The exception tree.

A `UserError` is something a person can mend: the command line prints it without a traceback
and exits with code 2. Everything else (our own broken invariants, a library's failure) keeps
its traceback. A message says what was found, what was expected and what to do.
"""


class TemperingError(Exception):
    """Base of all errors raised on purpose by this project."""


class UserError(TemperingError):
    """A mistake in the input: config, data, command line or environment.

    Args:
        found: what was found, with the place (file, line, key).
        expected: what would have been right.
        fix: what to do about it.
    """

    def __init__(self, found: str, *, expected: str = "", fix: str = "") -> None:
        self.found, self.expected, self.fix = found, expected, fix
        parts = [found]
        if expected:
            parts.append(f"  expected: {expected}")
        if fix:
            parts.append(f"  fix: {fix}")
        super().__init__("\n".join(parts))

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross a process boundary; keyword arguments need spelling out for that.
        return _rebuild, (type(self), self.found, self.expected, self.fix)


def _rebuild(kind: "type[UserError]", found: str, expected: str, fix: str) -> UserError:
    return kind(found, expected=expected, fix=fix)


class ConfigError(UserError):
    """The configuration does not validate, or names something that does not exist."""


class DataError(UserError):
    """Rows that cannot be read, are of another schema, or would make training meaningless."""


class ArtifactError(UserError):
    """An artifact that is not there, is ambiguous, damaged or of another kind."""


class StoreError(UserError):
    """The artifact store cannot be read or written."""


class GateFailed(UserError):
    """A model is not good enough for what is made from it. Exit code 3."""


class StageStopped(TemperingError):
    """The stage was told to end, and has written a checkpoint; the message says where it resumes."""


class StageFailed(TemperingError):
    """A stage ended with an error; the message is the root failure's. Exit code 1."""
