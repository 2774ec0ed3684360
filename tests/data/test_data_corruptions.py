"""Preference pairs from questions: kinds by their shares, and never a right answer on the wrong side."""

from collections import Counter

import pytest
from pydantic import ValidationError

from tempering import world
from tempering.data.answers import normalise_answer
from tempering.data.builders import corruptions
from tempering.data.builders.corruptions import CorruptionConfig, corrupted_pairs
from tempering.data.rows import EMPTY_ANSWER, Notice, Rejected, Row, RowType, problem

NONE = dict.fromkeys(CorruptionConfig.model_fields, 0.0)
ALL_KINDS = tuple(NONE)


def only(**shares: float) -> CorruptionConfig:
    return CorruptionConfig(**{**NONE, **shares})


def question(context: str, answers: list[str], asked: str = "Who was it?", **more) -> dict:
    return {"question": asked, "context": context, "answers": answers, "baseline": None, **more}


def rows(*questions: dict) -> list[Row]:
    return [Row(values, "some.json", number) for number, values in enumerate(questions)]


def world_questions(count: int, seed: int = 0) -> list[Row]:
    return rows(*world.questions(count, seed))


def long_answers(count: int) -> list[Row]:
    """Ten questions a context, each answered by four words of its own."""
    return rows(
        *(
            question(f"Context {number // 10}.", [f"north{number} south{number} east{number} west{number}"])
            for number in range(count)
        )
    )


def pairs(items, config, seed=0) -> list[Row]:
    found = list(corrupted_pairs(items, config, seed))
    assert all(isinstance(item, Row) for item in found)
    assert all(problem(RowType.PREFERENCE, item.values) is None for item in found)
    return found


def wrong(row: Row) -> str:
    return row.values["rejected"][0]["content"]


def test_a_pair_in_full():
    both = rows(
        question("Ann met Bob.", ["Ann"], id="q1", title="Meeting"),
        question("Ann met Bob.", ["Bob", "bob!"], "Whom?"),
    )
    first, second = pairs(both, only(other_answer=1))
    assert first == Row(
        {
            "prompt": [{"role": "user", "content": "Ann met Bob. Question: Who was it? Answer:"}],
            "chosen": [{"role": "assistant", "content": "Ann"}],
            "rejected": [{"role": "assistant", "content": "Bob"}],
            "corruption": "other_answer",
            "id": "q1",
            "title": "Meeting",
        },
        "some.json",
        0,
        group="Ann met Bob.",
    )
    assert (wrong(second), second.line, "id" in second.values) == ("Ann", 1, False)


@pytest.mark.parametrize("items", [world_questions(600), long_answers(600)], ids=["world", "long"])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_corrupted_answer_is_right(items, seed):
    made = pairs(items, CorruptionConfig(), seed)
    assert [row.line for row in made] == list(range(600))
    for row, asked in zip(made, items, strict=True):
        golds = {normalise_answer(answer) for answer in asked.values["answers"]}
        assert normalise_answer(wrong(row)) not in golds
        assert (row.values["corruption"] == "empty") is (row.values["rejected"] == EMPTY_ANSWER)


def test_shares_hold_where_all_kinds_are_possible():
    config = CorruptionConfig()
    found = Counter(row.values["corruption"] for row in pairs(long_answers(4000), config))
    for kind, share in config.shares().items():
        assert found[kind] / 4000 == pytest.approx(share, abs=0.025)


def test_shares_are_divided_by_their_sum_and_hold_over_the_world():
    made = pairs(world_questions(2000), only(other_answer=6, off_topic=3, empty=1))
    found = Counter(row.values["corruption"] for row in made)
    assert found["other_answer"] / 2000 == pytest.approx(0.6, abs=0.03)
    assert found["off_topic"] / 2000 == pytest.approx(0.3, abs=0.03)
    assert found["empty"] / 2000 == pytest.approx(0.1, abs=0.03)


def test_impossible_kinds_give_way_by_the_shares_of_the_others():
    # One word can neither be shuffled nor cut: 0.4 of 1 goes to the others, 2 : 1.
    made = pairs(world_questions(2000), only(shuffled=0.3, truncated=0.1, off_topic=0.4, empty=0.2))
    found = Counter(row.values["corruption"] for row in made)
    assert set(found) == {"off_topic", "empty"}
    assert found["off_topic"] / 2000 == pytest.approx(2 / 3, abs=0.04)


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_each_kind_is_what_it_says(kind):
    items = long_answers(60)
    for row, asked in zip(pairs(items, only(**{kind: 1})), items, strict=True):
        right, text = asked.values["answers"][0], wrong(row)
        assert row.values["corruption"] == kind
        if kind == "shuffled":
            assert sorted(text.split()) == sorted(right.split())
        elif kind == "truncated":
            assert right.startswith(f"{text} ")
        elif kind == "empty":
            assert text == ""
        else:
            homes = [item.values["context"] for item in items if item.values["answers"] == [text]]
            assert (homes == [asked.values["context"]]) is (kind == "other_answer")


def test_the_world_s_other_answer_is_the_other_character_s():
    # One question a context: the wrong answer is a thing of the same kind that the story names.
    items = [row for row in world_questions(400) if row.values["baseline"] == 0.5]
    made = pairs(items, only(other_answer=1))
    kinds = {asked.split()[0] for asked in ("Who", "What", "Which", "Where")}
    answers = {kind: set() for kind in kinds}
    for row in items:
        answers[row.values["question"].split()[0]].add(row.values["answers"][0])
    for row, asked in zip(made, items, strict=True):
        assert wrong(row) in asked.values["context"].replace(".", " ").split()
        assert wrong(row) in answers[asked.values["question"].split()[0]]


def test_a_two_word_answer_is_shuffled_into_its_only_other_order():
    items = rows(*(question("Here.", ["Victor Hugo"], f"Who {number}?") for number in range(40)))
    assert {wrong(row) for row in pairs(items, only(shuffled=1))} == {"Hugo Victor"}


@pytest.mark.parametrize(
    ("kind", "answers"),
    [
        ("shuffled", ["the cat"]),  # articles do not count: "cat the" is right
        ("shuffled", ["no no"]),
        ("shuffled", ["left right", "right, left"]),
        ("truncated", ["the cat"]),  # "the" says nothing
        ("truncated", ["New York", "new"]),
        ("empty", ["The"]),  # normalised, it is empty
        ("other_answer", ["cat"]),
        ("off_topic", ["cat"]),
    ],
)
def test_what_would_be_right_or_empty_is_not_made(kind, answers):
    (found,) = corrupted_pairs(rows(question("The cat sat.", answers)), only(**{kind: 1}), 0)
    assert isinstance(found, Rejected)
    assert found.reason == "no corruption of its answer is possible"
    assert (found.file, found.line) == ("some.json", 0)


def test_other_answers_that_are_gold_too_are_passed_over():
    items = rows(question("Here.", ["cat", "dog"]), question("Here.", ["Dog."]), question("Here.", ["a hen"]))
    made = pairs(items, only(other_answer=1, empty=0.0001))
    assert wrong(made[0]) == "a hen"
    assert wrong(made[1]) in ("cat", "a hen")


def test_off_topic_is_found_however_rare_other_contexts_are():
    items = rows(*(question("Here.", ["cat"], f"Who {n}?") for n in range(300)), question("There.", ["hen"]))
    made = pairs(items, only(off_topic=1))
    assert {wrong(row) for row in made[:300]} == {"hen"}
    assert wrong(made[300]) == "cat"


def test_off_topic_is_nothing_that_the_context_speaks_of():
    items = rows(question("Here is a hen.", ["cat"]), question("There.", ["hen"]), question("Far.", ["dog"]))
    assert {wrong(pairs(items, only(off_topic=1), seed)[0]) for seed in range(10)} == {"dog"}


def test_broken_questions_are_rejected_and_the_rest_is_passed_on():
    notice, gone = Notice("squad, flat"), Rejected("some.json", 7, "malformed JSON")
    broken = Row(question("Here.", []), "some.json", 3)
    good = rows(question("Here.", ["a cat"]))
    found = list(corrupted_pairs([notice, broken, gone, *good], only(empty=1), 0))
    assert found[0] == notice
    assert found[2] == gone
    assert isinstance(found[1], Rejected)
    assert (found[1].line, found[1].reason) == (3, "answers: is empty")
    assert isinstance(found[3], Row)


def test_seed_decides():
    items = world_questions(200)
    assert pairs(items, CorruptionConfig(), 3) == pairs(items, CorruptionConfig(), 3)
    assert pairs(items, CorruptionConfig(), 3) != pairs(items, CorruptionConfig(), 4)


def test_the_kind_hangs_on_the_question_not_on_its_place():
    items = long_answers(200)
    kinds = {row.line: row.values["corruption"] for row in pairs(items, CorruptionConfig())}
    turned = {row.line: row.values["corruption"] for row in pairs(items[::-1], CorruptionConfig())}
    assert kinds == turned


def test_memory_is_bounded_by_the_window(monkeypatch):
    monkeypatch.setattr(corruptions, "REACH", 5)
    read = []

    def stream():
        for row in long_answers(100):
            read.append(row.line)
            yield row

    for row in corrupted_pairs(stream(), CorruptionConfig(), 0):
        assert isinstance(row, Row)
        assert len(read) <= row.line + 6
        # Wrong answers come from at most five questions away, before or after.
        if row.values["corruption"] in ("other_answer", "off_topic"):
            assert abs(int(wrong(row).split()[0].removeprefix("north")) - row.line) <= 5


@pytest.mark.parametrize("shares", [NONE, {"empty": -1}, {"empty": float("inf")}])
def test_shares_that_mean_nothing_are_refused(shares):
    with pytest.raises(ValidationError):
        CorruptionConfig(**shares)
