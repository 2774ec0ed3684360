"""docker-compose.yml, Dockerfile and .env.example agree with each other and the code; nothing is started."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.service.secret_files import SECRETS
from tempering.credentials import secret_places

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SHARED = {  # what API and services must share, or half of the server sees nothing of the other
    "PREFECT_SERVER_EVENTS_MESSAGING_BROKER": "prefect_redis.messaging",
    "PREFECT_SERVER_EVENTS_MESSAGING_CACHE": "prefect_redis.messaging",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
    "PREFECT_REDIS_MESSAGING_HOST": "redis",
    "PREFECT_SERVER_DOCKET_URL": "redis://redis:6379/1",
}


def example() -> dict[str, str]:
    """The variables of .env.example."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def environments() -> Iterator[tuple[str, str, str]]:
    """Service, variable, value."""
    for service, entry in SERVICES.items():
        for name, value in entry.get("environment", {}).items():
            yield service, name, value


def test_the_services_of_a_team_are_there() -> None:
    wanted = {"postgres", "redis", "migrate", "api", "services", "worker", "worker-gpu", "reports", "s3"}
    assert set(SERVICES) == wanted
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    assert SERVICES["s3"]["profiles"] == ["s3"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_watched_limited_and_without_rights(name: str) -> None:
    service = SERVICES[name]
    version = re.fullmatch(r"[\w/]+:(\d+\.\d+(\.\d+)?)(-cpu|-cuda)?", service["image"])
    assert version, service["image"]
    assert ("build" in service) == service["image"].startswith("tempering:")
    assert "build" not in service or version[1] == PROJECT["version"]
    # A one-shot ends and is never restarted; all others are watched.
    once = name == "migrate"
    assert service["restart"] == ("no" if once else "unless-stopped")
    assert once or {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"])
    assert {"mem_limit", "stop_grace_period", "logging"} <= set(service)
    assert service["read_only"] is service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert ("cap_add" in service) == (name in ("postgres", "s3"))  # they start as root and step down


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_on_localhost_alone(name: str) -> None:
    assert "network_mode" not in SERVICES[name]
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\$\{TEMPER_\w+:-\d+\}:\d+", port)


def test_only_the_server_reaches_database_and_redis() -> None:
    assert COMPOSE["networks"]["back"] == {"internal": True}
    inside = {name for name, service in SERVICES.items() if "back" in service["networks"]}
    assert inside == {"postgres", "redis", "migrate", "api", "services"}
    assert not SERVICES["postgres"].get("ports")
    assert not SERVICES["redis"].get("ports")


def test_secrets_are_files_that_must_be_named() -> None:
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    for name, secret in COMPOSE["secrets"].items():
        assert re.fullmatch(rf"\$\{{TEMPER_SECRETS:\?[^}}]+\}}/{name}", secret["file"])
        assert f"secrets/{name}" in (ROOT / ".env.example").read_text()


def test_no_file_holds_a_secret() -> None:
    assert not list(secret_places(COMPOSE))
    for _, name, value in environments():
        if re.search("PASSWORD|AUTH|SECRET|KEY|TOKEN", name):
            assert name.endswith("_FILE"), name
            assert re.fullmatch(r"/run/secrets/\w+", value), name
        assert not re.search("://[^/]*@", str(value)), name
    assert example()["TEMPER_SECRETS"] == ""
    assert {"/.env", "/secrets/"} <= set((ROOT / ".gitignore").read_text().splitlines())


def test_each_secret_is_mounted_where_it_is_read() -> None:
    for service, name, value in environments():
        if name.endswith("_FILE"):
            assert Path(value).name in SERVICES[service]["secrets"]
            ours = SERVICES[service]["image"].startswith("tempering:")
            known = (*SECRETS, "TEMPER_REPORTS_AUTH")
            assert not ours or name.removesuffix("_FILE") in known


def test_every_variable_is_explained_in_the_example_and_none_is_left_over() -> None:
    used = set(re.findall(r"\$\{(\w+)", TEXT))
    assert used == {name for name in example() if not name.startswith("COMPOSE_")}
    for name, default in re.findall(r"\$\{(\w+):-([^}]*)\}", TEXT):
        assert example()[name] == default


def test_api_and_services_share_what_they_must() -> None:
    api, services, migrate = (SERVICES[name]["environment"] for name in ("api", "services", "migrate"))
    assert SHARED.items() <= services.items() <= api.items()
    assert services == migrate
    assert services["PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED"] == "true"
    assert "PREFECT_SERVER_API_AUTH_STRING_FILE" in services
    assert services["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] == "false"


def test_every_setting_is_one_of_the_installed_prefect() -> None:
    from prefect.settings import Settings
    from prefect.settings.legacy import _get_valid_setting_names

    known = _get_valid_setting_names(Settings)
    for _, name, _value in environments():
        if name.startswith("PREFECT_") and not name.startswith("PREFECT_REDIS_"):
            assert name.removesuffix("_FILE") in known, name


@pytest.mark.services  # it needs the extra `redis`
def test_modules_and_settings_for_redis_are_those_of_the_installed_version() -> None:
    from prefect_redis.client import RedisMessagingSettings

    prefix = RedisMessagingSettings.model_config["env_prefix"]
    known = {f"{prefix}{field}".upper() for field in RedisMessagingSettings.model_fields}
    for _, name, value in environments():
        assert not name.startswith("PREFECT_REDIS_") or name in known, name
        assert not str(value).startswith("prefect_redis") or importlib.util.find_spec(value), value


@pytest.mark.services
@pytest.mark.parametrize(("folder", "code"), [("/run/tempering", 0), ("", 1)])
def test_compose_takes_the_file_and_refuses_to_start_without_secrets(folder: str, code: int) -> None:
    client = shutil.which("docker-compose")
    assert client, "docker-compose is missing: apt-get install docker-compose"
    command = [client, "--profile", "gpu", "--profile", "s3", "config", "-q"]
    known = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TEMPER_SECRETS": folder}
    ended = subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, check=False)
    assert ended.returncode == code, ended.stderr
    assert code == 0 or "the folder of the secrets, see .env.example" in ended.stderr


def test_every_command_is_there() -> None:
    for service in SERVICES.values():
        if service["image"].startswith("tempering:"):
            check = service.get("healthcheck", {}).get("test", ["CMD", "temper"])[1:]
            for command in (service["command"], check):
                if command[:2] == ["python", "-m"]:
                    assert importlib.util.find_spec(command[2]), command
                else:
                    assert command[0] in ("prefect", "temper"), command


def steps(word: str) -> list[str]:
    """The arguments of each instruction `word`, continued lines joined."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.split(maxsplit=1)[1] for line in joined.splitlines() if line.startswith(f"{word} ")]


def test_the_image_is_made_of_what_is_there() -> None:
    entries = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied: set[str] = set()
    for step in steps("COPY"):
        if not step.startswith("--from"):
            copied |= set(shlex.split(step)[:-1])
    assert copied == entries
    assert all((ROOT / name).exists() for name in copied)
    assert {name.split("*")[0] for name in ("tempering*", "tasks*", "flows*")} <= copied


def test_the_image_has_the_tested_versions_and_a_user_of_its_own() -> None:
    bases = {step.split()[0] for step in steps("FROM")}
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", base) for base in bases)
    pins = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    assert re.findall(r"torch==(\S+)", " ".join(steps("RUN"))) == [pins["torch"]]
    assert all("-c constraints.txt" in step for step in steps("RUN") if step.startswith("pip install"))
    arguments = dict(step.split("=", 1) for step in steps("ARG"))
    assert set(arguments["EXTRAS"].split(",")) <= set(PROJECT["optional-dependencies"])
    assert f'image.version="{PROJECT["version"]}"' in steps("LABEL")[0]
    assert steps("USER") == ["tempering"]
    assert steps("STOPSIGNAL") == ["SIGTERM"]
    assert importlib.util.find_spec(yaml.safe_load(steps("ENTRYPOINT")[0])[-1])
    for service in SERVICES.values():
        assert set(service.get("build", {}).get("args", {})) <= set(arguments)
