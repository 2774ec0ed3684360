"""The teacher: what is read as a score, what the endpoint does, what is kept, what is never said."""

import http.server
import json
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tempering.artifacts.tables import read_rows
from tempering.errors import ConfigError, UserError
from tempering.rewards.config import EndpointConfig, TeacherReward
from tempering.rewards.endpoint import Answer, Endpoint
from tempering.rewards.teacher import Teacher, parse_score

PROMPT = [{"role": "user", "content": "Tell a story."}]
KEY = "sk-very-secret"
Reply = tuple[int, dict[str, str], Any]


def says(text: Any) -> Reply:
    return 200, {}, {"choices": [{"message": {"content": text}}]}


class Judge:
    """A server that gives one reply after the other, and remembers what it was asked."""

    def __init__(self) -> None:
        self.replies: list[Reply | Callable[[str], Reply] | None] = []
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.lock = threading.Lock()

    def reply(self, question: str) -> Reply | None:
        with self.lock:
            found = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return found(question) if callable(found) else found


@pytest.fixture
def judge() -> Iterator[Any]:
    """Serves a `Judge` at `judge.url`."""
    made: Any = Judge()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.asked.append(body)
            made.keys.append(self.headers.get("Authorization"))
            found = made.reply(body["messages"][0]["content"])
            if found is None:  # a dropped connection
                self.close_connection = True
                return
            status, headers, answer = found
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            """Silent."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    made.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield made
    server.shutdown()
    server.server_close()


def endpoint(judge: Any, **more: Any) -> Endpoint:
    settings = {
        "base_url": judge.url,
        "model": "judge-7b",
        "retries": 2,
        "max_concurrency": 1,
        "timeout": 5,
        **more,
    }
    return Endpoint(EndpointConfig(**settings), max_tokens=64, pause=0.001)


def teacher(ask: Any, folder: Path, **more: Any) -> Teacher:
    made = TeacherReward(kind="teacher", endpoint=EndpointConfig(model="judge-7b"), **more)
    folder.mkdir(exist_ok=True)
    return Teacher(made, ask, folder)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("7", 7.0), (" 7.5 ", 7.5), ("8/10", 8.0), ("Score: 7", 7.0), ("It is fine.\nScore: 6.5", 6.5),
        ("**Score:** 9", 9.0), ("rating = 4.", 4.0), ("Score: 3\nScore: 5", 5.0), ("Score: -2", -2.0),
        ("I have 3 remarks.", None), ("nan", None), ("Score: nan", None), ("", None), ("Score: seven", None),
        ("between 3 and 5", None), ("Score: 7 or maybe 8", None), ("My score 7 is final", None),
        ("inf", None),
    ],
)  # fmt: skip
def test_what_is_a_score(text: str, score: float | None) -> None:
    assert parse_score(text) == score


@pytest.mark.parametrize(
    ("replies", "status", "asked"),
    [
        ([says("Score: 7")], "ok", 1),
        ([(429, {"Retry-After": "0"}, {}), (500, {}, {}), says("Score: 7")], "ok", 3),
        ([None, says("Score: 7")], "ok", 2),
        ([(503, {}, {})], "http 503", 3),
        ([(200, {}, b"not json")], "malformed", 1),
        ([(200, {}, {"choices": []})], "malformed", 1),
        ([says(None)], "malformed", 1),
        ([says("nan")], "no score in the answer", 1),
        ([says("Score: 11")], "outside of the range", 1),
        ([(302, {"Location": "http://127.0.0.1:9/v1"}, {})], "http 302", 1),
        ([(400, {}, {})], "http 400", 1),
    ],
)  # fmt: skip
def test_no_answer_is_no_score_and_never_zero(
    judge: Any, tmp_path: Path, replies: list[Reply], status: str, asked: int
) -> None:
    judge.replies = replies
    made = teacher(endpoint(judge), tmp_path)
    (score,) = made([PROMPT], ["Once."])
    assert score == 7.0 if status == "ok" else math.isnan(score)
    assert len(judge.asked) == asked
    made.close()
    (row,) = read_rows(tmp_path / "teacher_answers.parquet")
    assert row["status"] == status
    assert row["score"] == (7.0 if status == "ok" else None)


def test_no_connection_at_all_is_a_status() -> None:
    gone = Endpoint(EndpointConfig(base_url="http://127.0.0.1:9/v1", model="m", retries=1), 8, pause=0.001)
    assert gone(["x"]) == [Answer(None, "ConnectError")]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_wrong_key_or_name_stops_at_once_and_the_key_is_nowhere(
    judge: Any, tmp_path: Path, monkeypatch: Any, status: int
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    judge.replies = [(status, {}, {"error": KEY})]
    made = teacher(endpoint(judge, api_key_env="JUDGE_KEY"), tmp_path)
    with pytest.raises(UserError, match=f"{status}") as caught:
        made([PROMPT], ["Once."])
    assert judge.keys == [f"Bearer {KEY}"]
    assert KEY not in str(caught.value)
    assert all(KEY not in path.read_text() for path in tmp_path.iterdir())
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(ConfigError, match="JUDGE_KEY is not set"):
        endpoint(judge, api_key_env="JUDGE_KEY")


def test_the_question_and_how_it_is_asked(judge: Any, tmp_path: Path) -> None:
    judge.replies = [says("Score: 5")]
    template = tmp_path / "rate.jinja"
    template.write_text("{{ prompt }}|{{ completion }}|{{ topic }}|{{ min_score }}-{{ max_score }}")
    made = teacher(endpoint(judge), tmp_path / "kept", template=str(template), max_score=5)
    assert made([PROMPT, PROMPT], ["Once.", "Twice."], topic=["dogs", "cats"]) == [5.0, 5.0]
    contents = [body["messages"][0]["content"] for body in judge.asked]
    assert contents == ["Tell a story.|Once.|dogs|0-5", "Tell a story.|Twice.|cats|0-5"]
    assert {(body["model"], body["temperature"], body["max_tokens"]) for body in judge.asked} == {
        ("judge-7b", 0, 64)
    }


def test_the_same_question_is_asked_once_and_answers_survive_a_kill(judge: Any, tmp_path: Path) -> None:
    judge.replies = [lambda question: says("Score: 3" if "Once" in question else "Score: 4")]
    made = teacher(endpoint(judge), tmp_path)
    assert made([PROMPT] * 3, ["Once.", "Twice.", "Once."]) == [3.0, 4.0, 3.0]
    assert len(judge.asked) == 2
    with (tmp_path / "teacher_answers.jsonl").open("a") as file:
        file.write('{"key": "torn')
    judge.replies = [says("Score: 9")]
    resumed = teacher(endpoint(judge), tmp_path)
    assert resumed([PROMPT] * 2, ["Once.", "New."]) == [3.0, 9.0]
    resumed.close()
    assert len(read_rows(tmp_path / "teacher_answers.parquet")) == 3
    after_the_end = teacher(endpoint(judge), tmp_path)
    assert after_the_end([PROMPT], ["Twice."]) == [4.0]
    assert len(judge.asked) == 3


@pytest.mark.parametrize(
    ("text", "says_"),
    [("{{ nothing_here }}", "nothing_here"), ("{{ 1 / 0 }}", "ZeroDivisionError"), 
     ("{% if %}", "cannot be read"), ("{{ ''.__class__.__mro__ }}", "SecurityError")],
)  # fmt: skip
def test_a_template_that_fails_is_a_message(tmp_path: Path, text: str, says_: str) -> None:
    template = tmp_path / "rate.jinja"
    template.write_text(text)
    with pytest.raises(ConfigError, match=says_):
        teacher(lambda questions: [Answer("1", "ok")], tmp_path / "kept", template=str(template))(
            [PROMPT], ["x"]
        )


def test_the_templates_bytes_are_the_identity_not_its_place(tmp_path: Path) -> None:
    from tempering.config import identity, named_files

    for name in ("a", "b"):
        (tmp_path / name).write_text("{{ prompt }}")
    first, second = (
        TeacherReward(kind="teacher", model="sft", template=str(tmp_path / name)) for name in "ab"
    )
    assert identity(first) == identity(second)
    assert (
        [name for name, _ in named_files(first)] == [name for name, _ in named_files(second)] == ["template"]
    )
    with pytest.raises(ConfigError, match="not there"):
        TeacherReward(kind="teacher", model="sft", template=str(tmp_path / "c")).external_files()


@pytest.mark.slow
def test_a_local_teacher_answers_and_ppo_learns_from_it(tiny: Any, tmp_path: Path) -> None:
    from tests.conftest import tiny_nodes
    from tests.tiny import fresh_draft, inputs_of

    template = tmp_path / "rate.jinja"
    template.write_text("{{ completion }}")
    parts = {"rated": {"kind": "teacher", "model": "sft", "template": str(template), "max_tokens": 4},
             "ended": {"kind": "rule", "rule": "ended"}}  # fmt: skip
    changes = {
        "rloo.reward": {"kind": "mixture", "components": parts, "when_missing": "skip"},
        "rloo.max_steps": 2,
    }
    node = next(node for node in tiny_nodes(changes) if node.name == "rloo")
    assert node.inputs["reward_models"] == {"rated": "sft"}
    draft = fresh_draft(tmp_path / "draft")
    node.stage(draft, node.config, **inputs_of(node, tiny))
    answers = read_rows(draft.metadata_dir / "teacher_answers.parquet")
    assert len(answers) > 4
    rows = read_rows(draft.metadata_dir / "generated_outputs.parquet")
    assert {"score", "score_rated", "score_ended"} <= set(rows[0])
    assert [row["score"] for row in rows] == [row["score_ended"] for row in rows], "it says no numbers"
