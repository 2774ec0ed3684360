"""Each rule for foreign conversations, one by one."""

import json

import pytest

from tempering.data.builders.conversations import (
    EMPTY,
    HEAD,
    JOINED,
    MASKED,
    TAIL,
    Use,
    as_turns,
    conversation,
    turns_of,
    with_system,
)
from tempering.data.builders.record import BadRow
from tempering.data.builders.turn_keys import (
    ALONE,
    CALLED_BAD,
    MORE_THOUGHTS,
    OTHER_MARK,
    THOUGHT_TWICE,
    THOUGHTS,
    UNUSED,
    WEIGHT,
)


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


def said(turns, use=Use.TRAINING, **settings):
    """`([(initial of the role, content)], what was noted)`."""
    notes = []
    messages = conversation(turns, notes.append, use, **settings)
    assert all(set(message) == {"role", "content"} for message in messages)
    return [(message["role"][0], message["content"]) for message in messages], notes


def refused(turns, use=Use.TRAINING, **settings):
    with pytest.raises(BadRow) as error:
        conversation(turns, lambda text: None, use, **settings)
    return str(error.value)


U, A = turn("user", "Hi"), turn("assistant", "Hello")
BOTH = [("u", "Hi"), ("a", "Hello")]


@pytest.mark.parametrize("user", ["human", "user", "prompter", "Human", " user "])
@pytest.mark.parametrize("assistant", ["gpt", "assistant", "bot", "model", "chatgpt", "ai"])
def test_names_of_roles(user, assistant):
    assert said([turn(user, "Hi"), turn(assistant, "Hello")]) == (BOTH, [])
    assert said([{"from": user, "value": "Hi"}, {"from": assistant, "value": "Hello"}]) == (BOTH, [])


@pytest.mark.parametrize("call", ["function_call", "tool_call", "tool_calls"])
@pytest.mark.parametrize("answer", ["observation", "tool", "function", "ipython"])
def test_calls_are_of_the_assistant_and_what_tools_answer_of_the_user(call, answer):
    turns = [U, turn(call, {"name": "clock"}), turn(answer, {"time": "é"}), turn("assistant", "Noon.")]
    expected = [("u", "Hi"), ("a", '{"name": "clock"}'), ("u", '{"time": "é"}'), ("a", "Noon.")]
    assert said(turns) == (expected, [])
    assert said([U, turn(call, '{"name": 1}'), turn(answer, "x"), A])[0][1:3] == [
        ("a", '{"name": 1}'),
        ("u", "x"),
    ]


def test_calls_beside_the_content():
    one = {"id": "7", "type": "function", "function": {"name": "clock"}}
    made = said([U, {"role": "assistant", "content": None, "tool_calls": [one]}])
    assert made == ([("u", "Hi"), ("a", '{"name": "clock"}')], [])
    two = {"role": "assistant", "content": "Let me see.", "tool_calls": [one, one]}
    assert said([U, two])[0][1] == ("a", 'Let me see.\n\n[{"name": "clock"}, {"name": "clock"}]')
    old = {"role": "assistant", "content": None, "function_call": {"name": "clock"}}
    assert said([U, old])[0][1] == ("a", '{"name": "clock"}')
    assert "content of a turn is missing" in refused(
        [U, {"role": "assistant", "content": None, "tool_calls": []}]
    )


def test_unknown_roles_are_named():
    assert (
        refused([U, turn("narrator", "x"), A])
        == "messages: the role of a turn is 'narrator', which is unknown"
    )
    # A set whose turns bear the names of people gives one reason, not thousands.
    assert refused([turn("Ann Lee", "x"), A]) == "messages: the role of a turn is unknown"
    assert "missing" in refused([{"content": "x"}])
    assert "missing" in refused([turn(3, "x")])


def test_content_in_parts():
    parts = [{"type": "text", "text": "one"}, {"type": "text", "value": "two"}, "three", {"text": "four"}]
    assert said([U, turn("assistant", parts)])[0][1] == ("a", "one\ntwo\nthree\nfour")
    picture = [{"type": "image_url", "image_url": "x"}, {"type": "text", "text": "what?"}]
    assert refused([turn("user", picture), A]) == "messages: a part of the content is 'image_url', not text"
    odd = [{"type": "type 7", "x": 1}]
    assert refused([turn("user", odd), A]) == "messages: a part of the content is not text"
    assert refused([turn("user", [3]), A]) == "messages: a part of the content is 'int', not text"
    assert "is dict, not a string" in refused([turn("user", {"text": "x"}), A])


def test_what_is_no_conversation():
    assert refused(None) == "messages: is missing or null, not a list of turns"
    assert refused("x", column="conversations") == "conversations: is str, not a list of turns"
    assert refused(["x"]) == "messages: a turn is str, not an object"
    assert refused([{"role": "user"}]) == "messages: the content of a turn is missing or null"
    assert refused([]) == "messages: no assistant turn"
    assert refused([], Use.WHOLE) == "messages: is empty"


@pytest.mark.parametrize("tools", ['[{"name": "clock"}]', [{"name": "clock"}]])
def test_tools_end_the_system_turn(tools):
    assert said([U, A], tools=tools)[0] == [("s", 'Tools: [{"name": "clock"}]'), *BOTH]
    expected = [("s", 'Be short.\n\nTools: [{"name": "clock"}]'), *BOTH]
    assert said([turn("system", "Be short."), U, A], tools=tools)[0] == expected


@pytest.mark.parametrize("tools", [None, "", " [] ", "{}", [], {}])
def test_no_tools_make_no_turn(tools):
    assert said([U, A], tools=tools) == (BOTH, [])


def test_empty_turns_are_taken_out_before_turns_are_joined():
    turns = [U, turn("assistant", " \n"), turn("user", "Are you there?"), A]
    assert said(turns) == ([("u", "Hi\n\nAre you there?"), ("a", "Hello")], [EMPTY, JOINED])
    assert said([turn("system", ""), U, A]) == (BOTH, [EMPTY])


def test_turns_of_one_role_in_a_row_are_joined():
    turns = [
        turn("system", "a"),
        turn("system", "b"),
        U,
        turn("assistant", "One."),
        turn("assistant", "Two."),
    ]
    assert said(turns) == ([("s", "a\n\nb"), ("u", "Hi"), ("a", "One.\n\nTwo.")], [JOINED])


def test_a_system_turn_stands_first_or_nowhere():
    assert refused([U, turn("system", "Be short."), A]) == "messages: a system turn after the first turn"
    assert "system turn" in refused([U, A, turn("system", "x")], Use.WHOLE)


def test_turns_before_the_user():
    turns = [turn("system", "s"), turn("assistant", "Welcome."), U, A]
    assert said(turns) == ([("s", "s"), *BOTH], [HEAD])
    assert said(turns, Use.WHOLE) == ([("s", "s"), ("a", "Welcome."), *BOTH], [])
    assert refused([A]) == "messages: no user turn"


def test_turns_after_the_last_answer():
    turns = [U, A, turn("user", "And?")]
    assert said(turns) == (BOTH, [TAIL])
    assert said(turns, Use.WHOLE) == ([*BOTH, ("u", "And?")], [])
    assert said(turns, Use.OPENED) == ([*BOTH, ("u", "And?")], [])
    assert refused([U]) == "messages: no assistant turn"
    assert refused([A, U]) == "messages: no assistant turn after a user turn"


def test_a_judged_answer_must_be_there():
    # An empty last answer must not make the answer before it the judged one.
    assert refused([U, A, U, turn("assistant", " ")], Use.JUDGED) == "messages: the last answer is empty"
    assert refused([U, A, U], Use.JUDGED) == "messages: does not end with an answer"
    assert refused([], Use.JUDGED) == "messages: does not end with an answer"
    assert said([A, U, A], Use.JUDGED) == (BOTH, [HEAD])


def test_a_prompt_ends_with_the_user():
    assert said([U, A, U], Use.PROMPT) == ([*BOTH, ("u", "Hi")], [])
    assert refused([U, A], Use.PROMPT) == "messages: does not end with a turn of the user"


MARKS = [
    *({name: no} for name in ("train", "trainable", "training", "learn", "loss") for no in (False, "false")),
    *({name: no} for name in ("weight", "loss_weight", "loss_mask", "train") for no in (0, 0.0, "0")),
    {"train": True, "weight": 0},
]


def learnt(turns):
    """`(content, whether it is learnt)` of each turn."""
    return [(turn.content, turn.learnt) for turn in turns_of(turns, lambda note: None, Use.TRAINING)]


@pytest.mark.parametrize("mark", MARKS, ids=str)
def test_an_answer_that_is_marked_is_not_learnt(mark):
    bad, good = turn("assistant", "No.", **mark), turn("assistant", "Yes.", train=True, weight=1)
    turns = [U, bad, U, good]
    assert learnt(turns) == [("Hi", True), ("No.", False), ("Hi", True), ("Yes.", True)]
    assert said(turns)[1] == [MASKED]
    # At the end there is nothing to learn from it.
    assert learnt([U, good, U, bad]) == [("Hi", True), ("Yes.", True)]
    assert said([U, good, U, bad])[1] == [MASKED, TAIL]
    # Joined with another answer, it must not be learnt with that.
    assert learnt([U, bad, good, U, good])[1] == ("No.\n\nYes.", False)


@pytest.mark.parametrize("mark", MARKS, ids=str)
def test_a_conversation_of_which_no_answer_is_to_be_learnt_is_rejected(mark):
    no = turn("assistant", "Hello", **mark)
    reason = "messages: every answer is marked as not to be trained on"
    assert refused([U, no]) == refused([U, no, U, no]) == refused([A, U, no]) == reason
    # A judged answer is learnt or unlearnt; those before it are not.
    for use in (Use.JUDGED, Use.ANSWER):
        assert "the last answer is marked" in refused([U, A, U, no], use)
        assert said([U, no, U, A], use)[1] == []
    assert said([U, no], Use.WHOLE) == (BOTH, [MASKED])  # rated, not learnt from


def test_marks_that_say_something_else():
    assert said([turn("user", "Hi", loss_weight=0.0), turn("assistant", "Hello", loss_weight=1.0)]) == (
        BOTH,
        [],
    )
    assert said([U, {"from": "gpt", "value": "Hello", "weight": 0.5}]) == (BOTH, [WEIGHT])
    assert said([turn("user", "Hi", train=True), A]) == (BOTH, [OTHER_MARK])
    assert refused([U, turn("assistant", "Hello", loss_mask=[0, 1])]) == (
        "messages: loss_mask of a turn is list, not true, false or a number"
    )
    assert "train of a turn is str" in refused([U, turn("assistant", "Hello", train="maybe")])


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking", "thoughts", "thought"])
def test_thoughts_precede_their_answer(name):
    expected = [("u", "Hi"), ("a", "<think>\nhm\n</think>\n\nHello")]
    assert said([U, turn("assistant", "Hello", **{name: " hm\n"})]) == (expected, [THOUGHTS])
    call = {"role": "assistant", "content": None, name: "hm", "tool_calls": [{"name": "clock"}]}
    assert said([U, call])[0][1] == ("a", '<think>\nhm\n</think>\n\n{"name": "clock"}')
    for empty in ("", None, " \n"):
        assert said([U, turn("assistant", "Hello", **{name: empty})]) == (BOTH, [])
    twice = turn("assistant", "<think>hm</think>Hello", **{name: "hm"})
    assert said([U, twice]) == ([("u", "Hi"), ("a", "<think>hm</think>Hello")], [THOUGHT_TWICE])
    assert f"{name} of a turn is list" in refused([U, turn("assistant", "Hello", **{name: ["hm"]})])
    # Thoughts alone are no answer.
    assert (
        refused([U, turn("assistant", "", **{name: "hm"})], Use.JUDGED)
        == "messages: the last answer is empty"
    )


def test_keys_of_turns_that_are_not_used_are_named():
    assert said([{**U, "toxic": True, "id": 7}, {**A, "score": 1, "name": ""}]) == (
        BOTH,
        [UNUSED + "score, toxic"],
    )
    assert said([{**U, "thinking": "hm"}, A]) == (BOTH, [UNUSED + "thinking"])
    many = {f"key {number}": 1 for number in range(1000)}
    assert said([{**U, **many, "score": 1}, A])[1] == [UNUSED + "score, others"]


def test_a_developer_is_the_system():
    assert said([turn("developer", "Be short."), U, A])[0] == [("s", "Be short."), *BOTH]


def test_arguments_have_one_form():
    """OpenAI's wire form, an object, another order of keys, the nulls and floats of a columnar file."""
    wire = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"x": 1, "y": [2.0]}'}}
    flat = {"arguments": {"y": [2], "x": 1.0}, "name": "add"}
    expected = ("a", '{"name": "add", "arguments": {"x": 1, "y": [2]}}')
    for calls in ([wire], wire, [flat], json.dumps([wire]), json.dumps(flat)):
        assert said([U, {"role": "assistant", "content": "", "tool_calls": calls}])[0][1] == expected
    for value in (flat, wire, json.dumps(flat)):
        assert said([U, {"from": "function_call", "value": value}])[0][1] == expected
    odd = {"name": "add", "arguments": "x=1"}
    assert said([U, turn("tool_call", odd)])[0][1] == ("a", '{"name": "add", "arguments": "x=1"}')
    assert "bytes" in refused([U, turn("tool_call", {"name": b"x"})])


def test_turns_as_a_string_of_json():
    assert said(json.dumps([U, A])) == (BOTH, [])
    assert said(str([U, A])) == (BOTH, [])  # a cell of pandas
    assert refused("[{'role': 'user'} {}]") == "messages: is str, not a list of turns"
    assert as_turns(json.dumps([U])) == [U]
    assert as_turns(str([U])) == [U]
    for text in ("[1, 2]", "{'a': 1}", "[{'a': 1}]", "[{'a'", "[]", "{}", '[{"a": 1}]', "[Hi]", "Hi"):
        assert as_turns(text) == text  # what people write may be JSON, and is what they wrote


def test_a_system_column_goes_first():
    record = {"system": " ", "system_prompt": "Be short."}
    assert with_system(record, [U])[0] == turn("system", "Be short.")
    assert with_system(record, [turn("system", "s"), U])[0] == turn("system", "s")
    assert with_system({"system": 3}, [U]) == [U]


BAD = [
    ("label", False),
    ("is_correct", "no"),
    ("thumbs", "down"),
    ("toxic", True),
    ("weight", -1),
    ("do_train", 0),
]


@pytest.mark.parametrize(("key", "value"), BAD)
def test_an_answer_that_its_turn_calls_bad_is_not_learnt(key, value):
    notes = []
    turns = [U, turn("assistant", "Hm", **{key: value}), U, A]
    assert [made.learnt for made in turns_of(turns, notes.append, Use.TRAINING)] == [True, False, True, True]
    assert not any(note.startswith(UNUSED) for note in notes)
    assert (CALLED_BAD in notes) == (key not in ("weight", "do_train"))
    assert refused(turns[:2]) == "messages: every answer is marked as not to be trained on"
    if CALLED_BAD in notes:  # the worse side of a pair may say so itself
        assert said(turns[1:2], Use.ANSWER) == ([("a", "Hm")], [f"{UNUSED}{key}"])


@pytest.mark.parametrize(("key", "value"), [("label", True), ("toxic", False), ("thumbs", "up")])
def test_an_answer_that_its_turn_calls_good_is_learnt(key, value):
    assert said([U, turn("assistant", "Hello", **{key: value})]) == (BOTH, [])
    assert said([U, turn("assistant", "Hello", score=-1)])[1] == [f"{UNUSED}score"]


def test_thoughts_that_are_not_used_are_told():
    assert said([U, turn("assistant", "Hello", reasoning="One", thinking="Two")]) == (
        [("u", "Hi"), ("a", "<think>\nOne\n</think>\n\nHello")],
        [MORE_THOUGHTS, THOUGHTS],
    )
    assert said([U, A, U, turn("assistant", "", reasoning="Hm"), U, A])[1] == [ALONE, EMPTY, JOINED]
    marked = turn("assistant", "Hello", reasoning="<think>\nOne\n</think>\n")
    assert said([U, marked])[0][1] == ("a", "<think>\nOne\n</think>\n\nHello")


def test_of_two_contents_the_second_is_told():
    assert said([U, turn("assistant", "Hello", value="Other", text="Hello")]) == (BOTH, [f"{UNUSED}value"])


def test_tools_and_what_they_answer_may_be_of_any_form():
    tools = ['{"name": "clock", "parameters": {}}']
    assert said([U, A], tools=tools)[0][0] == ("s", 'Tools: [{"name": "clock", "parameters": {}}]')
    call = turn("assistant", None, tool_calls=['{"name": "clock", "arguments": "{}"}'])
    for content, text in (([{"time": 1}], '[{"time": 1}]'), (7, "7"), ([{"type": "text", "text": "x"}], "x")):
        made = said([U, call, turn("tool", content), A])[0]
        assert made[1:3] == [("a", '{"name": "clock", "arguments": {}}'), ("u", text)]
    assert refused([U, turn("assistant", [{"a": 1}])]).endswith("is an object without a text")
