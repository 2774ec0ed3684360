"""Builders of labelled rows: judged answers, scores, classes, minimal pairs, choices."""

import json

import pytest

from tempering.data.builders import (
    ClassificationConfig,
    CompsConfig,
    EWoKConfig,
    KTOConfig,
    MinimalPairsConfig,
    MultipleChoiceConfig,
    PreferenceConfig,
    ReadingTimesConfig,
    RewardBenchConfig,
    ScoredConfig,
    WordFormsConfig,
)
from tempering.data.builders.base import BadRow
from tempering.data.builders.classification import label_of
from tests.data.built import notes_of, reasons_of, rows_of, said


def test_kto(fixtures):
    config = KTOConfig(path=fixtures / "kto.jsonl")
    rows = [(said(row["prompt"]), said(row["completion"]), row["label"]) for row in rows_of(config)]
    assert rows == [
        ([("u", "Hi")], [("a", "Hello")], True),
        ([("u", "Hi"), ("a", "Hello"), ("u", "Who?")], [("a", "Go away.")], False),
        ([("u", "Hi")], [("a", "Hello")], True),
    ]
    assert reasons_of(config) == [
        (4, "messages: does not end with an answer"),
        (5, "messages: the last answer is empty"),
        (6, "label: is str, not true or false"),
    ]


def test_scored_conversations_stay_whole(fixtures):
    config = ScoredConfig(path=fixtures / "scored.jsonl")
    rows = [(said(row["messages"]), row["score"], row["reason"]) for row in rows_of(config)]
    assert rows == [
        ([("u", "Hi!"), ("a", "Hello."), ("u", "Bye")], 2.6, "It was short."),
        ([("u", "Hi"), ("a", "No.")], 1, ""),
        ([("u", "Hi"), ("a", "Hello")], 4.5, ""),
    ]
    assert notes_of(config) == [(1, "empty turns taken out")]
    assert reasons_of(config) == [
        (4, "score: is a string that is no number"),
        (5, "score: is NaN, not a finite number"),
        (6, "conversation: is empty"),
    ]


def test_scores_by_column_map(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"source": "A text.", "system_output": "Short.", "scores": {"overall": 3.5}}\n')
    columns = {"prompt": "source", "completion": "system_output", "score": "scores.overall"}
    (row,) = rows_of(ScoredConfig(path=path, columns=columns))
    assert (said(row["messages"]), row["score"]) == ([("u", "A text."), ("a", "Short.")], 3.5)


def test_classification_in_the_forms_of_glue(fixtures):
    labels = ("entailment", "neutral", "contradiction")
    config = ClassificationConfig(path=fixtures / "glue.jsonl", labels=labels)
    rows = rows_of(config)
    assert [(row["text"], row["text_pair"], row["label"]) for row in rows] == [
        ("A cat sits.", "A cat is sitting.", 1),
        ("is red a colour", "Red is a colour.", 1),
        ("Who sat?", "A cat sat.", 0),
        ("It rains.", "It is dry.", 2),
        ("Why?", "How so?", 0),
        ("Mark told Pete a lie. He laughed.", 'Does "He" refer to "Mark"?', 0),
        ("Tom ran.", "Who ran? Tom", 1),
        ("the weights made the rope stretch .", "", 1),
        ("One text.", "", 2),
    ]
    assert (rows[0]["idx"], rows[5]["span1_index"]) == (0, 0)
    found = reasons_of(config)
    assert found[0] == (10, "label: is -1: hidden, as in a test split")
    assert found[1] == (11, "label: is missing or null, not a number or a name")
    assert found[2][1].startswith("no text")
    # In the order and the words of the BabyLM evaluation pipeline; two columns are as they are.
    theirs = rows_of(ClassificationConfig(path=fixtures / "glue.jsonl", labels=labels, wording="babylm"))
    assert [(row["text"], row["text_pair"]) for row in theirs[5:7]] == [
        ('Does "He" refer to "Mark" in this passage?', "Mark told Pete a lie. He laughed."),
        ("Question: Who ran? Answer: Tom", "Tom ran."),
    ]
    assert [*theirs[:5], *theirs[7:]] == [*rows[:5], *rows[7:]]
    without = reasons_of(ClassificationConfig(path=fixtures / "glue.jsonl"))
    assert without[0] == (4, "label: is a name that `labels` does not list")


def test_a_table_without_a_header(fixtures):
    config = ClassificationConfig(
        path=fixtures / "cola.tsv", header=False, columns={"text": "3", "label": "1"}
    )
    rows = rows_of(config)
    assert [(row["text"], row["label"], row["0"]) for row in rows] == [
        ("The sailors rode the breeze.", 1, "gj04"),
        ('As you eat the most, "you want the least.', 0, "cj99"),
    ]


def test_minimal_pairs_and_their_paradigm(fixtures):
    config = MinimalPairsConfig(path=fixtures / "minimal_pairs.jsonl")
    first, second = rows_of(config)
    assert (first["paradigm"], first["field"]) == ("some_island", "syntax")
    assert second == {
        "paradigm": "minimal_pairs",
        "row": 0,
        "sentence_good": "What did you get?\nA chair.",
        "sentence_bad": "What did you get?\nA teacher.",
    }
    assert reasons_of(config) == [
        (3, "both sentences are the same"),
        (4, "sentence_bad: is missing or null, not a string"),
    ]


def test_pairs_of_the_same_sentence_can_be_kept(fixtures):
    """BLiMP has seven, and the official tools count them."""
    rows = rows_of(MinimalPairsConfig(path=fixtures / "minimal_pairs.jsonl", keep_same=True))
    assert [row.get("same") for row in rows] == [None, None, True]


def test_ewok_compares_targets_or_contexts(fixtures):
    targets, contexts = (
        rows_of(EWoKConfig(path=fixtures / "ewok.jsonl", compare=compare))[0]
        for compare in ("targets", "contexts")
    )
    pushes, pulls = "Ada pushes the cart.", "Ada pulls the cart."
    before, behind = " The cart is before her.", " The cart is behind her."
    assert (targets["contexts"], targets["completions"]) == ([pushes, pushes], [before, behind])
    assert (contexts["contexts"], contexts["completions"]) == ([pushes, pulls], [before, before])
    assert (targets["answer"], targets["paradigm"], targets["ContextType"]) == (
        0,
        "physical-dynamics",
        "direct",
    )


def test_comps_names_its_paradigm_by_the_file(fixtures):
    row, _ = rows_of(CompsConfig(path=fixtures / "comps_wugs_dist-before.jsonl"))
    assert row["contexts"] == [
        "A fep is a cat. A wug is a dog. Therefore, a wug",
        "A fep is a dog. A wug is a cat. Therefore, a wug",
    ]
    assert (row["completions"], row["paradigm"]) == (["can bark."] * 2, "wugs_dist_before")


def test_forms_of_a_word_and_what_people_chose(fixtures):
    config = WordFormsConfig(path=fixtures / "wug_adj_nominalization.jsonl")
    first, second = rows_of(config)
    assert first == {
        "forms": [
            "Make a noun of: wuggable. wuggability",
            "Make a noun of: wuggable. wuggableness",
        ],
        "ratio": 0.25,
        "paradigm": "wug_adj",
    }
    assert second["ratio"] == 1.0
    assert reasons_of(config) == [
        (3, "forms: there are 1, not two"),
        (4, "ratio: is str that is no number"),
    ]


def test_reading_times_and_the_text_that_was_taken_for_nothing(fixtures):
    config = ReadingTimesConfig(path=fixtures / "reading_data.csv")
    rows = rows_of(config)
    assert [row["context"] for row in rows] == ["The dog", "The", "None", "None of"]
    assert [row["previous_word"] for row in rows] == ["dog", "", "", "of"]
    assert [row["frequency"] for row in rows] == [10.5, 9.5, None, 11.5]
    assert [row["first_pass"] for row in rows] == [75.25, 95.25, 65.25, None]
    assert rows[0]["previous_length"] == 3.0
    assert [reason for _, reason in reasons_of(config)] == ["RTfirstfix: is str that is no number"]


def test_the_right_choice_is_told_in_many_ways(fixtures):
    config = MultipleChoiceConfig(path=fixtures / "multiple_choice.jsonl")
    rows = rows_of(config)
    assert [row["choices"][row["answer"]] for row in rows] == ["blood", "sky", "water", "that", "the hat."]
    assert rows[4]["question"] == "Box 1 contains "  # the choice follows right behind it
    assert reasons_of(config) == [
        (6, "answer: means several of the choices"),
        (7, "answer: is 2, and there are 2 choices"),
        (8, "answer: is none of the choices"),
        (9, "choices: is str, not a list"),
    ]


def test_the_right_answers_come_first(fixtures):
    config = RewardBenchConfig(path=fixtures / "reward_bench.jsonl")
    rows = rows_of(config)
    assert [row["answers"][: row["num_right"]] for row in rows] == [
        ["A dog barks."],
        ["Cold"],
        ["A"],
        ["A", "E", "I"],
    ]
    assert rows[3] == {
        "prompt": [{"role": "user", "content": "Name a vowel."}],
        "answers": ["A", "E", "I", "B", "C"],
        "num_right": 3,
        "subset": "Ties",
        "id": "tied:0",
    }
    assert reasons_of(config) == [
        (5, "num_right: is 1, and there are 1 answers"),
        (6, "num_correct: is not the number of chosen answers, 1"),
        (7, "chosen: is str, not a list of answers"),
    ]
    ref, tied = ({"id": identity, "prompt": identity} for identity in ("ref:7", "tied:7"))
    assert config.group(ref) == config.group(tied) != "", "both forms of a question are held out together"


def test_the_right_choice_always_in_one_place(fixtures):
    path = fixtures / "entity_tracking.jsonl"
    (row,) = rows_of(MultipleChoiceConfig(path=path, answer_index=0))
    assert (row["choices"][row["answer"]], row["numops"]) == ("the beer.", 0)
    assert row["paradigm"] == "entity_tracking_0_ops"
    assert reasons_of(MultipleChoiceConfig(path=path)) == [
        (1, "answer: is missing or null, not an index or a choice")
    ]
    beyond = MultipleChoiceConfig(path=path, answer_index=2)
    assert reasons_of(beyond) == [(1, "answer: is 2, and there are 2 choices")]


def test_a_number_must_be_that_of_a_label_where_labels_are_given(tmp_path):
    path = tmp_path / "a.jsonl"
    labels = [0, 1, 2, "1", "2", 7.0, True]
    path.write_text("".join(json.dumps({"text": "a", "label": label}) + "\n" for label in labels))
    config = ClassificationConfig(path=path, labels=("bad", "good"))
    assert [row["label"] for row in rows_of(config)] == [0, 1, 1, 1]
    reason = "label: is a number that is not below the number of `labels`"
    assert reasons_of(config) == [(3, reason), (5, reason), (6, reason)]
    assert len(rows_of(ClassificationConfig(path=path))) == 7


@pytest.mark.parametrize(
    ("label", "read"),
    [
        ("True", 1),
        ("false", 0),
        (" 2 ", 2),
        ("1.0", 1),
        (True, 1),
        ("", "label: is empty"),
        (" ", "label: is empty"),
        (-1, "label: is -1: hidden, as in a test split"),
        ("-1", "label: is -1: hidden, as in a test split"),
        (-2, "label: is below 0"),
        (1.5, "label: is a number with a fraction"),
        ("0.5", "label: is a number with a fraction"),
        (float("nan"), "label: is missing or null, not a number or a name"),
        ("sea", "label: is a name that `labels` does not list"),
        ([1], "label: is list, not a number or a name"),
    ],
)
@pytest.mark.parametrize("labels", [(), ("a", "b", "c")])
def test_a_label_is_read_or_its_fault_is_named(tmp_path, label, read, labels):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "a", "label": label}) + "\n")
    config = ClassificationConfig(path=path, labels=labels)
    assert ([row["label"] for row in rows_of(config)] or reasons_of(config)[0][1]) == (
        read if isinstance(read, str) else [read]
    )
    if isinstance(read, str):  # the builder says so, whoever asks
        with pytest.raises(BadRow):
            label_of(label, labels)


def test_a_text_that_becomes_a_score_is_noted(tmp_path):
    path = tmp_path / "a.jsonl"
    turns = [{"role": "user", "content": "a"}]
    path.write_text("".join(json.dumps({"messages": turns, "score": score}) + "\n" for score in ("4", 4)))
    assert notes_of(ScoredConfig(path=path)) == [(1, "a score that is text read as a number")]
    table = tmp_path / "a.csv"
    table.write_text("prompt,completion,score\na,b,4\n")
    assert notes_of(ScoredConfig(path=table)) == []


def test_a_thousand_faulty_values_are_one_reason(tmp_path):
    def reasons(kind, *records):
        path = tmp_path / "a.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return {reason for _, reason in reasons_of(kind(path=path))}

    numbers = range(3, 1000)
    assert len(reasons(ClassificationConfig, *({"text": "a", "label": f"name {n}"} for n in numbers))) == 1
    turns = [{"role": "user", "content": "a"}]
    assert len(reasons(ScoredConfig, *({"messages": turns, "score": f"x{n}"} for n in numbers))) == 1
    judged = {"instruction": "i", "output_1": "a", "output_2": "b"}
    assert len(reasons(PreferenceConfig, *({**judged, "preference": n} for n in numbers))) == 1
