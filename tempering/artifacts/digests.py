"""SHA-256 of files, with a cache keyed by path, size and modification time.

Like git's index the cache distrusts a file changed within the last two seconds: it could change
again without its time showing it.
"""

import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path

from tempering.artifacts.atomic import read_file, write_atomic
from tempering.errors import ConfigError

_RACY = 2_000_000_000  # ns
_MOST = 20_000  # entries


def sha256_file(path: Path) -> str:
    """The file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class DigestCache:
    """Digests of files, remembered in `<store>/.cache/digests.json`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, list[int | str]] | None = None
        self._additions: dict[str, list[int | str]] = {}

    def sha256(self, path: Path) -> str:
        """The digest of `path`, from the cache where size and time have not changed."""
        path = path.absolute()
        stat = path.stat()
        entry = self._load().get(str(path))
        if entry is not None and entry[:2] == [stat.st_size, stat.st_mtime_ns]:
            return str(entry[2])
        digest = sha256_file(path)
        after = path.stat()
        unchanged = (after.st_size, after.st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
        if unchanged and time.time_ns() - stat.st_mtime_ns > _RACY:
            self._additions[str(path)] = self._load()[str(path)] = [stat.st_size, stat.st_mtime_ns, digest]
        return digest

    def save(self) -> None:
        """Write new digests; a cache that cannot be written is only slower."""
        if not self._additions:
            return
        merged = {**self._read(), **self._additions}
        if len(merged) > _MOST:
            merged = {path: entry for path, entry in merged.items() if Path(path).exists()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path, json.dumps(merged).encode(), durable=False)
        except OSError:
            return
        self._additions.clear()

    def _load(self) -> dict[str, list[int | str]]:
        if self._entries is None:
            self._entries = self._read()
        return self._entries

    def _read(self) -> dict[str, list[int | str]]:
        try:
            tree = json.loads(read_file(self.path))
        except (OSError, ValueError, RecursionError):
            return {}
        entries = tree.items() if isinstance(tree, dict) else ()
        return {path: entry for path, entry in entries if isinstance(entry, list) and len(entry) == 3}


def external_digests(files: Iterable[tuple[str, Path]], cache: DigestCache) -> list[tuple[str, str]]:
    """(name, digest) of each named file, and of all files inside each folder, in order.

    Raises:
        ConfigError: naming a file that is missing or cannot be read.
    """
    digests: list[tuple[str, str]] = []
    for name, path in files:
        try:
            if path.is_dir():
                inside = sorted(file for file in path.rglob("*") if file.is_file())
                names = (f"{name}/{file.relative_to(path).as_posix()}" for file in inside)
                digests += zip(names, map(cache.sha256, inside), strict=True)
            elif path.exists() and not path.is_file():  # reading a pipe might never end
                raise ConfigError(f"{path} is not a regular file", expected="a file or a folder")
            else:
                digests.append((name, cache.sha256(path)))
        except OSError as error:
            raise ConfigError(
                f"cannot read {path}: {error.strerror}",
                expected="a local file that the configuration names",
                fix="put the file there, or correct its path in the configuration",
            ) from None
    cache.save()
    return digests
