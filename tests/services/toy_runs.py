"""`temper` with the toy pipeline against a Prefect server, and what that server knows of it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

FLOWS = Path(__file__).parents[1] / "flows"
LIMIT = 120.0  # seconds that anything here may take on a busy machine


def begin(url: str, folder: Path, *words: object) -> "subprocess.Popen[str]":
    """Start `temper run WORDS` in `folder`, which has its store too."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {
        **known,
        "PREFECT_API_URL": url,
        "PREFECT_HOME": str(folder / "client"),
        "PYTHONPATH": os.pathsep.join([str(FLOWS), str(FLOWS.parents[1])]),
        "TEMPER_PRELOAD": "pandas pyarrow.parquet",
        "TEMPER_STORE": str(folder / "store"),
    }
    command = [sys.executable, str(FLOWS / "toy_temper.py"), "run", *map(str, words)]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **output)  # type: ignore[call-overload, no-any-return]


def run(url: str, folder: Path, *words: object) -> int:
    """`begin`, and wait for the end; its exit code."""
    process = begin(url, folder, *words)
    process.communicate(timeout=LIMIT)
    return process.returncode


def asked(url: str, things: str, **body: Any) -> list[dict[str, Any]]:
    """Rows of Prefect's API, such as `artifacts`, the newest first."""
    answer = httpx.post(f"{url}/{things}/filter", json={"limit": 200, **body}, timeout=30)
    answer.raise_for_status()
    rows: list[dict[str, Any]] = answer.json()
    return rows


def newest_run(url: str) -> dict[str, Any]:
    """The flow run that started last."""
    return asked(url, "flow_runs", sort="START_TIME_DESC")[0]


def task_of(url: str, flow_run: str, stage: str) -> dict[str, Any]:
    """The task run of a stage."""
    tasks = asked(url, "task_runs", flow_runs={"id": {"any_": [flow_run]}})
    return next(task for task in tasks if task["name"].split(" ")[0] == stage)


def until(condition: Callable[[], Any]) -> Any:
    """What `condition` gives once that is true."""
    end = time.monotonic() + LIMIT
    while not (found := condition()):
        assert time.monotonic() < end, "this did not happen in time"
        time.sleep(0.1)
    return found
