"""What is still to be sent to the Prefect server: the newest state of each thing, sent by one thread.

Putting something in takes microseconds and never fails. While the server does not answer, a newer state takes
the place of an older one, so that memory stays bounded, and all of it goes out when the server is back.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0  # seconds between tries
Send = Callable[[], None]


class Outbox:
    """Messages by key, sent one after the other by a thread that starts with the first.

    Args:
        temporary: whether an error will pass; the message is sent again then.
        refused: told of a message that cannot be sent at all, which is dropped.
    """

    def __init__(
        self, temporary: Callable[[Exception], bool], refused: Callable[[str, Exception], None]
    ) -> None:
        self.temporary, self.refused = temporary, refused
        self._messages: OrderedDict[str, Send] = OrderedDict()
        self._change = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def put(self, key: str, send: Send) -> None:
        """Send this soon, in the place of an older message of the same key; nothing once it is closed."""
        with self._change:
            if self._closing:
                return
            self._messages[key] = send
            if self._thread is None:
                # A daemon: a server that never answers must not keep the run's process from ending.
                self._thread = threading.Thread(target=self._work, name="pages", daemon=True)
                self._thread.start()
            self._change.notify_all()

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._messages)

    def close(self, limit: float) -> bool:
        """Send what waits, for at most `limit` seconds; whether all of it went out."""
        with self._change:
            self._closing = True
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join(limit)
        return not self._messages and (self._thread is None or not self._thread.is_alive())

    def _work(self) -> None:
        pause = _FIRST_PAUSE
        while (message := self._next()) is not None:
            key, send = message
            try:
                send()
                pause = _FIRST_PAUSE
            except Exception as error:
                if not self.temporary(error):
                    self.refused(key, error)
                    continue
                self._back(key, send)
                if self._closing:
                    return  # the last try of all
                self._rest(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _next(self) -> tuple[str, Send] | None:
        """The oldest message; None when there is none and there will be none."""
        with self._change:
            self._change.wait_for(lambda: self._messages or self._closing)
            return self._messages.popitem(last=False) if self._messages else None

    def _back(self, key: str, send: Send) -> None:
        """Put an unsent message in front again, unless a newer one has come."""
        with self._change:
            self._messages.setdefault(key, send)
            self._messages.move_to_end(key, last=False)

    def _rest(self, seconds: float) -> None:
        """Wait before the next try; not when the outbox closes."""
        with self._change:
            self._change.wait_for(lambda: self._closing, seconds)
