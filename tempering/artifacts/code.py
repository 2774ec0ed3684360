"""Which code made an artifact: the git state, and a digest per project module that the stage uses.

Recorded and shown by `plan`; it does not by itself invalidate days of training (`--strict-code`
makes it). Imports are found by reading the text, not by importing: planning stays fast. The
store's own plumbing is left out, since it does not decide what a stage computes.
"""

import hashlib
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from tempering.artifacts.manifest import CodeState

_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)|import[ \t]+([\w.]+))", re.MULTILINE
)
_PLUMBING = (
    "tempering",
    "tempering.artifacts",
    "tempering.config",
    "tempering.config_file",
    "tempering.credentials",
    "tempering.errors",
    "tempering.runtime",
    "tempering.validation",
    "tempering.yaml_text",
)


def code_files(module: str) -> dict[str, str]:
    """Module -> digest (16 digits) for `module` and all project modules it imports, directly or not."""
    digests: dict[str, str] = {}
    queue = [module]
    looked_up: set[str] = set()
    while queue:
        name = queue.pop()
        if name in looked_up or _is_plumbing(name):
            continue
        looked_up.add(name)  # most names are no modules, and each is imported in many places
        path = _file(name)
        if path is None:
            continue
        digest, imports = _scan(path, path.stat().st_mtime_ns)
        digests[name] = digest
        queue += imports
    return dict(sorted(digests.items()))


def code_changes(before: dict[str, str], after: dict[str, str]) -> list[tuple[str, str | None, str | None]]:
    """(module, digest before, digest after) of each module that differs."""
    names = sorted(before.keys() | after.keys())
    return [
        (name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)
    ]


def code_state(files: Mapping[str, str]) -> CodeState:
    """Everything a manifest records about the code: `files` (see `code_files`) and the git state now."""
    commit = _git("rev-parse", "HEAD")
    status = _git("status", "--porcelain") if commit else None
    return CodeState(commit=commit or None, dirty=bool(status) if commit else None, files=dict(files))


def _is_plumbing(name: str) -> bool:
    return name in _PLUMBING or name.startswith("tempering.artifacts.")


def _file(name: str) -> Path | None:
    """The source of a module of the packages `tempering` and `tasks` (or of any that is imported)."""
    package, *parts = name.split(".")
    top = sys.modules.get(package)
    if package not in ("tempering", "tasks") or top is None or not getattr(top, "__path__", None):
        origin = getattr(sys.modules.get(name), "__file__", None)
        return Path(origin) if origin and "site-packages" not in origin else None
    base = Path(next(iter(top.__path__))).joinpath(*parts)
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


@cache
def _scan(path: Path, _mtime_ns: int) -> tuple[str, tuple[str, ...]]:
    text = path.read_bytes()
    names: list[str] = []
    for source, targets, plain in _IMPORT.findall(text.decode(errors="replace")):
        names.append(source or plain)
        names += [f"{source}.{word}" for word in re.findall(r"\w+", targets)] if source else []
    imports = tuple(name for name in names if name.split(".")[0] in ("tempering", "tasks"))
    return hashlib.sha256(text).hexdigest()[:16], imports


def _git(*arguments: str) -> str | None:
    folder = Path(__file__).parent
    if "site-packages" in folder.parts:  # installed: a repository around it is somebody else's
        return None
    try:
        process = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() if process.returncode == 0 else None
