"""The form of a file is told by its columns and values, and a form that fits nothing is refused."""

import json

import pytest
from pydantic import TypeAdapter

from tempering.config import identity
from tempering.data.builders import AutoConfig, Builder, build
from tempering.data.builders.known_forms import FORMS
from tempering.data.builders.recognise import Recognised, builder_for, recognise, recognise_text
from tempering.data.rows import Notice, Row, problem
from tempering.errors import DataError
from tests.data.built import reasons_of, rows_of

ADAPTER = TypeAdapter(Builder)
HH = "\n\nHuman: Hi\n\nAssistant: Hello."
USER = {"role": "user", "content": "Hi"}
BOTH = [USER, {"role": "assistant", "content": "Hello"}]
TURNS = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]


def written(folder, *records, name="a.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


# records of one file -> kind, row type, further settings
KNOWN = [
    ({"sentence_good": "a", "sentence_bad": "b"}, "minimal_pairs", "minimal_pair", {}),
    ({"id": "1", "question": "q", "context": "c", "answers": {"text": ["c"]}}, "squad", "question", {}),
    ({"chosen": HH, "rejected": HH + "!"}, "hh", "preference", {}),
    ({"prompt": "p", "chosen": "c", "rejected": "r"}, "preference", "preference", {}),
    ({"prompt": "p", "chosen": "c", "rejected": "r", "metadata": {}}, "preference", "preference", {}),
    ({"prompt": "p", "chosen": "c", "rejected": "r", "metadata": {"score_chosen": 1}},
     "ultrafeedback", "preference", {}),
    ({"prompt": "Hi", "chosen": BOTH, "rejected": BOTH, "score_chosen": 1},
     "ultrafeedback", "preference", {}),
    ({"chosen": BOTH, "rejected": BOTH}, "preference", "preference", {}),
    ({"conversations": TURNS[:1], "chosen": TURNS[1], "rejected": TURNS[1]}, "preference", "preference", {}),
    ({"system": "s", "question": "q", "chosen": "c", "rejected": "r"}, "preference", "preference", {}),
    ({"instruction": "i", "output_1": "a", "output_2": "b", "preference": 2}, "preference", "preference", {}),
    ({"question": "q", "response_j": "j", "response_k": "k"}, "stack_exchange", "preference", {}),
    ({"conversation": BOTH, "meta_eval_score": 3, "score_reason": ""}, "scored", "scored_conversation", {}),
    ({"messages": BOTH, "score": "4.5"}, "scored", "scored_conversation", {}),
    ({"messages": BOTH, "label": False}, "kto", "unpaired_preference", {}),
    ({"prompt": [USER], "completion": BOTH[1:], "label": True}, "kto", "unpaired_preference", {}),
    ({"conversations": TURNS, "tools": "[]"}, "sharegpt", "messages", {}),
    ({"messages": BOTH, "source": "x"}, "chat", "messages", {}),
    ({"messages": json.dumps(BOTH)}, "chat", "messages", {}),
    ({"conversations": str(TURNS)}, "sharegpt", "messages", {}),
    ({"prompt": json.dumps([USER]), "completion": "c"}, "prompt_response", "prompt_completion", {}),
    ({"chosen": json.dumps(BOTH), "rejected": json.dumps(BOTH)}, "preference", "preference", {}),
    ({"prompt": "p", "label": None}, "prompts", "prompt", {}),
    ({"instruction": "i", "input": "", "output": "o"}, "alpaca", "prompt_completion", {}),
    ({"instruction": "i", "instances": [{"input": "", "output": "o"}]}, "alpaca", "prompt_completion", {}),
    (
        {"instruction": "i", "context": "c", "response": "r", "category": "x"},
        "alpaca", "prompt_completion", {"columns": {"input": "context", "output": "response"}},
    ),
    ({"question": "q", "choices": ["a", "b"], "answer": 1}, "multiple_choice", "multiple_choice", {}),
    (
        {"question": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "B"},
        "multiple_choice", "multiple_choice", {},
    ),
    ({"input_prefix": "q", "options": ["a", "b"]}, "multiple_choice", "multiple_choice", {"answer_index": 0}),
    (
        {"prompt": "p", "chosen": ["a"], "rejected": ["b", "c"], "num_correct": 1, "subset": "Ties"},
        "reward_bench", "answer_set", {},
    ),
    (
        {"Domain": "d", "Context1": "a", "Context2": "b", "Target1": "c", "Target2": "d"},
        "ewok", "candidates", {},
    ),
    (
        {"prefix_acceptable": "a", "prefix_unacceptable": "b", "property_phrase": "c", "id": 1},
        "comps", "candidates", {},
    ),
    ({"sentences": "a b\ta c", "ratio": 0.5}, "word_forms", "word_forms", {}),
    (
        {"item": "a", "word": "b", "RTfirstfix": "3.5", "prev_item": "", "prev_word": ""},
        "reading_times", "reading_times", {},
    ),
    ({"sentence1": "a", "sentence2": "b", "label": 1, "idx": 0}, "classification", "classification", {}),
    ({"question": "a", "passage": "b", "label": True}, "classification", "classification", {}),
    ({"text": "a", "span1_text": "b", "span2_text": "c", "label": 0}, "classification", "classification", {}),
    ({"text": "a", "label": "1"}, "classification", "classification", {}),
    ({"text": "a<br />b", "label": 4}, "sentiment", "classification", {"labels": ()}),
    ({"review": "a", "sentiment": "negative"}, "sentiment", "classification", {}),
    ({"text": "a<br />b"}, "sentiment", "text", {"rows": "text"}),
    ({"question": "q", "answer": "a"}, "prompt_response", "prompt_completion", {}),
    ({"question": "q", "answer": 4}, "prompt_response", "prompt_completion", {}),
    ({"instruction": "i", "response": 0.5}, "prompt_response", "prompt_completion", {}),
    ({"chosen": "It is a mill.", "rejected": "It is no."}, "preference", "preference", {}),
    ({"text": "a", "label": "True"}, "classification", "classification", {}),
    ({"question": "q", "answer": 4}, "prompt_response", "prompt_completion", {}),
    ({"instruction": "i", "response": 0.5}, "prompt_response", "prompt_completion", {}),
    ({"chosen": "It is a mill.", "rejected": "It is no."}, "preference", "preference", {}),
    ({"text": "a", "label": "True"}, "classification", "classification", {}),
    ({"prompt": "q", "completion": "a"}, "prompt_response", "prompt_completion", {}),
    ({"prompt": "p", "chosen": "c"}, "prompt_response", "prompt_completion", {}),
    ({"question_id": 1, "category": "x", "turns": ["a", "b"]}, "prompts", "prompt", {}),
    ({"question_id": "x", "question": "q"}, "prompts", "prompt", {}),
    ({"text": "a", "url": "x"}, "text", "text", {}),
    ({"text": "a", "id": "x", "url": "x", "score": 3.2, "int_score": 3}, "text", "text", {}),
    ({"story": "a"}, "text", "text", {"columns": {"text": "story"}}),
    ({"Question": "q", "Answer": "a"}, "prompt_response", "prompt_completion",
     {"columns": {"question": "Question", "answer": "Answer"}}),
]  # fmt: skip


@pytest.mark.parametrize(("record", "kind", "row_type", "given"), KNOWN)
def test_a_form_is_told_by_its_columns_and_values(tmp_path, record, kind, row_type, given):
    found = recognise([record], "a.jsonl")
    assert (found.kind, dict(found.settings)) == (kind, given)
    config = AutoConfig(path=written(tmp_path, record))
    assert str(config.row_type) == row_type
    notice, *rest = build(config)
    assert isinstance(notice, Notice)
    assert f"kind: {kind}" in notice.text
    # Pairs of equal sides are rejected; every other row here is a good one.
    assert [item for item in rest if isinstance(item, Row)] or reasons_of(config)[0][1].endswith("the same")


def test_every_form_can_be_read():
    for form in FORMS:
        config = builder_for(Recognised(form.kind, form.settings), path="a.jsonl")
        assert config.kind == form.kind
        assert config.row_type


def test_a_few_broken_rows_decide_nothing():
    rows = [{"chosen": HH, "rejected": HH}] * 3
    assert recognise([{"chosen": None, "rejected": 3}, {}, *rows], "a.jsonl").kind == "hh"
    assert recognise([{"chosen": HH, "rejected": "x"}, *rows], "a.jsonl").kind == "hh"


def test_the_corpora_of_babylm_are_told_by_the_name():
    assert recognise([{"text": "a", "title": "b"}], "simple_wiki.jsonl") == Recognised(
        "babylm", {"corpus": "simple_wiki"}, ("text",)
    )
    assert recognise([{"prompt": "a"}], "childes.jsonl").kind == "prompts"


def test_text_files():
    assert recognise_text(["a", "b<|endoftext|>c"], "a.txt").kind == "tinystories"
    assert recognise_text(["*MOT:\ta"], "childes.train").settings == {"corpus": "childes"}
    start = "*** START OF THE PROJECT GUTENBERG EBOOK X ***"
    assert recognise_text(["Title", start], "pg11.txt").settings == {"corpus": "gutenberg"}
    with pytest.raises(DataError, match="nothing in it says where a document ends") as error:
        recognise_text(["a", "", "b"], "a.txt")
    assert "blank_line" in error.value.fix


# records -> what the message must say: the nearest row type, what it lacks, what to do
UNKNOWN = [
    ([{"chosen": "a", "rejected": "b"}], "preference", "prompt (a prompt)", "kind: preference"),
    ([{"chosen": "It is a.", "rejected": "It is b.", "post": "c"}], "preference", "prompt (a prompt)", ""),
    ([{"question": "q", "answer": ["a", "b"]}], "prompt_completion", "one answer", "{answer: answer.0}"),
    ([{"chosen": "It is a.", "rejected": "It is b.", "post": "c"}], "preference", "prompt (a prompt)", ""),
    ([{"question": "q", "answer": ["a", "b"]}], "prompt_completion", "one answer", "{answer: answer.0}"),
    ([{"headline": "a", "stars": 3}], "text", "text (a string)", "columns: {text: ...}"),
    ([{"text": "a", "label": "sports"}], "classification", "labels as numbers", "labels: [FIRST, SECOND"),
    ([{"prompt": "p", "completions": [{"completion": "c"}]}],
     "prompt_completion", "one completion", "completions.0"),
    ([{"prompt": "p", "answers": ["a"]}], "prompt_completion", "one answer: `answers` holds a list",
     "columns: {answer: answers.0}"),
    ([{"question": "q", "answer": True}], "prompt_completion", "answers that are texts", "as texts"),
    ([{"prompt": "p", "response": {"text": "a"}}], "prompt_completion", "`response` holds something else",
     "columns: {response: response.NAME}"),
    ([{"user_prompt": "q", "chosen": "I am a", "rejected": "I am b"}], "preference", "prompt (a prompt",
     "columns: {prompt: ...}"),
    ([{"sentence1": "a", "sentence2": "b"}], "classification", "label (a label", "columns: {label: ...}"),
    ([{"messages": [["Hi", "Hello"]], "score": 1}], "scored_conversation", "messages (a list of turns)", ""),
    ([{"text": ["a", "b"], "label": [0, 1]}], "classification", "one record per row", "JSONL"),
    ([{"x1": {"content": [{"message": "a"}], "conversation_rating": "Good"},
       "x2": {"content": [{"message": "b"}], "conversation_rating": "Poor"}}],
     "scored_conversation", "the ratings are words", "JSONL"),
]  # fmt: skip


@pytest.mark.parametrize(("records", "nearest", "lacks", "fix"), UNKNOWN)
def test_a_form_that_fits_nothing_is_refused_with_the_nearest(records, nearest, lacks, fix):
    with pytest.raises(DataError) as error:
        recognise(records, "odd.jsonl")
    assert error.value.found.startswith("odd.jsonl fits no row type; its columns are ")
    assert next(iter(records[0])) in error.value.found
    assert f"the nearest row type is {nearest} (" in error.value.expected
    assert lacks in error.value.expected
    assert fix in error.value.fix


def test_names_in_a_refusal_cannot_steer_a_terminal():
    with pytest.raises(DataError) as error:
        recognise([{"\x1b[31mcol" + "o" * 100_000: 1}], "\x1b]0;x\x07.jsonl")
    assert "␛[31mcolo" in error.value.found
    assert "␛]0;x␇.jsonl" in error.value.found
    assert not {"\x1b", "\x07"} & set(str(error.value))
    assert len(error.value.found) < 300


def test_a_table_may_lack_its_header():
    with pytest.raises(DataError, match="set header: false"):
        recognise([{"gj04": "a", "1": "b"}], "a.tsv.gz")


def test_cola_needs_no_settings_though_it_lacks_its_header(fixtures, tmp_path):
    rows = rows_of(AutoConfig(path=fixtures / "cola.tsv"))
    assert [(row["text"][:7], row["label"]) for row in rows] == [("The sai", 1), ("As you ", 0)]
    for line in ("gj04\t2\t\tA sentence.", "gj04\t1\tgood\tA sentence.", "gj04\t1\tA sentence."):
        (tmp_path / "other.tsv").write_text(f"{line}\n" * 2)
        with pytest.raises(DataError, match="set header: false"):
            list(build(AutoConfig(path=tmp_path / "other.tsv")))


def test_a_column_map_is_looked_at_first_and_goes_along(tmp_path):
    path = written(tmp_path, {"ask": "Why?", "said": {"final": "So."}})
    with pytest.raises(DataError):
        list(build(AutoConfig(path=path)))
    (row,) = rows_of(AutoConfig(path=path, columns={"prompt": "ask", "Completion": "said.final"}))
    assert row["completion"] == [{"role": "assistant", "content": "So."}]


@pytest.mark.parametrize(
    ("rows", "record", "row_type"),
    [
        ("prompts", {"question": "q", "response_j": "j", "response_k": "k"}, "prompt"),
        ("prompt_completion", {"question": "q", "response_j": "j", "response_k": "k"}, "prompt_completion"),
        ("preference", {"question": "q", "context": "c d", "answers": ["c"]}, "preference"),
        ("prompt_completion", {"question": "q", "context": "c d", "answers": ["c"]}, "prompt_completion"),
        ("prompts", {"messages": BOTH}, "prompt"),
        ("prompt_completion", {"messages": BOTH}, "prompt_completion"),
        ("prompts", {"text": "A film.<br />Good."}, "text"),  # its beginnings are prompts, cut when sampled
    ],
)
def test_rows_are_passed_on_where_the_builder_knows_them(tmp_path, rows, record, row_type):
    config = AutoConfig(path=written(tmp_path, record), rows=rows)
    assert str(config.row_type) == row_type
    assert all(problem(config.row_type, row) is None for row in rows_of(config))


def test_the_folder_says_what_rows_are_for(tmp_path):
    folder = tmp_path / "data" / "rl"
    folder.mkdir(parents=True)
    path = written(folder, {"question": "q", "response_j": "j", "response_k": "k"})
    assert str(AutoConfig(path=path).row_type) == "prompt"
    assert str(AutoConfig(path=path, rows="auto").row_type) == "preference"
    assert str(AutoConfig(path=path, rows="prompt_completion").row_type) == "prompt_completion"


@pytest.mark.parametrize(
    ("folder", "record", "row_type"),
    [
        ("finetune", {"messages": BOTH + BOTH}, "messages"),  # all of its answers are learnt
        ("reward", {"prompt": "p", "completion": "c", "label": True}, "unpaired_preference"),
        ("reward", {"question": "q", "context": "c d", "answers": ["c"]}, "preference"),
        ("rl", {"text": "A film.<br />Good.", "label": 1}, "text"),
        ("evaluation", {"question": "q", "answer": "a"}, "prompt_completion"),
    ],
)
def test_a_folder_means_the_same_with_auto_as_with_the_builder_named(tmp_path, folder, record, row_type):
    place = tmp_path / "data" / folder
    place.mkdir(parents=True)
    config = AutoConfig(path=written(place, record))
    named = ADAPTER.validate_python({"kind": recognise([record], "a").kind, "path": config.path})
    assert str(config.row_type) == str(named.row_type) == row_type
    assert rows_of(config) == rows_of(named)
    # The path is no part of the identity, so the folder's name is; elsewhere it means the same.
    elsewhere = AutoConfig(**{**config.model_dump(), "path": written(tmp_path, record)})
    assert identity(elsewhere) == identity(config)
    assert str(elsewhere.row_type) == row_type


def test_rows_that_cannot_be_had_are_refused(tmp_path):
    path = written(tmp_path, {"messages": BOTH, "label": True})
    with pytest.raises(DataError, match="unpaired_preference rows cannot be used as preference rows"):
        list(build(AutoConfig(path=path, rows="preference")))


def test_files_of_different_forms_are_one_set_if_their_rows_are_of_one_type(tmp_path):
    written(tmp_path, {"sentence1": "a", "sentence2": "b", "label": 1}, name="a.jsonl")
    written(tmp_path, {"sentence": "a", "label": 1}, name="b.jsonl")
    items = list(build(AutoConfig(path=tmp_path)))
    assert [type(item) for item in items] == [Notice, Row, Notice, Row]
    written(tmp_path, {"messages": BOTH}, name="c.jsonl")
    with pytest.raises(DataError, match=r"c\.jsonl is recognised as kind: chat .* gives messages rows"):
        list(build(AutoConfig(path=tmp_path)))


def test_the_file_is_looked_at_again_when_it_changes(tmp_path):
    config = AutoConfig(path=written(tmp_path, {"question": "q"}))
    assert str(config.row_type) == "prompt"
    written(tmp_path, {"question": "q", "answer": "a"})
    assert str(config.row_type) == "prompt_completion"


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.csv"])
@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_a_file_without_records_is_passed_over_aloud(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="holds no rows"):
        list(build(AutoConfig(path=tmp_path / name)))
    written(tmp_path, {"prompt": "p"}, name="b.jsonl")
    notice, _, row = build(AutoConfig(path=tmp_path))
    assert notice == Notice(f"{name}: holds no rows and is skipped")
    assert isinstance(row, Row)


def test_a_file_of_which_nothing_can_be_read_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text("not json\n")
    written(tmp_path, {"prompt": "p"}, name="b.jsonl")
    with pytest.raises(DataError, match="holds no record that can be read"):
        list(build(AutoConfig(path=tmp_path)))


def test_a_document_of_other_rows_is_no_squad(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"data": [{"prompt": "p", "completion": "c"}]}))
    with pytest.raises(DataError, match="one document whose rows lie inside"):
        list(build(AutoConfig(path=path)))
