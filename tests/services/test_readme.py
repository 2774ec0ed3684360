"""The lines of the README's section on the service, in order, with free ports and a store of the test."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows.conftest import free_port

pytestmark = pytest.mark.services
ROOT = Path(__file__).parents[2]


def service_lines() -> list[list[str]]:
    section = (ROOT / "README.md").read_text().split("\n## As a service\n")[1].split("\n## ")[0]
    lines = re.findall(r"^\$ \.venv/bin/temper (.*?)(?:\s+# .*)?$", section, re.MULTILINE)
    return [shlex.split(line) for line in lines]


def test_each_line_works(tmp_path: Path) -> None:
    lines = service_lines()
    assert [words[0] for words in lines] == ["up", "deploy", "status", "down"]
    known = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    ports = ["--port", str(free_port()), "--reports-port", str(free_port())]
    outputs = {}
    try:
        for words in lines:
            options = [*(ports if words[0] == "up" else []), "--store", str(tmp_path / "store")]
            command = [sys.executable, "-m", "flows.cli.main", *words, *options]
            done = subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
            outputs[words[0]] = done.stdout + done.stderr
    finally:
        down = [sys.executable, "-m", "flows.cli.main", "down", "--store", str(tmp_path / "store")]
        subprocess.run(down, cwd=ROOT, env=known, capture_output=True, timeout=300)
    assert ports[1] in outputs["up"]
    assert "quickstart" in outputs["deploy"]
