"""Keys and passwords: told by how they look, so that none is printed or stored where a person pasted it.

A key belongs in an environment variable, and a config may hold the variable's name. `looks_secret` finds what
a config must not hold; `masked` makes a message or a command line safe to print and to keep.
"""

import base64
import json
import os
import re
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

HIDDEN = "[hidden]"

# What the services write before a key; then a long word, or a shorter one that no language has. Folders may
# well be called `hf_ultrachat200k`, or `sk-en-2024` after a language.
_SCRAMBLED = r"[A-Za-z]\d{1,99}[A-Za-z]{1,99}\d"  # bounded like all here: a log may have lines without end
_MIXED = rf"(?=[\w\-]{{0,99}}(?:{_SCRAMBLED}|[a-z][A-Z][a-z][A-Z]))"
_KEYS = (
    rf"sk-(?:[A-Za-z0-9]{{16,}}|(?:proj|ant|svcacct|admin)-[\w\-]{{10,}}|{_MIXED}[\w\-]{{10,}})",
    rf"(?:hf|gsk|r8|npm|gh[pousr]|[sr]k_live|sk_test)_(?:[A-Za-z0-9]{{30,}}|{_MIXED}[A-Za-z0-9]{{10,}})",
    r"(?:github_pat_|glpat-|pypi-|nvapi-|xai-|pplx-|dop_v1_|xox[abprs]-)[\w\-]{12,}",
    r"(?:AKIA|ASIA)[A-Z0-9]{12,}|AIza[\w\-]{20,}|ya29\.[\w\-]{12,}|eyJ[\w\-]{10,999}+\.[\w\-]+",
)
_URL = r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"
_QUERY = r"(?i:(?<=[?&])(?:api[_-]?key|access_token|token|secret|password|sig|signature)=[^&\s'\"]+)"
_PRIVATE = r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----|[\s\S]*)"
_BEARER = r"(?<=Bearer )[\w.\-~+/=]{12,}|(?<=Basic )[\w+/=]{8,}"
_SECRET = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(_KEYS)})|{_URL}|{_QUERY}|{_PRIVATE}|{_BEARER}")

NAMES = re.compile(
    r"(?i)(?:^|[._-])(?:(?:api|access|secret|private|auth|hf|hub|openai|anthropic|aws)[_-]?key(?:[_-]?id)?|"
    r"secret|passwords?|passwd|credentials?|authorization|bearer|(?:hf|hub|access|auth|api)[_-]?token)$|"
    r"(?:^|[.-])token$"
)
"""Settings that people give keys to, the last part of a dotted path; `api_key_env` takes a name."""
_SET = re.compile(
    r"""(?<![\w.\-])([\w.\-]++)(['"]?\s*+(?:=|:(?=\s*['"]))\s*)(?!\.\.\.)("[^"]*"|'[^']*'|[^\s'"]+)"""
)
_GIVEN = re.compile(
    r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSPHRASE|CREDENTIALS?|PAT|AUTH|AUTH_STRING)(?:_\d+)?$|"
    r"(?:PASSWORD|PASSWD|_PWD)$"
)
"""Environment variables that hold a key; `name_key` adds those that a config names."""
_PASSWORD = re.compile(r"://[^\s/@:]*:([^\s/@]+)@")
_SHORTEST, _SHORTEST_WORD = 8, 12  # letters; `tempering` stands in many a sentence
_WORD = re.compile(r"[A-Z]?[a-z_.\- ]+|[A-Z_.\- ]+|[0-9.:\-]+")
_named: set[str] = set()
_KEYLIKE = re.compile(r"(?:sk|pk|rk|gsk|hf|r8|npm|gh[pousr]|github_pat)_")


def looks_secret(text: str) -> bool:
    """Whether a text holds what looks like a key or a password, or is one of the environment's."""
    return _holds(text, _in_environment())


def masked(text: str) -> str:
    """`text` without its keys: what looks like one, is set as one, or is one of the environment's."""
    for value in _in_environment():
        text = text.replace(value, HIDDEN)
    text = _SECRET.sub(HIDDEN, text)
    return _SET.sub(lambda part: f"{part[1]}{part[2]}{HIDDEN}" if NAMES.search(part[1]) else part[0], text)


def secret_places(tree: Any, at: tuple[str, ...] = ()) -> Iterator[str]:
    """The dotted paths of `tree` whose name or text looks like a key, none of it shown."""
    yield from _secret_places(tree, at, _in_environment())  # read once: a config has hundreds of texts


def _secret_places(tree: Any, at: tuple[str, ...], given: tuple[str, ...]) -> Iterator[str]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            place = (*at, str(name))
            if _holds(str(name), given):
                yield _place(place)
            yield from _secret_places(value, place, given)
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield from _secret_places(value, (*at, str(index)), given)
    elif isinstance(tree, str) and _holds(tree, given):
        yield _place(at)


def _holds(text: str, given: tuple[str, ...]) -> bool:
    return bool(_SECRET.search(text)) or any(value in text for value in given)


def _place(names: tuple[str, ...]) -> str:
    return ".".join(map(masked, names))


def is_variable_name(text: str) -> bool:
    """Whether a text is the name of an environment variable, and no key that happens to be made like one."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", text) or looks_secret(text):
        return False
    if _KEYLIKE.match(text) and not NAMES.search(text):
        return False
    # Names are words; a key has long runs of letters and digits, or of both cases.
    return not any(
        (len(word) >= 12 and re.search(_SCRAMBLED, word))
        or (len(word) >= 20 and re.search(r"[a-z]", word) and re.search(r"[A-Z]", word))
        or len(word) >= 32
        for word in text.split("_")
    )


def name_key(variable: str) -> None:
    """From now on what this environment variable holds is hidden too."""
    _named.add(variable)


def _in_environment() -> tuple[str, ...]:
    """The keys and passwords that this process was given, as they may be written, the longest first."""
    items = [(name, value) for name, value in os.environ.items() if len(value) >= _SHORTEST]
    keys = tuple(value for name, value in items if name in _named or _names_key(name))
    addresses = tuple(value for _, value in items if "://" in value)
    return _written(keys, addresses)


@cache
def _names_key(variable: str) -> bool:
    return bool(_GIVEN.search(variable.upper()))


@lru_cache(maxsize=4)
def _written(keys: tuple[str, ...], addresses: tuple[str, ...]) -> tuple[str, ...]:
    # Of a key of several lines each; of an address, as a database's, and of `user:password` the password.
    parts = [password for address in addresses for password in _PASSWORD.findall(address)]
    for key in keys:
        parts += [*key.splitlines(), key.partition(":")[2] if key.count(":") == 1 else ""]
        parts += [base64.b64encode(key.encode()).decode()] if ":" in key else []
    # As it is, in an address and in JSON.
    forms = {form for part in parts for form in (part, unquote(part), quote(part, safe=""))}
    forms |= {json.dumps(form)[1:-1] for form in forms}
    return tuple(sorted(filter(_is_findable, forms), key=len, reverse=True))


def _is_file(name: str) -> bool:
    try:
        return Path(name).expanduser().exists()
    except (OSError, RuntimeError):  # as `~` before a name that no user has
        return False


def _is_findable(value: str) -> bool:
    """Whether a value is long enough to be hidden wherever it stands, and is no word or file of everyday."""
    if value.startswith(("/", "~/", "./")) and _is_file(value):
        return False
    return len(value) >= (_SHORTEST_WORD if _WORD.fullmatch(value) else _SHORTEST)
