"""Imports only go down: storeys, Prefect in flows alone, and the rooms of the library (pyproject.toml)."""

import subprocess
import sysconfig
from pathlib import Path


def test_imports_only_go_down(repository: Path) -> None:
    linter = Path(sysconfig.get_path("scripts")) / "lint-imports"
    done = subprocess.run([linter, "--no-cache"], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kept, 0 broken" in done.stdout
