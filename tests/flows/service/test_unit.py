"""The systemd unit that is shipped: its command is one that `temper` has, and systemd takes it."""

import configparser
import os
import shutil
import subprocess
from pathlib import Path

from flows.cli.main import build_parser
from flows.service.supervisor import DRAIN

ROOT = Path(__file__).parents[3]


def test_the_unit(tmp_path: Path) -> None:
    text = (ROOT / "configs/service/tempering.service").read_text()
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    service = unit["Service"]
    program, *words = service["ExecStart"].split()
    assert build_parser().parse_args(words).foreground
    # A kill is mended, `temper down` is not undone; all of it gets the time that it takes.
    assert service["Restart"] == "on-failure"
    assert float(service["TimeoutStopSec"]) > DRAIN + 20
    assert service["KillMode"] == "mixed"
    # systemd's own opinion, with the paths of a machine.
    if analyze := shutil.which("systemd-analyze"):
        here = tmp_path / "tempering" / ".venv" / "bin"
        here.mkdir(parents=True)
        (here / "temper").write_text("#!/bin/sh\n")
        (here / "temper").chmod(0o755)
        assert program.startswith("%h/")
        (tmp_path / "tempering.service").write_text(text.replace("%h", str(tmp_path)))
        environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
        done = subprocess.run(
            [analyze, "--user", "verify", tmp_path / "tempering.service"],
            capture_output=True,
            text=True,
            env=environment,
        )
        assert (done.returncode, done.stderr) == (0, "")
