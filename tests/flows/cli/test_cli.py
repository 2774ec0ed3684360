"""The command line: bad input is one clear message and exit code 2, with nothing left behind."""

import argparse
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli.main import build_parser
from tests.flows.conftest import ROOT, Answer

Temper = Callable[..., Answer]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "none.yaml"], "cannot read the config none.yaml"),
        (["run", "{toy}", "left.learning_rat=1"], "did you mean 'learning_rate'?"),
        (["run", "{toy}", "left.steps=many"], "left.steps: found 'many'"),
        (["plan", "{toy}", "left..steps=1"], "key=value"),
        (["run", "{toy}", "{toy}"], "several configs"),
        (["run", "{toy}", "--from", "lefft"], "one of: left"),
        (["run", "{toy}", "--only", "nothing"], "there is no stage 'nothing'"),
        (["run", "{toy}", "--force", "x"], "there is no stage 'x'"),
        (["run", "{toy}", "--only", "report"], "is not in the store"),
        (["artifacts", "show", "nothing"], "there is no artifact 'nothing'"),
        (["report"], "there is no run"),
        (["run", "{toy}", "--colour"], "--colour"),
        (["run", "{toy}", "--port", "70000"], "port 70000"),
        ([], "usage: temper"),
    ],
)
def test_bad_input(arguments: list[str], message: str, temper: Temper, toy: Path, store: Path) -> None:
    filled = [word.format(toy=toy) for word in arguments]
    answer = temper(*filled, *(["--store", store] if arguments else []))
    assert answer.code == 2
    assert message in answer.err
    assert answer.out == ""
    assert "Traceback" not in answer.err
    assert not list(store.glob("*/*/manifest.json"))


def test_a_port_in_use(temper: Temper, toy: Path, store: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = temper("run", toy, "--port", port, "--store", store)
    assert answer.code == 2
    assert f"port {port}" in answer.err
    assert "--port" in answer.err


def test_a_store_that_is_no_folder(temper: Temper, toy: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    answer = temper("run", toy, "--store", tmp_path / "file")
    assert answer.code == 2
    assert str(tmp_path / "file") in answer.err


def test_overrides_may_stand_after_options(temper: Temper, toy: Path, store: Path) -> None:
    answer = temper("plan", toy, "--json", "--store", store, "left.steps=7", "base.steps=2")
    assert json.loads(answer.out)[0]["stage"] == "data"


def test_version_and_help() -> None:
    def temper(*arguments: str) -> str:
        command = [sys.executable, "-m", "flows.cli.main", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout

    assert temper("--version").startswith("temper 0.")
    assert "examples:" in temper("--help")
    assert "--from" in temper("run", "--help")


def leaves(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    below = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [leaf for choices in below for child in choices.values() for leaf in leaves(child)] or [parser]


def test_every_command_that_uses_a_store_lets_one_choose_it() -> None:
    for parser in leaves(build_parser()):
        assert callable(parser.get_default("command")), parser.prog
        assert not parser.allow_abbrev, parser.prog
        assert ("--store" in parser.format_help()) == (parser.prog != "temper config"), parser.prog


def test_a_closed_pipe_is_no_error() -> None:
    command = f"{sys.executable} -m flows.cli.main --help | true; echo ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "Traceback" not in ended.stderr


def test_help_loads_no_configuration() -> None:
    code = "import sys, flows.cli.main as m; m.build_parser(); print('flows.config' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"
