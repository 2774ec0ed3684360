"""Keys are told by how they look; what is printed or stored has none of them."""

import base64
import json
import time
from pathlib import Path

import pytest

from flows.cli.main import main
from flows.options import Options
from flows.pipeline import plan_pipeline, require_keys
from tempering.artifacts.runs import Runs
from tempering.credentials import HIDDEN, is_variable_name, looks_secret, masked
from tempering.errors import ConfigError
from tempering.rewards.config import EndpointConfig

QUICK = Path(__file__).parents[1] / "configs/quickstart.yaml"
KEYS = [
    "sk-proj-4f7Qm2xL9aVbT1",
    "sk-abcdefghijklmnopqrst",
    "hf_AbCdEfGhIjKlMnOpQrSt",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_16C7e42F292c6912E7710c83",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.abc",
    "https://me:p4ssword@host/v1",
    "https://host/v1?api_key=abc",
]
TEACHER = "ppo.reward={{kind: teacher, endpoint: {{model: m, base_url: 'http://x/v1', {}}}}}"


@pytest.mark.parametrize("key", KEYS)
def test_keys(key: str) -> None:
    assert looks_secret(key)
    assert not is_variable_name(key)
    hidden = masked(f"found '{key}'; expected another")
    assert key not in hidden
    assert HIDDEN in hidden


@pytest.mark.parametrize(
    "text",
    [
        "Qwen/Qwen2.5-0.5B",
        "meta-llama/Llama-3.2-3B",
        "data/sk-learn-folder/rows.jsonl",
        "data/hf_cache_2024/rows",
        "hf_ultrachat200k",
        "data/hf_ultrafeedbackcleaned/rows.jsonl",
        "opus/sk-en-parallel-v2.parquet",
        "data/sk-SK-wikipedia-2023.jsonl",
        "https://host/rows?key=column1",
        "s3://bucket/folder",
        "sft/quickstart_300K_tokens__2026-11-21__10-15-30__3f9c1a2b",
        "http://localhost:8000/v1",
        "expected: key=value with dots, e.g. ppo.learning_rate=1e-4",
        "api_key_env=TEACHER_KEY ppo.token_limit=300",
        "export OPENAI_API_KEY=... or remove api_key_env",
        "eos_token: '</s>'",
        "ppo.api_key: unknown key; did you mean 'api_key_env'?",
    ],
)
def test_what_is_no_key(text: str) -> None:
    assert not looks_secret(text)
    assert masked(text) == text


def test_what_is_set_as_a_key_or_is_in_the_environment_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TEACHER_KEY", "opaque-words-only")
    assert masked("a opaque-words-only b") == f"a {HIDDEN} b"
    assert masked("temper run ppo.api_key=mine seed=1") == f"temper run ppo.api_key={HIDDEN} seed=1"
    assert masked("{'password': 'mine', 'x': 1}") == f"{{'password': {HIDDEN}, 'x': 1}}"


SECRETS = {
    "PREFECT_API_AUTH_STRING": "admin:s3cr:tpw",
    "PREFECT_SERVER_API_AUTH_STRING": "ops:Xy7-password",
    "AWS_SESSION_TOKEN": "FQoGZXIvYXdzEBYa",
    "PGPASSWORD": "pg-Pa55w",
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql+asyncpg://prefect:db%40Pass1@127.0.0.1/prefect",
    "SIGNING_KEY": "first-line-0f\nsecond-line-0g",
}


def test_what_the_environment_holds_is_hidden_in_all_its_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: one of these forms is left out of `_written`."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    forms = [
        "admin:s3cr:tpw",
        "ops:Xy7-password",
        "Xy7-password",
        "FQoGZXIvYXdzEBYa",
        "pg-Pa55w",
        "db%40Pass1",
    ]
    forms += ["db@Pass1", "first-line-0f", "second-line-0g", base64.b64encode(b"ops:Xy7-password").decode()]
    for form in forms:
        assert masked(f"a {form} b") == f"a {HIDDEN} b"
        assert looks_secret(f"data/{form}/rows")
    assert masked("Authorization: Basic b3BzOnNvbWV0aGluZw==") == f"Authorization: Basic {HIDDEN}"


def test_everyday_words_and_files_are_not_hidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Mutation: each of them is looked for, and messages lose their words."""
    file = tmp_path / "id-2026"
    file.touch()
    words = {
        "POSTGRES_PASSWORD": "tempering",
        "SORT_KEY": "created_at",
        "DAY_KEY": "2026-11-29",
        "A_TOKEN": "1",
    }
    for name, value in {**words, "SSH_KEY": str(file)}.items():
        monkeypatch.setenv(name, value)
        assert masked(f"cannot read {value} now") == f"cannot read {value} now"


def test_the_variable_that_a_config_names_is_hidden_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempering.credentials._named", set())
    monkeypatch.setenv("MY_TEACHER", "opaque-4711")
    assert masked("opaque-4711") == "opaque-4711"
    assert EndpointConfig(model="m", api_key_env="MY_TEACHER").key() == "opaque-4711"
    assert masked("opaque-4711") == HIDDEN


def test_a_private_key_ends_where_it_ends() -> None:
    text = "before\n-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nafter"
    assert masked(text) == f"before\n{HIDDEN}\nafter"


@pytest.mark.parametrize(
    "name",
    ["OPENAI_API_KEY", "TEACHER_KEY_2", "my_key", "hf_token", "K", "LAB2024B_KEY", "PRODUCTION2024B_KEY"],
)
def test_names_of_variables(name: str) -> None:
    assert is_variable_name(name)


@pytest.mark.parametrize(
    "key", ["a1b2c3d4e5f6a7b8", "deadbeef" * 4, "sk_live_abc", "my-key", "my key", "1KEY", ""]
)
def test_what_is_no_name_of_a_variable(key: str) -> None:
    assert not is_variable_name(key)


@pytest.mark.parametrize(
    "setting",
    [
        *(
            TEACHER.format(f"api_key_env: '{key}'")
            for key in [*KEYS, "opaque0key0of0letters", "my-own-words"]
        ),
        *(f"ppo.model='{key}'" for key in KEYS),
        *(f"{place}='opaque0key0of0letters'" for place in ("api_key", "ppo.api_key", "runtime.hf_token")),
        TEACHER.format("api_key: opaque0key0of0letters"),
        TEACHER.format("api_key_env: {a: opaque0key0of0letters}"),
        TEACHER.format("timeout: opaque0key0of0letters").replace("timeout", "api_key_env: [1], timeout"),
        "datasets.x={kind: text, sk-abcdefghijklmnopqrst: 1}",
        "ppo.password=[opaque0key0of0letters",
    ],
)
def test_no_refusal_shows_a_key(setting: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["run", str(QUICK), setting, "--store", str(tmp_path / "store")]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert not (tmp_path / "store").exists()
    keys = [*KEYS, "p4ssword", "my-own-words", "4f7Qm2xL9aVbT1"]
    assert not [key for key in keys if key in out + err]
    assert "timeout" in err or "opaque0key0of0letters" not in err


def test_an_option_that_does_not_exist_shows_no_key(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--api-key=opaque"])
    assert "opaque" not in capsys.readouterr().err


def test_a_run_record_holds_no_key(tmp_path: Path) -> None:
    run = Runs(tmp_path).start("x", command="temper run --token=opaque hub=https://me:p4ssword@host")
    run.stage("ppo", "failed", error=f"the server answered {KEYS[0]}")
    text = run.path.read_text()
    assert not [key for key in ("opaque", "p4ssword", KEYS[0]) if key in text]
    assert json.loads(text)["command"] == f"temper run --token={HIDDEN} hub=https://{HIDDEN}@host"


def test_a_teacher_without_its_key_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    setting = TEACHER.format("api_key_env: TEACHER_KEY")
    rows = plan_pipeline(Options(str(QUICK), (setting,), store=str(tmp_path))).rows
    with pytest.raises(ConfigError, match="TEACHER_KEY is not set"):
        require_keys(rows)
    monkeypatch.setenv("TEACHER_KEY", "opaque")
    require_keys(rows)


@pytest.mark.parametrize(
    "piece", ["x", "sk-", "-eyJ", "a1", "://a:", "a=", " ", "hf_", "-----BEGIN ", "token: '"]
)
def test_a_text_without_end_takes_no_time(piece: str) -> None:
    """Mutation: a pattern that looks at the rest of the text from each of its letters: minutes."""
    start = time.process_time()
    masked(piece * 20_000)
    assert time.process_time() - start < 2  # 0.5 s at most
