"""A server that stands in for a teacher or a judge, over real HTTP, and misbehaves as told."""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

Reply = tuple[int, dict[str, str], Any]
"""Status, headers, and the content: a tree for JSON, or bytes."""


def says(text: Any, **more: Any) -> Reply:
    """What a server says that works; `more` stands beside the choices, as `usage` does."""
    return 200, {}, {"choices": [{"message": {"content": text}}], **more}


class Judge:
    """Gives one reply after the other, the last one for ever, and remembers what it was asked.

    A reply may be a function of the question; None drops the connection, and "half" does in mid-reply.
    """

    def __init__(self) -> None:
        self.replies: list[Reply | Callable[[str], Reply] | str | None] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.times: list[float] = []
        self.trickles: bytes = b""
        """What it sends again and again instead of a reply, every tenth of a second."""
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.url = ""

    def reply(self, question: str) -> Reply | str | None:
        with self.lock:
            found = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return found(question) if callable(found) else found

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        with self.lock:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            yield
        finally:
            with self.lock:
                self.at_once -= 1


@contextlib.contextmanager
def serving() -> Iterator[Judge]:
    """A `Judge` at `judge.url`."""
    judge = Judge()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            judge.asked.append(body)
            judge.times.append(time.monotonic())
            judge.keys.append(self.headers.get("Authorization"))
            if judge.trickles:
                self._trickle()
                return
            with judge.counted():
                self._answer(judge.reply(body["messages"][-1]["content"]))

        def _answer(self, reply: Reply | str | None) -> None:
            if not isinstance(reply, tuple):  # a dropped connection
                self.close_connection = True
                if reply == "half":
                    self.send_response(200)
                    self.send_header("Content-Length", "1000")
                    self.end_headers()
                    self.wfile.write(b'{"choices": [')
                return
            status, headers, content = reply
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content if isinstance(content, bytes) else json.dumps(content).encode())

        def _trickle(self) -> None:
            self.send_response(200)
            self.end_headers()
            for _ in range(20):
                try:
                    self.wfile.write(judge.trickles)
                except OSError:  # the other side has hung up
                    return
                time.sleep(0.1)

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield judge
    server.shutdown()
    server.server_close()
