"""`temper up`, `status`, `deploy` and `deployments` without a service: what they refuse, and how."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.service.health import Health
from flows.service.location import Service
from tests.flows.conftest import Answer

Temper = Callable[..., Answer]


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_SERVER_API_AUTH_STRING", "TEMPER_STORE"):
        monkeypatch.delenv(name, raising=False)


def test_status_of_nothing(temper: Temper, store: Path) -> None:
    answer = temper("status", "--store", store)
    assert answer.code == 3
    assert "temper up" in answer.out
    answer = temper("status", "--store", store, "--json")
    assert (answer.code, json.loads(answer.out)) == (3, {"running": False})
    assert not store.exists()


def test_down_of_nothing(temper: Temper, store: Path) -> None:
    answer = temper("down", "--store", store)
    assert answer.code == 0
    assert "no service runs" in answer.out


def test_up_where_the_port_is_taken(temper: Temper, store: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        answer = temper("up", "--store", store, "--port", port)
        assert answer.code == 2
        assert f"port {port} on 127.0.0.1 cannot be used: Address already in use\n" in answer.err
    assert not (store / ".service" / "service.json").exists()


def test_up_of_others_than_this_machine(temper: Temper, store: Path) -> None:
    answer = temper("up", "--store", store, "--host", "0.0.0.0")
    assert answer.code == 2
    assert "--auth-file" in answer.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "`temper up`"),
        (("left.stps=3",), "did you mean 'steps'"),
        (("--param", "only=nothing"), "no stage 'nothing'"),
        (("--param", "from_stage=left", "--param", "from_stage=right"), "given twice"),
        (("--param", "config=other.yaml"), "from_stage, only, force, reuse"),
        (("--param", "only"), "NAME=VALUE"),
        (("--param", "reuse=base=base@latest"), "base@latest"),
        (("--cron", "0 3 * * *", "--interval", "6h"), "not allowed with"),
        (("--timezone", "UTC"), "--cron or --interval"),
        (("--interval", "6x"), "--interval 6x"),
        (("--timezone", "Mars", "--interval", "6h"), "--timezone Mars"),
    ],
)
def test_deploy_refuses(temper: Temper, toy: Path, store: Path, words: tuple[str, ...], message: str) -> None:
    answer = temper("deploy", toy, *words, "--store", store)
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert not store.exists()


def test_deploy_refuses_a_config_that_is_not_there(temper: Temper, store: Path) -> None:
    answer = temper("deploy", "no/such.yaml", "--store", store)
    assert answer.code == 2
    assert "no/such.yaml" in answer.err


def test_deployments_without_a_service(temper: Temper, store: Path) -> None:
    for words in ((), ("--json",), ("--run", "toy"), ("--delete", "toy")):
        answer = temper("deployments", *words, "--store", store)
        assert answer.code == 2
        assert "`temper up`" in answer.err


def test_a_server_that_cannot_be_reached(
    temper: Temper, toy: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    answer = temper("deployments", "--store", store)
    assert answer.code == 2
    assert "http://127.0.0.1:1/api does not answer" in answer.err


def test_a_server_that_is_down_has_no_deployments_to_count() -> None:
    health = Health(Service(Path("/nowhere"), "http://h/api", "http://r", 1, {}), {"server": "is down"})
    assert health.lines() == ["server:       is down"]
    assert health.facts()["deployments"] is None


def test_no_command_imports_prefect_to_explain_itself() -> None:
    code = (
        "import sys\nfrom flows.cli.main import main\n"
        "for word in ('up', 'down', 'status', 'deploy', 'deployments'):\n"
        "    try: main([word, '--help'])\n"
        "    except SystemExit: pass\n"
        "assert main(['status', '--store', '/nowhere']) == 3\n"
        "assert not {'prefect', 'httpx', 'psutil', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
