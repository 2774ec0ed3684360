"""Builders of prompts with one answer, with two, and of whole conversations."""

import json
from collections import Counter

import pytest
from pydantic import ValidationError

from tempering.config import identity
from tempering.data.builders import (
    AlpacaConfig,
    ChatConfig,
    HHConfig,
    PreferenceConfig,
    PromptResponseConfig,
    PromptsConfig,
    ShareGPTConfig,
    SquadConfig,
    StackExchangeConfig,
    UltraFeedbackConfig,
    build,
)
from tempering.data.files import json_rows
from tempering.data.rows import Row
from tempering.errors import DataError
from tests.data.built import notes_of, reasons_of, rows_of, said


def sides(row):
    return [said(row[name]) for name in ("prompt", "chosen", "rejected")]


def test_alpaca(fixtures):
    rows = rows_of(AlpacaConfig(path=fixtures / "alpaca.json"))
    assert said(rows[0]["prompt"] + rows[0]["completion"]) == [("u", "Name a colour."), ("a", "Red.")]
    assert rows[1]["prompt"][0]["content"] == "Add the numbers.\n\n2 and 3"
    assert [row["prompt"][0]["content"] for row in rows[2:]] == ["Say hello.", "Say bye."]
    assert reasons_of(AlpacaConfig(path=fixtures / "alpaca.json")) == [
        (4, "completion: the content of a message is empty"),
        (5, "instruction: is missing or null, not a string"),
        (6, "input: is int, not a string"),
        (7, "completion: the content of a message holds a lone surrogate or invalid UTF-8"),
        (8, "not a JSON object"),
    ]
    prompts = rows_of(AlpacaConfig(path=fixtures / "alpaca.json", rows="prompts"))
    assert [row["prompt"][0]["content"] for row in prompts][-2:] == ["Say nothing.", "Break."]


def test_self_instruct_gives_one_row_an_instance_held_out_together(fixtures):
    config = AlpacaConfig(path=fixtures / "self_instruct.json")
    items = [item for item in build(config) if isinstance(item, Row)]
    assert [said(item.values["prompt"] + item.values["completion"]) for item in items] == [
        [("u", "Add.\n\n1 and 2"), ("a", "3")],
        [("u", "Add."), ("a", "0")],
    ]
    assert {item.group for item in items} == {"Add."}
    assert items[0].values["id"] == "t1"
    assert reasons_of(config) == [(1, "instances: is not a list of objects")]


def test_prompt_response_under_many_names(fixtures):
    config = PromptResponseConfig(path=fixtures / "prompt_response.jsonl")
    rows = rows_of(config)
    assert [said(row["prompt"]) + said(row["completion"]) for row in rows] == [
        [("u", "Hi"), ("a", "Hello")],
        [("u", "1 + 1?"), ("a", "2")],
        [("u", "say x"), ("a", "x")],
        [("u", "Pair"), ("a", "Good")],
        [("s", "Be short."), ("u", "Why?"), ("a", "So.")],
    ]
    assert rows[0]["source"] == "made"
    assert [line for line, _ in reasons_of(config)] == [6, 7, 8]
    asked = rows_of(PromptResponseConfig(path=fixtures / "prompt_response.jsonl", rows="prompts"))
    assert [set(row) for row in asked[1:]] == [{"prompt"}] * 4


def test_prompts_alone(fixtures):
    config = PromptsConfig(path=fixtures / "prompts.jsonl")
    rows = rows_of(config)
    assert [said(row["prompt"]) for row in rows] == [
        [("u", "Why is the sky blue?")],
        [("u", "Write a poem.")],
        [("u", "Translate.\n\nHallo")],
        [("u", "Hi"), ("a", "Hello"), ("u", "And?")],
    ]
    assert rows[1]["category"] == "writing"
    assert notes_of(config) == [(2, "turns after the first not used")]
    assert [line for line, _ in reasons_of(config)] == [5, 6]


def test_chat_as_whole_conversations_answers_and_prompts(fixtures):
    path = fixtures / "chat.jsonl"
    assert [said(row["messages"]) for row in rows_of(ChatConfig(path=path))] == [
        [("u", "Hi"), ("a", "Hello")],
        [("u", "One?"), ("a", "Two."), ("u", "Three?"), ("a", "Four.")],
        [("s", "Be short."), ("u", "Why?"), ("a", "So.")],
    ]
    assert notes_of(ChatConfig(path=path)) == [(1, "trailing turns after the last answer cut off")]
    answers = rows_of(ChatConfig(path=path, rows="prompt_completion"))
    assert [(len(row["prompt"]), said(row["completion"])) for row in answers] == [
        (1, [("a", "Hello")]),
        (3, [("a", "Four.")]),
        (2, [("a", "So.")]),
    ]
    prompts = rows_of(ChatConfig(path=path, rows="prompts"))
    # A conversation that ends with the user is a prompt as it is; what an answer follows ends before it.
    assert said(prompts[0]["prompt"])[-1] == ("u", "Do you like dogs?")
    assert said(prompts[1]["prompt"])[-1] == ("u", "Three?")


def test_sharegpt_with_tools(fixtures):
    config = ShareGPTConfig(path=fixtures / "sharegpt.json")
    rows = rows_of(config)
    assert said(rows[1]["messages"]) == [
        ("s", 'Tools: [{"name": "clock"}]'),
        ("u", "What time is it?"),
        ("a", '{"name": "clock", "arguments": {}}'),
        ("u", '{"time": "noon"}'),
        ("a", "Noon."),
    ]
    assert rows[1]["id"] == "b"
    assert reasons_of(config) == [(2, "conversations: the role of a turn is 'narrator', which is unknown")]


def test_hh(fixtures):
    rows = rows_of(HHConfig(path=fixtures / "hh.jsonl"))
    assert [said(row["prompt"]) for row in rows] == [
        [("u", "Hi")],
        [("u", "A"), ("a", "B"), ("u", "C")],
        [("u", "A"), ("a", "B\n\nC"), ("u", "Q")],
    ]
    assert said(rows[1]["rejected"]) == [("a", "E\n\nwith two paragraphs")]
    found = reasons_of(HHConfig(path=fixtures / "hh.jsonl"))
    assert Counter(reason for _, reason in found) == {
        "the prompts of chosen and rejected differ": 2,
        "chosen: the last answer is empty": 1,
        "chosen: does not end with an answer": 1,
        "chosen and rejected are the same": 1,
        "chosen: does not begin with Human: or Assistant:": 1,
    }
    assert [line for line, _ in found] == [3, 4, 5, 6, 7, 9]


def test_one_side_needs_no_equal_prompts(fixtures):
    for rows, columns in (("prompts", {"prompt"}), ("prompt_completion", {"prompt", "completion"})):
        config = HHConfig(path=fixtures / "hh.jsonl", rows=rows)
        assert [set(row) for row in rows_of(config)] == [columns] * 6
        assert len(reasons_of(config)) == 3


def test_ultrafeedback_as_strings_and_as_chat_lists(fixtures):
    config = UltraFeedbackConfig(path=fixtures / "ultrafeedback.jsonl")
    strings, lists, turns = rows_of(config)
    assert sides(strings) == [[("u", "Say hi.")], [("a", "Hi!")], [("a", "No.")]]
    assert (strings["score_chosen"], strings["score_rejected"], strings["source_index"]) == (9.0, 2.5, 7)
    assert sides(lists) == [[("u", "Say bye.")], [("a", "Bye!")], [("a", "Hm.")]]
    assert (lists["score_chosen"], lists["score_rejected"]) == (8.0, 1.0)
    assert sides(turns)[0] == [("u", "First"), ("a", "One"), ("u", "Second")]
    assert reasons_of(config) == [
        (4, "chosen and rejected are the same"),
        (5, "chosen: the content of a message is empty"),
        (6, "chosen: holds a conversation that is not the prompt's"),
        (7, "rejected: holds a conversation that is not the prompt's"),
        (8, "chosen: the last answer is empty"),
    ]
    answers = rows_of(UltraFeedbackConfig(path=fixtures / "ultrafeedback.jsonl", rows="prompt_completion"))
    assert said(answers[2]["completion"]) == [("a", "Two")]
    assert answers[0]["score_chosen"] == 9.0


def test_preference_forms(fixtures):
    config = PreferenceConfig(path=fixtures / "preference.json")
    assert [sides(row) for row in rows_of(config)] == [
        [[("s", "Be short."), ("u", "Why?")], [("a", "So.")], [("a", "Because of everything.")]],
        [[("u", "1?"), ("a", "2."), ("u", "3?")], [("a", "4.")], [("a", "5.")]],
        [[("s", "Be kind."), ("u", "Hello")], [("a", "Hello!")], [("a", "Go.")]],
        [[("u", "Hi")], [("a", "Hello")], [("a", "Bye")]],
        [[("u", "Hi")], [("a", "Hello")], [("a", "Bye")]],
    ]
    assert reasons_of(config) == [
        (5, "conversations: does not end with a turn of the user"),
        (6, "there is no prompt: no column for it, and chosen and rejected share no beginning"),
        (7, "chosen: a turn is str, not an object"),
    ]


def test_the_better_output_is_chosen_and_a_tie_is_none(fixtures):
    config = PreferenceConfig(path=fixtures / "alpaca_eval.json")
    assert [sides(row)[1:] for row in rows_of(config)] == [
        [[("a", "Red.")], [("a", "Table.")]],
        [[("a", "Apple.")], [("a", "Chair.")]],
        [[("a", "Owl.")], [("a", "Cow.")]],
    ]
    assert reasons_of(config) == [
        (2, "a tie"),
        (4, "preference: is missing or null, not 1 or 2"),
        (5, "preference: is a number that is not between 1 and 2"),
    ]


def test_prompts_of_the_two_sides_must_agree(tmp_path):
    path = tmp_path / "a.jsonl"
    side = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "I."}]
    other = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "It."}]
    path.write_text(json.dumps({"chosen": side, "rejected": other}) + "\n")
    assert reasons_of(PreferenceConfig(path=path)) == [(1, "the prompts of chosen and rejected differ")]
    assert len(rows_of(PreferenceConfig(path=path, rows="prompts"))) == 1


def test_stack_exchange(fixtures):
    config = StackExchangeConfig(path=fixtures / "stack_exchange.json")
    (row,) = rows_of(config)
    assert sides(row)[1:] == [[("a", "Use `sorted`.")], [("a", "By hand.")]]
    assert (said(row["prompt"])[0][1][-1], row["qid"]) == ("`", 1)
    assert reasons_of(config) == [
        (1, "chosen and rejected are the same"),
        (2, "response_k: is missing or null, not a string"),
    ]
    answers = rows_of(StackExchangeConfig(path=fixtures / "stack_exchange.json", rows="prompt_completion"))
    assert [said(one["completion"]) for one in answers] == [
        [("a", "Use `sorted`.")],
        [("a", "So.")],
        [("a", "Now.")],
    ]


def test_squad_nested_and_flat_agree(fixtures):
    nested = rows_of(SquadConfig(path=fixtures / "squad.json"))
    assert nested[0] == {
        "question": "What is red?",
        "context": "The cat is red.",
        "answers": ["The cat", "cat"],
        "baseline": None,
        "id": "What is red?",
        "title": "Cats",
    }
    assert nested[1]["baseline"] == 0.5
    assert reasons_of(SquadConfig(path=fixtures / "squad.json")) == [
        (2, "answers: there is none"),
        (4, "context: is missing or null, not a string"),
    ]
    flat = SquadConfig(path=fixtures / "squad_flat.jsonl")
    assert [row["answers"] for row in rows_of(flat)] == [row["answers"] for row in nested[:2]]
    assert reasons_of(flat) == [(3, "answers: there is none")]


def test_squad_as_prompts_asks_like_the_evaluation_and_is_held_out_like_it(fixtures):
    config = SquadConfig(path=fixtures / "squad.json", rows="prompt_completion")
    assert next(item.group for item in build(config) if isinstance(item, Row)) == "The cat is red."
    rows = rows_of(config)
    assert said(rows[0]["prompt"]) == [("u", "The cat is red. Question: What is red? Answer:")]
    assert said(rows[0]["completion"]) == [("a", "The cat")]


def test_squad_as_pairs_with_corrupted_answers(fixtures):
    config = SquadConfig(path=fixtures / "squad.json", rows="preferences", corruptions={"off_topic": 1})
    items = [item for item in build(config) if isinstance(item, Row)]
    assert {item.group for item in items} <= {"The cat is red.", "Tom ran home."}
    first = items[0].values
    assert sides(first)[:2] == [[("u", "The cat is red. Question: What is red? Answer:")], [("a", "The cat")]]
    assert first["corruption"] in ("other_answer", "off_topic", "shuffled", "truncated", "empty")
    with pytest.raises(ValidationError, match="corruptions is a setting of rows: preferences"):
        SquadConfig(path="a", corruptions={})
    assert identity(SquadConfig(path="a", rows="preferences"))["corruptions"]["other_answer"] > 0
    assert SquadConfig(path="data/reward/a").corruptions is not None


def test_only_a_document_of_paragraphs_is_read_as_one(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    line = '{"question": "q", "context": "c", "answers": ["c"], "data": [{"paragraphs": []}]}\n'
    path.write_text(line * 3)
    assert len(rows_of(SquadConfig(path=path))) == 3  # each line is an object of its own
    other = tmp_path / "other.json"
    other.write_text('{"data": [{"prompt": "p", "completion": "c"}]}')
    with pytest.raises(DataError, match="one document whose rows lie inside, under 'data'"):
        rows_of(SquadConfig(path=other))
    monkeypatch.setattr(json_rows, "LONGEST", 1000)
    long = tmp_path / "long.json"
    long.write_text('{"data": [{"title": "a", "paragraphs": []}]' + " " * 1000 + "}")
    with pytest.raises(DataError, match="one JSON document of more than"):
        rows_of(SquadConfig(path=long))


@pytest.mark.parametrize(
    "history",
    [
        [["Who?", "A cat."], ["Red?", "Yes."]],
        json.dumps([["Who?", "A cat."], ["Red?", "Yes."]]),
        [{"role": "user", "content": "Who?"}, {"from": "gpt", "value": "A cat."}, ["Red?", "Yes."]],
    ],
)
def test_earlier_turns_precede_the_prompt(tmp_path, history):
    path = tmp_path / "a.jsonl"
    record = {"instruction": "Where?", "input": "Now.", "system": "Be brief.", "history": history}
    path.write_text(json.dumps({**record, "output": "Here.", "chosen": "Here.", "rejected": "There."}))
    before = [("s", "Be brief."), ("u", "Who?"), ("a", "A cat."), ("u", "Red?"), ("a", "Yes.")]
    (row,) = rows_of(AlpacaConfig(path=path))
    assert said(row["prompt"]) == [*before, ("u", "Where?\n\nNow.")]
    (row,) = rows_of(PromptsConfig(path=path))
    assert said(row["prompt"]) == [*before, ("u", "Where?\n\nNow.")]
    for config in (PromptResponseConfig(path=path), PreferenceConfig(path=path)):
        (row,) = rows_of(config)
        assert said(row["prompt"]) == [*before, ("u", "Where?\n\nNow.")]
        assert "input" not in row


def test_a_history_that_is_none(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [
        {"instruction": "Where?", "output": "Here.", "history": value} for value in ([], "", None, "A war.")
    ]
    others = [{**rows[0], "history": value} for value in (["Who?"], {"Who?": "I."})]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *others]))
    assert {str(said(row["prompt"])) for row in rows_of(AlpacaConfig(path=path))} == {"[('u', 'Where?')]"}
    reason = "history: is not a list of pairs of question and answer, nor of turns"
    as_object = reason.replace("is not", "is an object, not")
    assert reasons_of(AlpacaConfig(path=path)) == [(5, reason), (6, as_object)]


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_hh_with_any_line_ends(tmp_path, end):
    answers = {"chosen": "Well.\nYes.", "rejected": "No."}
    pair = {name: f"\n\nHuman: Hi\n\nAssistant: {text}" for name, text in answers.items()}
    rows = [pair, {**pair, "rejected": ""}, {**pair, "chosen": " \n"}]
    ended = [{name: text.replace("\n", end) for name, text in row.items()} for row in rows]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ended))
    assert [sides(row) for row in rows_of(HHConfig(path=path))] == [
        [[("u", "Hi")], [("a", "Well.\nYes.")], [("a", "No.")]]
    ]
    assert reasons_of(HHConfig(path=path)) == [(2, "rejected: is empty"), (3, "chosen: is empty")]


def test_hh_with_blanks_around_its_marks(tmp_path):
    path = tmp_path / "a.jsonl"
    before = ["\ufeff\n\nHuman: Hi\n \nAssistant: ", "\u200b\t\n\n\tHuman: Hi\n\t\n\tAssistant: "]
    rows = [{"chosen": f"{text}Yes.\n \nWell.", "rejected": f"{text}No."} for text in before]
    rows.append({"chosen": "Human: Hi\nAssistant: Yes.", "rejected": "Human: Hi\nAssistant: No."})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pair = [[("u", "Hi")], [("a", "Yes.\n \nWell.")], [("a", "No.")]]
    assert [sides(row) for row in rows_of(HHConfig(path=path))] == [pair, pair]
    assert reasons_of(HHConfig(path=path)) == [(3, "chosen: no blank line precedes Assistant:")]


def test_turns_that_are_not_learnt_are_listed(tmp_path):
    turns = [
        {"role": "user", "content": "A thing?"},
        {"role": "assistant", "content": "A kit?", "train": False},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "A kite."},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"messages": turns}) + "\n" + json.dumps({"messages": turns, "system": "Be."}))
    rows = rows_of(ChatConfig(path=path))
    assert [row["untrained_turns"] for row in rows] == ["1", "2"]
    assert all(row["messages"][int(row["untrained_turns"])]["content"] == "A kit?" for row in rows)
    # One answer alone: the last that is to be learnt.
    turns[1]["train"], turns[3]["train"] = True, False
    path.write_text(json.dumps({"messages": turns}) + "\n")
    (row,) = rows_of(ChatConfig(path=path, rows="prompt_completion"))
    assert (said(row["completion"]), set(row)) == ([("a", "A kit?")], {"prompt", "completion"})
    # A column of this name is somebody else's.
    path.write_text(json.dumps({"messages": turns[:2], "untrained_turns": "0"}) + "\n")
    assert set(rows_of(ChatConfig(path=path))[0]) == {"messages"}


def test_an_answer_that_is_not_to_be_learnt_is_not_learnt_beside_its_prompt(tmp_path):
    bad = [{"role": "assistant", "content": "A kit?", "train": False}]
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"prompt": "A thing?", "completion": bad, "rejected": "x", "chosen": bad}))
    reason = "completion: the last answer is marked as not to be trained on"
    assert reasons_of(PromptResponseConfig(path=path)) == [(1, reason)]
    assert reasons_of(PreferenceConfig(path=path)) == [(1, reason.replace("completion", "chosen"))]
