"""What a stage may spend on a server: counted before a request is sent, corrected when its reply is there.

Nobody knows beforehand how many tokens a server counts, so a request reserves what it can cost at most (a
token for each byte of the question, the longest answer) and is sent only if that still fits. The sum stands
in a SQLite file of the draft: a resumed run goes on with it, and all processes of a run share it. What a
process had reserved when it was killed counts as spent: the server may have charged for it.
"""

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path

from tempering.errors import UserError
from tempering.rewards.endpoint.config import Budget

SPENDING_FILE = "spending.sqlite"
_TEMPLATE = 64  # tokens that a chat template may put around a question
_WAIT = 60.0  # seconds for another process to let go of the file
_TABLE = (
    "CREATE TABLE IF NOT EXISTS spending (name TEXT PRIMARY KEY, requests INTEGER NOT NULL, "
    "questions INTEGER NOT NULL, answers INTEGER NOT NULL)"
)
_RESERVE = """
UPDATE spending
SET requests = requests + 1, questions = questions + :questions, answers = answers + :answers
WHERE name = :name AND requests < :requests AND questions + answers + :questions + :answers <= :tokens
AND (questions + :questions) * :input + (answers + :answers) * :output <= :money
"""


@dataclass(frozen=True)
class Use:
    """Requests, and the tokens of their questions and answers."""

    requests: int
    questions: int
    answers: int

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.questions + self.answers

    def shown(self, budget: Budget) -> str:
        """`12 requests, 3,400 tokens, cost 0.02`."""
        cost = budget.cost(self.questions, self.answers)
        priced = f", cost {cost:.4g}" if cost else ""
        plural = "" if self.requests == 1 else "s"
        return f"{self.requests:,} request{plural}, {self.tokens:,} tokens{priced}"


def most(text_bytes: int, max_tokens: int) -> Use:
    """What one request can cost at most."""
    return Use(1, text_bytes + _TEMPLATE, max_tokens)


class Ledger:
    """What has been spent.

    Args:
        budget: what may be.
        name: of who spends; several share a file.
        path: the file; None: only this object knows.
    """

    def __init__(self, budget: Budget, name: str, path: Path | None = None) -> None:
        self.budget, self.name = budget, name
        self._lock = threading.Lock()
        self._rows = sqlite3.connect(
            path or ":memory:", timeout=_WAIT, isolation_level=None, check_same_thread=False
        )
        self._rows.execute(_TABLE)
        self._rows.execute("INSERT OR IGNORE INTO spending VALUES (?, 0, 0, 0)", (name,))

    @property
    def spent(self) -> Use:
        """Everything so far, reservations included."""
        with self._lock:
            row = self._rows.execute(
                "SELECT requests, questions, answers FROM spending WHERE name = ?", (self.name,)
            ).fetchone()
        return Use(*row)

    def reserve(self, use: Use) -> None:
        """Count a request before it is sent.

        Raises:
            UserError: it might cost more than is left.
        """
        budget, endless = self.budget, 1 << 62
        limits = {
            "name": self.name,
            "questions": use.questions,
            "answers": use.answers,
            "requests": budget.max_requests or endless,
            "tokens": budget.max_tokens or endless,
            "input": budget.input_price,
            "output": budget.output_price,
            "money": float("inf") if budget.max_cost is None else budget.max_cost * 1e6,
        }
        try:
            with self._lock:
                fits = self._rows.execute(_RESERVE, limits).rowcount == 1
        except sqlite3.Error as error:  # what cannot be counted is not sent
            raise UserError(
                f"the ledger of {self.name} cannot be written: {error}", fix="see to the disk, and run again"
            ) from None
        if not fits:
            raise UserError(
                f"the budget of {self.name} does not allow another request, which may need "
                f"{use.tokens:,} tokens: {self.spent.shown(budget)} are spent",
                expected=f"at most {limits_of(budget)}",
                fix="raise endpoint.budget and run again: the answers so far are kept",
            )

    def correct(self, reserved: Use, used: Use) -> None:
        """Replace what a request reserved by what it used."""
        with self._lock:
            self._rows.execute(
                "UPDATE spending SET questions = questions + ?, answers = answers + ? WHERE name = ?",
                (used.questions - reserved.questions, used.answers - reserved.answers, self.name),
            )

    def close(self) -> None:
        """Let go of the file."""
        self._rows.close()


def fits(budget: Budget, spent: Use, more: Use) -> bool:
    """Whether so much more is within the budget."""
    limits = (
        (budget.max_requests, spent.requests + more.requests),
        (budget.max_tokens, spent.tokens + more.tokens),
        (budget.max_cost, budget.cost(spent.questions + more.questions, spent.answers + more.answers)),
    )
    return all(limit is None or total <= limit for limit, total in limits)


def limits_of(budget: Budget) -> str:
    """`100 requests, 50,000 tokens, cost 2`: what is limited."""
    parts = (
        (budget.max_requests, "{:,} requests"),
        (budget.max_tokens, "{:,} tokens"),
        (budget.max_cost, "cost {:g}"),
    )
    return ", ".join(text.format(limit) for limit, text in parts if limit is not None)
