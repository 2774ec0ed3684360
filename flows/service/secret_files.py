"""Start a command with its secrets read from files: `python -m flows.service.secret_files COMMAND ...`.

Containers are given secrets as files, Prefect takes them from the environment. For each variable below that
names a file, `PREFECT_API_AUTH_STRING_FILE` say, the variable without `_FILE` is set, in this process and so
in the command's alone: neither `ps` nor the description of the container ever shows it.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from tempering.errors import UserError

SECRETS = ("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_SERVER_DATABASE_PASSWORD")


def with_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with the secrets whose files it names.

    Raises:
        UserError: a file cannot be read, is empty or has several lines; or a secret is given twice.
    """
    whole = dict(environment)
    for name in SECRETS:
        path = whole.pop(f"{name}_FILE", "")
        if not path:
            continue
        if name in environment:
            raise UserError(f"{name} and {name}_FILE are both set", fix="unset one of them")
        whole[name] = read_line(path, f"{name}_FILE", login=name.endswith("AUTH_STRING"))
    return whole


def read_line(path: str, source: str, *, login: bool = False) -> str:
    """The one line of a file that `source` names: a secret, with `login` of the form user:password.

    Raises:
        UserError: the file cannot be read, or holds something else.
    """
    file, form = (
        f"{path}, which {source} names,",
        "one line user:password" if login else "one line, the secret",
    )
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UserError(
            f"{file} cannot be read: {reason}", expected="a file that the user of this process may read"
        ) from None
    if not text or "\n" in text:
        raise UserError(f"{file} {'has several lines' if text else 'is empty'}", expected=form)
    if login and not all(text.partition(":")):
        raise UserError(f"{file} holds no auth string", expected=form)
    return text


def main(command: list[str]) -> NoReturn:
    """Become `command`, with the secrets."""
    if not command:
        raise SystemExit("usage: python -m flows.service.secret_files COMMAND ...")
    try:
        environment = with_secrets(os.environ)
        os.execvpe(command[0], command, environment)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except OSError as error:
        print(f"error: {command[0]} cannot be started: {error.strerror}", file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main(sys.argv[1:])
