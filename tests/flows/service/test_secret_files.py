"""Secrets in files: in the command's environment, nowhere else; a bad file is one message."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.service.probe import services_sign
from flows.service.secret_files import with_secrets
from tempering.errors import UserError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a secret goes."""
    return tmp_path / "secret"


def test_a_secret_goes_from_its_file_into_the_environment(file: Path) -> None:
    file.write_text("team:planted\n")
    given = {"PREFECT_API_AUTH_STRING_FILE": str(file), "PREFECT_API_SSL_CERT_FILE": "cert.pem", "OTHER": "1"}
    assert with_secrets(given) == {
        "PREFECT_API_AUTH_STRING": "team:planted",
        "PREFECT_API_SSL_CERT_FILE": "cert.pem",  # a setting of Prefect's own
        "OTHER": "1",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("a:b\nc:d\n", "has several lines"),
        ("word", "holds no auth string"),
        (":planted", "holds no auth string"),
    ],
)
def test_a_file_without_a_secret_is_refused(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(UserError, match=message) as error:
        with_secrets({"PREFECT_API_AUTH_STRING_FILE": str(file)})
    assert "planted" not in str(error.value)


def test_a_secret_that_is_not_there_or_given_twice_is_refused(file: Path) -> None:
    name = "PREFECT_SERVER_DATABASE_PASSWORD"
    with pytest.raises(UserError, match="No such file"):
        with_secrets({f"{name}_FILE": str(file)})
    with pytest.raises(UserError, match="Is a directory"):  # what docker makes of a file that is missing
        with_secrets({f"{name}_FILE": str(file.parent)})
    file.write_text("word")
    with pytest.raises(UserError, match="both set"):
        with_secrets({f"{name}_FILE": str(file), name: "another"})


def test_the_command_takes_the_place_of_the_process_and_its_words_show_no_secret(file: Path) -> None:
    file.write_text("team:planted")
    show = "import os, sys; print(os.environ['PREFECT_API_AUTH_STRING'], os.getpid(), sys.orig_argv)"
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.service.secret_files", sys.executable, "-c", show],
        env={**os.environ, "PREFECT_API_AUTH_STRING_FILE": str(file)},
        stdout=subprocess.PIPE,
        text=True,
    )
    secret, pid, words = process.communicate(timeout=30)[0].split(maxsplit=2)
    assert (secret, int(pid)) == ("team:planted", process.pid)
    assert "planted" not in words


def test_what_cannot_start_is_one_message_and_code_2(file: Path) -> None:
    known = {**os.environ, "PREFECT_API_AUTH_STRING_FILE": str(file)}
    for command, environment, message in (
        (["true"], known, "cannot be read: No such file"),
        (["no-such-command"], dict(os.environ), "no-such-command cannot be started"),
    ):
        words = [sys.executable, "-m", "flows.service.secret_files", *command]
        ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr.count("error: ")) == (2, 1)
        assert message in ended.stderr
        assert "Traceback" not in ended.stderr


def test_what_does_not_answer_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_DOCKET_URL", "redis://127.0.0.1:9/1")
    assert not services_sign()
