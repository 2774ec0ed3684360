"""Answers of servers, kept between runs in a SQLite file, so that nobody pays twice for one question.

The key is a digest of the address and the whole question with its settings; no key of a server and no
question is in the file. Each answer is a transaction of its own, so several processes may write at once, and
one that is killed loses at most the answer it was writing. Failures are never kept: they are asked again.
"""

import hashlib
import json
import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tempering.errors import ConfigError

IN_STORE = Path(".cache") / "answers.sqlite"
_WAIT = 60.0  # seconds for another process to let go of the file
_TABLE = (
    "CREATE TABLE IF NOT EXISTS answers "
    "(key TEXT PRIMARY KEY, model TEXT NOT NULL, answer TEXT NOT NULL, time TEXT NOT NULL)"
)


class AnswerCache:
    """Question -> answer.

    Raises:
        ConfigError: the file is no such cache, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._rows = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
            self._rows.execute(_TABLE)
            self._rows.execute("SELECT key, answer FROM answers LIMIT 1").fetchone()
        except (sqlite3.Error, OSError) as error:
            raise ConfigError(
                f"the cache of answers {path} cannot be used: {error}",
                expected="a SQLite file that this project has made, or a place for one",
                fix="remove the file, name another one in endpoint.cache, or set endpoint.cache: null",
            ) from None

    def get(self, key: str) -> str | None:
        """The answer, if the question has been answered; None, too, where the file cannot be read now."""
        with self._lock:
            try:
                row = self._rows.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
            except sqlite3.Error:  # asking again costs less than a run
                return None
        return row[0] if row and isinstance(row[0], str) else None

    def put(self, key: str, model: str, answer: str) -> None:
        """Keep an answer; the first one stays. A full disk costs no more than the entry."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._lock:
            try:
                self._rows.execute(
                    "INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", (key, model, answer, now)
                )
            except sqlite3.Error:
                return

    def close(self) -> None:
        """Let go of the file."""
        self._rows.close()


def key_of(address: str, body: dict[str, Any]) -> str:
    """The digest of a question: whom it goes to, its words and its settings."""
    return hashlib.sha256(json.dumps([address, body], sort_keys=True).encode()).hexdigest()


def store_of(draft: Path) -> Path | None:
    """The store that a draft is in; None for one outside of any."""
    return draft.parent.parent if draft.parent.name == ".partial" else None
