"""Every builder reads a file and gives valid rows of its type; what all builders share."""

import copy
import json
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tempering.artifacts.digests import DigestCache, external_digests
from tempering.artifacts.fingerprint import fingerprint
from tempering.config import external_files, identity, named_files
from tempering.data.builders import (
    AlpacaConfig,
    AutoConfig,
    Builder,
    ChatConfig,
    HHConfig,
    PromptsConfig,
    SentimentConfig,
    SquadConfig,
    StackExchangeConfig,
    TextConfig,
    UltraFeedbackConfig,
    WorldConfig,
    build,
)
from tempering.data.rows import Notice, Rejected, Row, RowType, problem
from tests.data.built import notes_of, reasons_of, rows_of
from tests.data.in_memory import build_parts

ADAPTER = TypeAdapter(Builder)
UNION, _ = get_args(Builder)
KINDS = {kind.model_fields["kind"].default: kind for kind in get_args(UNION)}

# kind -> file, settings, row type, good rows, rejected rows
FIXTURES = {
    "text": ("stories.txt", {}, "text", 3, 0),
    "tinystories": ("stories.txt", {}, "text", 3, 0),
    "babylm": ("simple_wiki.train", {}, "text", 4, 1),
    "sentiment": ("sentiment.jsonl", {}, "classification", 3, 3),
    "alpaca": ("alpaca.json", {}, "prompt_completion", 4, 5),
    "chat": ("chat.jsonl", {}, "messages", 3, 6),
    "sharegpt": ("sharegpt.json", {}, "messages", 2, 1),
    "prompt_response": ("prompt_response.jsonl", {}, "prompt_completion", 5, 3),
    "prompts": ("prompts.jsonl", {}, "prompt", 4, 2),
    "preference": ("preference.json", {}, "preference", 5, 3),
    "ultrafeedback": ("ultrafeedback.jsonl", {}, "preference", 3, 5),
    "hh": ("hh.jsonl", {}, "preference", 3, 6),
    "stack_exchange": ("stack_exchange.json", {}, "preference", 1, 2),
    "kto": ("kto.jsonl", {}, "unpaired_preference", 3, 3),
    "scored": ("scored.jsonl", {}, "scored_conversation", 3, 3),
    "squad": ("squad.json", {}, "question", 3, 2),
    "classification": ("glue.jsonl", {"labels": ["yes", "maybe", "contradiction"]}, "classification", 9, 3),
    "minimal_pairs": ("minimal_pairs.jsonl", {}, "minimal_pair", 2, 2),
    "multiple_choice": ("multiple_choice.jsonl", {}, "multiple_choice", 5, 4),
    "reward_bench": ("reward_bench.jsonl", {}, "answer_set", 4, 3),
    "ewok": ("ewok.jsonl", {}, "candidates", 3, 1),
    "comps": ("comps_wugs_dist-before.jsonl", {}, "candidates", 2, 1),
    "word_forms": ("wug_adj_nominalization.jsonl", {}, "word_forms", 2, 2),
    "reading_times": ("reading_data.csv", {}, "reading_times", 4, 1),
    "auto": ("kto.jsonl", {}, "unpaired_preference", 3, 3),
}


def test_every_builder_has_a_fixture():
    assert set(FIXTURES) == set(KINDS) - {"world"}


@pytest.mark.parametrize("kind", FIXTURES)
def test_a_file_becomes_rows_of_the_type(fixtures, kind):
    file, given, row_type, rows, rejected = FIXTURES[kind]
    config = ADAPTER.validate_python({"kind": kind, "path": str(fixtures / file), **given})
    items = list(build(config))
    good = [item for item in items if isinstance(item, Row)]
    assert (str(config.row_type), len(good)) == (row_type, rows)
    assert all(problem(config.row_type, item.values) is None for item in good)
    assert len(reasons_of(config)) == rejected
    assert {item.file for item in items if not isinstance(item, Notice)} == {file}
    assert ADAPTER.validate_python(config.model_dump()) == config


def records_in(path):
    text = path.read_text("utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.split("\n") if line]
    found = json.loads(text)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else [found]


def mutations(record):
    """`record` with one of its values, at any depth, exchanged or gone."""
    odd = st.sampled_from(
        [None, 3, 1e400, -(10**400), True, "", " ", "\ud800", "9" * 5000, [], [None], {}, {"role": []}]
    )

    @st.composite
    def mutated(draw):
        made = copy.deepcopy(record)
        place = made
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = draw(st.sampled_from(keys))
            inner = place[key]
            if isinstance(inner, dict | list) and inner and draw(st.booleans()):
                place = inner
                continue
            if isinstance(place, dict) and draw(st.booleans()):
                del place[key]
            else:
                place[key] = draw(odd)
            return made

    return mutated()


@pytest.mark.parametrize("kind", [kind for kind in FIXTURES if FIXTURES[kind][0].endswith(("json", "jsonl"))])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_record_breaks_a_builder(fixtures, kind, data):
    file, given, *_ = FIXTURES[kind]
    record = data.draw(st.sampled_from(records_in(fixtures / file)).flatmap(mutations))
    config = ADAPTER.validate_python({"kind": kind, "path": str(fixtures / file), **given})
    if kind == "auto":
        config = config.builder(fixtures / file)
    for item in config.rows_in(fixtures / file, [(7, record)]):
        if isinstance(item, Row):
            problem(config.row_type, item.values)
        assert isinstance(item, Row | Rejected)
        assert item.line == 7


def test_columns_are_named_by_hand_and_reach_into_objects(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"ask": {"first": "Why?"}, "answers": ["So.", "No."], "score.raw": 2, "id": 1}\n')
    config = {"kind": "prompt_response", "path": path}
    columns = {"prompt": "ask.first", "completion": "answers.1", "rated": "score.raw"}
    (row,) = rows_of(ADAPTER.validate_python({**config, "columns": columns}))
    assert (row["prompt"][0]["content"], row["completion"][0]["content"]) == ("Why?", "No.")
    assert (row["rated"], row["id"]) == (2, 1)
    missing = ADAPTER.validate_python(
        {**config, "columns": {"prompt": "ask.first", "completion": "answers.7"}}
    )
    assert reasons_of(missing)[0][1].startswith("no answer")


def test_a_change_is_noted_once_a_row(tmp_path):
    path = tmp_path / "a.jsonl"
    side = [
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": ""},
        {"role": "assistant", "content": "x"},
    ]
    path.write_text(
        json.dumps({"chosen": side, "rejected": [*side[:2], {"role": "assistant", "content": "y"}]})
    )
    assert notes_of(ADAPTER.validate_python({"kind": "preference", "path": path})) == [
        (1, "empty turns taken out")
    ]


def test_columns_that_could_be_taken_for_the_row_are_not_kept(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "Why?", "text": "Why? So.", "num_tokens": 3, "level": 1}\n')
    assert set(rows_of(PromptsConfig(path=path))[0]) == {"prompt", "level"}


@pytest.mark.parametrize(
    ("kind", "folder", "expected"),
    [
        (StackExchangeConfig, "finetune", "prompt_completion"),
        (StackExchangeConfig, "reward", "preference"),
        (StackExchangeConfig, "rl", "prompts"),
        (UltraFeedbackConfig, "rl", "prompts"),
        (HHConfig, "finetune", "prompt_completion"),
        (AutoConfig, "finetune", "auto"),  # the builder that is recognised says what follows
        (AutoConfig, "evaluation", "auto"),
        (AlpacaConfig, "rl", "prompts"),
        (AlpacaConfig, "reward", "prompt_completion"),  # nothing to prefer: its own default
        (ChatConfig, "finetune", "messages"),
        (ChatConfig, "rl", "prompts"),
        (SentimentConfig, "rl", "text"),
        (SquadConfig, "finetune", "prompt_completion"),
        (SquadConfig, "reward", "preferences"),
    ],
)
def test_rows_follow_the_local_folder(kind, folder, expected):
    config = kind(path=f"data/{folder}/a.jsonl")
    assert config.rows == expected == identity(config)["rows"]
    assert config.eval_fraction == (1.0 if folder == "evaluation" else 0.05)
    explicit = kind.model_fields["rows"].default
    assert kind(path=f"data/{folder}/a.jsonl", rows=explicit, eval_fraction=0.5).rows == explicit


def test_the_folder_nearest_to_the_file_counts_and_all_must_agree():
    assert StackExchangeConfig(path="reward/data/finetune/sub/a.jsonl").rows == "prompt_completion"
    assert StackExchangeConfig(path="data/rl").rows == "prompts"
    assert StackExchangeConfig(path=["data/rl/a.jsonl", "data/rl/b.jsonl"]).rows == "prompts"
    assert StackExchangeConfig(path=["data/rl/a.jsonl", "data/finetune/b.jsonl"]).rows == "preference"
    assert StackExchangeConfig(path="data/reward.jsonl").rows == "preference"
    assert StackExchangeConfig(path="data/rl/my/data/a.jsonl").rows == "prompts"
    assert StackExchangeConfig(path="data/rl/of/data/finetune/a.jsonl").rows == "prompt_completion"
    # A folder above the checkout is none of the layout's.
    assert TextConfig(path="/home/me/evaluation/tempering/data/a.txt").eval_fraction == 0.05
    assert StackExchangeConfig(path="/home/rl/data/a.jsonl").rows == "preference"
    assert TextConfig(path="data/evaluation/a.txt").eval_fraction == 1.0
    assert TextConfig(path="data/evaluation/a.txt", eval_fraction=0.2).eval_fraction == 0.2
    held = TextConfig(path="data/evaluation", train_split="train", eval_split="test")
    assert held.passes() == (("train", 0.0), ("test", 1.0))


def test_the_pairs_of_ultrafeedback_have_a_split_of_their_own():
    assert UltraFeedbackConfig().split == "train_prefs"
    assert UltraFeedbackConfig(split="test_prefs").split == "test_prefs"
    assert UltraFeedbackConfig(path="a.jsonl").split is None
    assert UltraFeedbackConfig(hub="some/other").split is None


def test_the_union_picks_by_kind_and_the_path_is_no_identity(fixtures):
    config = ADAPTER.validate_python({"kind": "text", "path": str(fixtures / "stories.txt")})
    assert isinstance(config, TextConfig)
    assert "path" not in identity(config)
    assert external_files(config) == (fixtures / "stories.txt",)
    with pytest.raises(ValidationError):
        ADAPTER.validate_python({"kind": "text", "path": "a", "sepperator": "x"})
    with pytest.raises(ValidationError, match="say where the rows are"):
        ADAPTER.validate_python({"kind": "text"})


def test_max_rows_counts_good_rows(fixtures):
    config = HHConfig(path=fixtures / "hh.jsonl", max_rows=3, max_rejected_fraction=1)
    parts = build_parts(config)
    assert len(parts.train) + len(parts.eval) == 3
    assert len(parts.rejected) == 5  # what comes after the third good row is not read


def test_several_files_are_read_in_order_and_each_once(fixtures, tmp_path):
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes((fixtures / "hh.jsonl").read_bytes())
    config = HHConfig(path=(copy, fixtures / "hh.jsonl", copy))
    assert [file.name for file in config.external_files()] == ["copy.jsonl", "hh.jsonl"]
    assert len(rows_of(config)) == 6


def test_the_split_of_a_file_is_identity_and_the_place_of_the_folder_is_none(tmp_path):
    def key(folder, **settings):
        config = TextConfig(path=folder, **settings)
        cache = DigestCache(tmp_path / "digests.json")
        return fingerprint("dataset", 1, config, {}, external_digests(named_files(config), cache)).hex

    both = {"train_split": "train", "eval_split": "test"}
    for name in ("one/train/a.jsonl", "one/train/b.jsonl", "one/test/c.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('{"text": "a"}')
    names = [name for name, _ in TextConfig(path=tmp_path / "one", **both).named_files()]
    assert names == ["train:train/a.jsonl", "train:train/b.jsonl", "test:test/c.jsonl"]
    before = key(tmp_path / "one", **both)
    moved = (tmp_path / "one").rename(tmp_path / "two")
    assert key(moved, **both) == before
    (moved / "train" / "b.jsonl").rename(moved / "test" / "b.jsonl")
    assert key(moved, **both) != before
    file = moved / "train" / "a.jsonl"
    assert key((file, file)) == key(file) == key((moved / "train", file))


WORLD_ROWS = {
    "corpus": RowType.TEXT,
    "demonstrations": RowType.PROMPT_COMPLETION,
    "preferences": RowType.PREFERENCE,
    "prompts": RowType.PROMPT,
    "questions": RowType.QUESTION,
    "question_completions": RowType.PROMPT_COMPLETION,
    "question_preferences": RowType.PREFERENCE,
    "minimal_pairs": RowType.MINIMAL_PAIR,
}


@pytest.mark.parametrize("rows", WORLD_ROWS)
def test_world_rows_pass_the_check(rows):
    config = WorldConfig(rows=rows, size=50)
    made = rows_of(config)
    assert config.row_type is WORLD_ROWS[rows]
    assert (len(made), reasons_of(config)) == (50, [])
    assert made == rows_of(config)
    assert made != rows_of(WorldConfig(rows=rows, size=50, split="test"))


def test_world_questions_in_three_forms_agree():
    asked, told, pairs = (
        rows_of(WorldConfig(rows=rows, size=20))
        for rows in ("questions", "question_completions", "question_preferences")
    )
    assert [row["answers"][0] for row in asked] == [row["completion"][0]["content"] for row in told]
    assert [row["prompt"] for row in told] == [row["prompt"] for row in pairs]
    assert all(
        row["question"] in pair["prompt"][0]["content"] for row, pair in zip(asked, pairs, strict=True)
    )
    assert {row["corruption"] for row in pairs} > {"other_answer"}


def test_world_keeps_extra_columns_and_refuses_settings_of_other_rows():
    assert all(row["flipped"] is True for row in rows_of(WorldConfig(rows="preferences", size=60, noise=1.0)))
    with pytest.raises(ValidationError, match="rows: preferences, not of rows: corpus"):
        WorldConfig(rows="corpus", size=1, noise=0.1)
    with pytest.raises(ValidationError, match="question_preferences, not of rows: questions"):
        WorldConfig(rows="questions", size=1, corruptions={"empty": 1})
    shares = identity(WorldConfig(rows="question_preferences", size=1))["corruptions"]
    assert shares["other_answer"] > 0
