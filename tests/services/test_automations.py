"""The shipped automation, made by Prefect's own command on a real server, calls a real webhook."""

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services.prefect_server import prefect_server

EXAMPLE = "configs/automations/webhook_on_failure.yaml"
SEND = """
from uuid import uuid4
from flows.pages.client import Client
from flows.pages.messages import StageEvent, RunIds
payload = {"stage": "ppo", "error": 'no "loss"', "pipeline": "toy"}
Client().event(StageEvent("stage.failed", "stage.toy.ppo", "ppo", "toy", payload, RunIds(uuid4())))
"""
SAVE = """
import sys
from prefect.blocks.webhook import Webhook
print(Webhook(url=sys.argv[1]).save("tempering-failures", overwrite=True))
"""


@pytest.fixture
def hook() -> Iterator[tuple[str, list[str]]]:
    """The address of a webhook, and what it was called with."""
    bodies: list[str] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/hook", bodies
    server.shutdown()


@pytest.mark.services
def test_a_failed_stage_calls_the_webhook_of_the_shipped_automation(
    hook: tuple[str, list[str]], tmp_path: Path, repository: Path
) -> None:
    address, bodies = hook
    with prefect_server(tmp_path / "server") as url:
        environment = {**os.environ, "PREFECT_API_URL": url, "PREFECT_HOME": str(tmp_path / "client")}

        def python(*arguments: str) -> str:
            done = subprocess.run(
                [sys.executable, *arguments], cwd=repository, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        block = python("-c", SAVE, address).split()[-1]
        text = (repository / EXAMPLE).read_text()
        assert "00000000-0000-0000-0000-000000000000" in text
        example = tmp_path / "automation.yaml"
        example.write_text(text.replace("00000000-0000-0000-0000-000000000000", block))
        python("-m", "prefect", "automation", "create", "--from-file", str(example))
        time.sleep(2)  # the server's triggers hear of a new automation a moment later
        python("-c", SEND)
        end = time.monotonic() + 60
        while not bodies and time.monotonic() < end:
            time.sleep(0.2)
    assert [json.loads(body) for body in bodies] == [
        {"pipeline": "toy", "stage": "ppo", "error": 'no "loss"'}
    ]
