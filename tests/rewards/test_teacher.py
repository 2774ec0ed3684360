"""The teacher: what is read as a score, what the endpoint does, what is kept, what is never said."""

import json
import math
import random
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tempering.artifacts.tables import read_rows
from tempering.errors import ConfigError, UserError
from tempering.rewards.config import EndpointConfig, TeacherReward
from tempering.rewards.endpoint.client import Endpoint
from tempering.rewards.endpoint.exchange import Answer
from tempering.rewards.teacher import Teacher, parse_score
from tempering.validation import validate
from tests.stand_in import Reply, says

PROMPT = [{"role": "user", "content": "Tell a story."}]
KEY = "sk-very-secret"


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


def teacher(ask: Any, folder: Path, name: str = "teacher", **more: Any) -> Teacher:
    made = TeacherReward(kind="teacher", endpoint=EndpointConfig(model="judge-7b"), **more)
    folder.mkdir(exist_ok=True)
    return Teacher(made, ask, folder, name)


def test_a_question_has_no_marks_of_the_policy_and_says_who_spoke(tmp_path: Path) -> None:
    asked: list[str] = []

    def ask(questions: Any) -> Any:
        asked.extend(questions)
        return [(place, Answer("7", "ok")) for place in range(len(questions))]

    turns = [
        {"role": "user", "content": "Tell a story."},
        {"role": "assistant", "content": "Once."},
        {"role": "user", "content": "More."},
    ]
    marked = {"query": ["<|user|>Tell a story.<|assistant|>"]}
    assert teacher(ask, tmp_path / "one")([PROMPT], ["Lily ran."], **marked) == [7.0]
    assert teacher(ask, tmp_path / "two")([turns], ["Lily ran."], **marked) == [7.0]
    assert "[Question]\nTell a story.\n\n[Answer]\nLily ran.\n" in asked[0]
    assert "[Question]\nUser: Tell a story.\n\nAssistant: Once.\n\nUser: More.\n\n[Answer]" in asked[1]
    assert "<|" not in "".join(asked)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("7", 7.0), (" 7.5 ", 7.5), ("8/10", 8.0), ("Score: 7", 7.0), ("It is fine.\nScore: 6.5", 6.5),
        ("**Score:** 9", 9.0), ("rating = 4.", 4.0), ("Score: 3\nScore: 5", 5.0), ("Score: -2", -2.0),
        ("7/10", 7.0), ("7/100", None), ("Score: 7 out of 10", 7.0), ("Score: .5", None),
        ("Final score: 9", 9.0), ("Score: 3\nNo, it is better.", None),
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
        ([(200, {}, b"not json"), says("Score: 7")], "ok", 2),
        ([(200, {}, {"choices": []})], "no answer in the reply", 3),
        ([(200, {}, b"[" * 100_000)], "the reply is not JSON", 3),
        ([says(None)], "the answer is empty", 3),
        ([says("  ")], "the answer is empty", 3),
        ([(429, {"Retry-After": "nan"}, {}), (429, {"Retry-After": "Mon, 01 Jan 2024 00:00:00 GMT"}, {}),
          says("Score: 7")], "ok", 3),
        ([(200, {}, {"choices": [{"message": {"content": "Score: 1"}, "finish_reason": "length"}]})],
         "cut off", 1),
        ([says("nan")], "no score in the answer", 1),
        ([says("Score: 11")], "outside of the range", 1),
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
    assert list(gone(["x"])) == [(0, Answer(None, "the server cannot be reached"))]


def test_a_reply_that_trickles_is_given_up_within_the_timeout(judge: Any) -> None:
    judge.trickles = b" "
    started = time.monotonic()
    found = list(endpoint(judge, timeout=0.3, retries=0)(["x"]))
    assert found == [(0, Answer(None, "no answer in time"))]
    assert time.monotonic() - started < 4


def test_a_teacher_that_is_gone_stops_the_run_and_is_asked_again(judge: Any, tmp_path: Path) -> None:
    texts = ["a", "b", "c", "d"]
    judge.replies = [says("Score: 2"), (500, {}, {})]
    made = teacher(endpoint(judge, retries=0), tmp_path)
    known = made([PROMPT], ["a"])
    with pytest.raises(UserError, match="none of 4 questions: 4 x http 500"):
        made([PROMPT] * 5, [*texts, "e"])
    judge.replies = [says("Score: 3")]
    resumed = teacher(endpoint(judge), tmp_path)
    assert resumed([PROMPT] * 4, texts) == [*known, 3.0, 3.0, 3.0]


def test_one_that_could_not_be_scored_stays_so_in_a_resumed_run(judge: Any, tmp_path: Path) -> None:
    judge.replies = [lambda question: (500, {}, {}) if "odd" in question else says("Score: 3")]
    first = teacher(endpoint(judge, retries=0), tmp_path)([PROMPT] * 4, ["a", "odd", "c", "d"])
    assert first == pytest.approx([3.0, math.nan, 3.0, 3.0], nan_ok=True)
    judge.replies = [says("Score: 9")]
    again = teacher(endpoint(judge), tmp_path)([PROMPT] * 4, ["a", "odd", "c", "d"])
    assert again == pytest.approx(first, nan_ok=True)


def test_an_answer_is_on_the_disk_before_the_others_have_come(judge: Any, tmp_path: Path) -> None:
    kept: list[int] = []

    def reply(question: str) -> Reply:
        path = tmp_path / "teacher_answers.jsonl"
        kept.append(len(path.read_text().splitlines()) if path.exists() else 0)
        time.sleep(0.05)
        return says("Score: 1")

    judge.replies = [reply]
    teacher(endpoint(judge), tmp_path)([PROMPT] * 4, ["a", "b", "c", "d"])
    assert kept[0] == 0 < kept[-1]


def test_what_was_on_its_way_when_a_key_is_refused_is_kept(judge: Any, tmp_path: Path) -> None:
    def reply(question: str) -> Reply:
        if "refused" in question:
            return 401, {}, {}
        time.sleep(0.2)
        return says("Score: 1")

    judge.replies = [reply]
    with pytest.raises(UserError, match="401"):
        teacher(endpoint(judge, max_concurrency=2), tmp_path)([PROMPT] * 2, ["slow", "refused"])
    (row,) = (tmp_path / "teacher_answers.jsonl").read_text().splitlines()
    assert json.loads(row)["score"] == 1.0


def test_two_teachers_of_a_mixture_keep_their_answers_apart(tmp_path: Path) -> None:
    def ask(text: str) -> Any:
        return lambda questions: [(place, Answer(text, "ok")) for place in range(len(questions))]

    for _ in range(2):  # the second time from the file
        mild, strict = (
            teacher(ask(text), tmp_path, name=name) for text, name in (("9", "mild"), ("2", "strict"))
        )
        assert (mild([PROMPT], ["Once."]), strict([PROMPT], ["Once."])) == ([9.0], [2.0])
    mild.close()
    strict.close()
    rows = read_rows(tmp_path / "teacher_answers.parquet")
    assert {(row["component"], row["score"]) for row in rows} == {("mild", 9.0), ("strict", 2.0)}


def test_retries_leave_the_runs_own_chance_alone(judge: Any) -> None:
    judge.replies = [(500, {}, {})]
    before = random.getstate()
    list(endpoint(judge)(["x"]))
    assert random.getstate() == before


@pytest.mark.parametrize("key", ["two words", "sk-caf\u00e9"])
def test_what_cannot_be_a_key_is_refused_without_being_shown(judge: Any, monkeypatch: Any, key: str) -> None:
    monkeypatch.setenv("JUDGE_KEY", key)
    with pytest.raises(ConfigError, match="holds no key") as caught:
        endpoint(judge, api_key_env="JUDGE_KEY")
    assert key not in str(caught.value)


def test_a_key_that_comes_back_is_taken_out_of_the_answer(judge: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("JUDGE_KEY", f"{KEY}\n")  # as a mounted secret is read
    judge.replies = [says(f"your key is {KEY}")]
    ((_, answer),) = endpoint(judge, api_key_env="JUDGE_KEY")(["x"])
    assert judge.keys == [f"Bearer {KEY}"]
    assert answer.text == "your key is [key]"


@pytest.mark.parametrize(
    "address", ["http://me:key@x/v1", "https://x/v1?api-key=key", "http://x:port-key/v1"]
)
def test_an_address_with_a_key_in_it_is_refused_without_being_shown(address: str) -> None:
    tree = {"kind": "teacher", "endpoint": {"model": "m", "base_url": address}}
    with pytest.raises(ConfigError, match="base_url") as caught:
        validate(TeacherReward, tree, "x.yaml")
    assert address not in str(caught.value)


@pytest.mark.parametrize("status", [302, 401, 403, 404])
def test_a_wrong_key_or_name_stops_at_once_and_the_key_is_nowhere(
    judge: Any, tmp_path: Path, monkeypatch: Any, status: int
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    away = {"Location": f"{judge.url}/elsewhere?key={KEY}"} if status == 302 else {}
    judge.replies = [(status, away, {"error": KEY})]
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
    [
        ("{{ nothing_here }}", "nothing_here"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% if %}", "cannot be read"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
    ],
)
def test_a_template_that_fails_is_a_message(tmp_path: Path, text: str, says_: str) -> None:
    template = tmp_path / "rate.jinja"
    template.write_text(text)
    with pytest.raises(ConfigError, match=says_):
        teacher(lambda questions: [(0, Answer("1", "ok"))], tmp_path / "kept", template=str(template))(
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
    with pytest.raises(ConfigError, match="does not exist"):
        TeacherReward(kind="teacher", model="sft", template=str(tmp_path / "c")).external_files()


PUBLISHED = """
model_name_or_path: "meta-llama/Llama-3.2-3B-Instruct"
prompt_template_path: "{folder}/teacher_prompt.md"
temperature: 0.2
max_tokens: 6
min_score: 1
max_score: 9
"""


def test_a_published_teacher_yaml_works_as_written(tmp_path: Path) -> None:
    (tmp_path / "teacher_prompt.md").write_text(
        "**Context:** `{{context}}`\n**Continuation:** `{{continuation}}`\n{{min_score}} to {{max_score}}"
    )
    settings = yaml.safe_load(PUBLISHED.format(folder=tmp_path))
    made = validate(TeacherReward, {"kind": "teacher", **settings}, "teacher.yaml")
    assert made.model == "meta-llama/Llama-3.2-3B-Instruct"
    assert (made.temperature, made.max_tokens, made.min_score, made.max_score) == (0.2, 6, 1, 9)
    asked: list[str] = []

    def ask(questions: Any) -> Any:
        asked.extend(questions)
        return [(place, Answer("7", "ok")) for place in range(len(questions))]

    (tmp_path / "kept").mkdir()
    assert Teacher(made, ask, tmp_path / "kept")([PROMPT], ["Once."]) == [7.0]
    assert asked == ["**Context:** `Tell a story.`\n**Continuation:** `Once.`\n1 to 9"]
    # A column of the prompts keeps its name, as before these two were known.
    Teacher(made, ask, tmp_path / "kept")([PROMPT], ["Once."], context=["a column"])
    assert "`a column`" in asked[-1]


@pytest.mark.parametrize(
    ("settings", "says_"),
    [
        ({"model": "sft", "model_name_or_path": "sft"}, "two names for model"),
        ({"model": "sft", "template": "a", "prompt_template_path": "b"}, "two names for template"),
        ({"endpoint": {"model": "m", "temperature": 0.5}, "temperature": 0.2}, "two names for one setting"),
        ({"model": "sft", "default_score": 0.5}, "default_score: remove it"),
    ],
)
def test_one_thing_under_two_names_is_refused(settings: Any, says_: str) -> None:
    with pytest.raises(ConfigError, match=says_):
        validate(TeacherReward, {"kind": "teacher", **settings}, "teacher.yaml")


def test_published_names_are_the_identity_of_ours_and_a_temperature_may_be_the_servers() -> None:
    from tempering.config import identity

    ours = TeacherReward(kind="teacher", model="sft", template="a")
    theirs = {
        "kind": "teacher",
        "model_name_or_path": "sft",
        "prompt_template_path": "a",
        "temperature": None,
    }
    assert identity(TeacherReward.model_validate({**theirs, "temperature": 0})) == identity(ours)
    assert "temperature" not in identity(ours), "as before there was one"
    served = {"kind": "teacher", "endpoint": {"model": "m"}, "temperature": 0.2, "model_name_or_path": None}
    made = TeacherReward.model_validate(served)
    assert made.endpoint is not None
    assert made.endpoint.temperature == 0.2


@pytest.mark.slow
def test_what_a_local_teacher_draws_hangs_on_the_question_alone(tiny: Any, tmp_path: Path) -> None:
    from tempering.rewards.teacher import local

    config = TeacherReward(kind="teacher", model="sft", temperature=1.0, max_tokens=8)
    ask = local(config, tiny("sft"), "cpu", 0)
    texts = ["Tell a story.", "Who ran?", "Where is the dog?", "A longer question than the others are."]
    together = dict(ask(texts))
    assert len({answer.text for answer in together.values()}) > 1
    for place, text in enumerate(texts):
        assert dict(ask([text]))[0] == together[place]
    assert dict(local(config, tiny("sft"), "cpu", 1)(texts)) != together, "another seed draws anew"


@pytest.mark.slow
def test_a_local_teacher_answers_and_ppo_learns_from_it(tiny: Any, tmp_path: Path) -> None:
    from tests.conftest import tiny_nodes
    from tests.tiny import fresh_draft, inputs_of

    template = tmp_path / "rate.jinja"
    template.write_text("{{ completion }}")
    parts = {
        "rated": {"kind": "teacher", "model": "sft", "template": str(template), "max_tokens": 4},
        "ended": {"kind": "rule", "rule": "ended"},
    }
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


@pytest.mark.slow
def test_a_run_that_stopped_goes_on_as_if_it_had_not_and_asks_nothing_twice(
    judge: Any, tiny: Any, tmp_path: Path
) -> None:
    from tests.conftest import tiny_nodes
    from tests.tiny import fresh_draft, inputs_of

    def rated(question: str) -> Reply:
        return says(f"Score: {len(question) % 11}")

    def rated_until_the_key_runs_out(question: str) -> Reply:
        return (401, {}, {}) if len(judge.asked) > 40 else rated(question)

    asked = {"model": "judge", "base_url": judge.url, "max_concurrency": 2}
    changes = {"rloo.reward": {"kind": "teacher", "endpoint": asked}, "rloo.score_normalization": "whiten"}
    node = next(node for node in tiny_nodes(changes) if node.name == "rloo")

    def run(name: str) -> list[dict[str, Any]]:
        draft = fresh_draft(tmp_path / name)
        node.stage(draft, node.config, **inputs_of(node, tiny))
        rows = read_rows(draft.metadata_dir / "generated_outputs.parquet")
        return [{key: row[key] for key in ("step", "completion", "score", "reward", "kl")} for row in rows]

    judge.replies = [rated]
    whole, questions = run("whole"), len(judge.asked)
    judge.asked.clear()
    judge.replies = [rated_until_the_key_runs_out]
    with pytest.raises(UserError, match="401"):
        run("stopped")
    known = len((tmp_path / "stopped/metadata/teacher_answers.jsonl").read_text().splitlines())
    assert known == 40, "every answer that came before the key ran out is kept"
    judge.asked.clear()
    judge.replies = [rated]
    assert run("stopped") == whole
    assert len(judge.asked) == questions - known
