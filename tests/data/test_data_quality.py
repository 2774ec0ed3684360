"""Quality filters: what goes, what stays, in which order, and the same in every process."""

import random
import subprocess
import sys
from itertools import permutations

import numpy as np
import pytest
from pydantic import ValidationError

from tempering.data.quality.bands import BandIndex, band_width
from tempering.data.quality.config import QualityConfig
from tempering.data.quality.filters import Filters
from tempering.data.quality.ngrams import window_hashes, word_hashes, words
from tempering.data.rows import Rejected, Row, RowType
from tempering.errors import DataError

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]


def prose(seed: int, count: int = 120) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=count))


def edited(text: str, places: int, seed: int = 0) -> str:
    found = text.split(" ")
    for place in random.Random(seed).sample(range(len(found)), places):
        found[place] = "changed"
    return " ".join(found)


def run(config, rows, row_type=RowType.TEXT, evaluation=(), held_out=frozenset()):
    """(numbers of the rows that stay, rejections, table)."""
    filters = Filters(config, row_type, evaluation)
    stays, gone = [], []
    for number, values in enumerate(rows):
        values = {"text": values} if isinstance(values, str) else values
        found = filters.removed(Row(values, "some.jsonl", number + 1), held_out=number in held_out)
        if found is None:
            stays.append(number)
        else:
            gone.append(found)
    return stays, gone, filters.table()


def chat(prompt: str, completion: str) -> dict:
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
    }


EXACT, NEAR = QualityConfig(duplicates="exact"), QualityConfig(duplicates="near")


def test_nothing_is_on_by_default():
    stays, gone, table = run(QualityConfig(), ["a", "a"], evaluation=["a"])
    assert (stays, gone, table) == ([0, 1], [], [])


def test_length_counts_characters_of_both_ends():
    config = QualityConfig(min_characters=3, max_characters=5)
    stays, gone, _ = run(config, ["ab", "abc", "abcde", "abcdef"])
    assert stays == [1, 2]
    assert [(item.line, item.reason) for item in gone] == [
        (1, "shorter than 3 characters"),
        (4, "longer than 5 characters"),
    ]


def test_length_adds_up_all_running_text():
    config = QualityConfig(min_characters=5)
    assert run(config, [chat("abc", "de"), chat("abc", "d")], RowType.PROMPT_COMPLETION)[0] == [0]


def test_lengths_that_leave_nothing_are_refused():
    with pytest.raises(ValidationError, match="no row could stay"):
        QualityConfig(min_characters=10, max_characters=9)


def test_the_first_of_equal_rows_stays_and_is_named():
    stays, gone, table = run(EXACT, ["one", "two", "one", "one "])
    assert stays == [0, 1, 3]
    assert gone == [
        Rejected("some.jsonl", 3, "exact duplicate", "of some.jsonl:1: one", filter="exact_duplicate")
    ]
    assert table[0] | {"seconds": 0, "bytes_per_row": 0} == {
        "filter": "exact_duplicate",
        "seen": 4,
        "removed": 1,
        "share": 0.25,
        "bytes_per_row": 0,
        "seconds": 0,
        "example": "some.jsonl:3: of some.jsonl:1: one",
    }
    assert table[0]["seconds"] > 0


def test_only_columns_of_the_type_make_rows_equal():
    rows = [{"text": "one", "id": "a"}, {"text": "one", "id": "b"}]
    assert run(EXACT, rows)[0] == [0]
    rows = [{"text": "one", "text_pair": "", "label": label} for label in (0, 1, 0)]
    assert run(EXACT, rows, RowType.CLASSIFICATION)[0] == [0, 1]


def test_how_many_exact_copies_stay_hangs_on_no_order():
    rows = ["a", "b", "a", "c", "b"]
    assert {len(run(EXACT, order)[0]) for order in permutations(rows)} == {3}


def test_exact_duplicates_take_few_bytes_a_row():
    *_, table = run(EXACT, [str(number) for number in range(5000)])
    assert 80 < table[0]["bytes_per_row"] < 200


def test_near_finds_an_edited_copy_and_keeps_an_unrelated_text():
    rows = [prose(1), prose(2), edited(prose(1), 1), prose(3)]
    stays, gone, table = run(NEAR, rows)
    assert stays == [0, 1, 3]
    assert (gone[0].reason, gone[0].filter) == ("near duplicate", "near_duplicate")
    assert gone[0].excerpt.startswith("of some.jsonl:1, similarity 0.")
    assert [row["filter"] for row in table] == ["exact_duplicate", "near_duplicate"]


def test_near_does_not_mind_case_and_punctuation():
    assert run(NEAR, ["The cat - sat on a mat!", "the CAT sat; on a mat", "“The cat” sat on—a mat"])[0] == [0]


@pytest.mark.parametrize(("threshold", "stays"), [(0.95, [0, 1]), (0.5, [0])])
def test_near_threshold(threshold, stays):
    # 4 of 120 words: about 20 of 116 shingles on each side, a similarity of 96 / 136 = 0.7
    rows = [prose(1), edited(prose(1), 4)]
    assert run(QualityConfig(duplicates="near", near_threshold=threshold), rows)[0] == stays


def test_near_at_threshold_one_means_the_same_shingles():
    config = QualityConfig(duplicates="near", near_threshold=1)
    assert run(config, [prose(1), edited(prose(1), 1), prose(1).upper()])[0] == [0, 1]


def test_near_treats_texts_shorter_than_a_shingle_as_a_whole():
    assert run(NEAR, ["red hat", "red cap", "Red hat.", "red"])[0] == [0, 1, 3]


def test_near_leaves_rows_without_a_word_alone():
    assert run(NEAR, ["...", "!!!", "???"])[0] == [0, 1, 2]


def test_near_shingle_decides_what_counts():
    # Every second word differs: most words agree, no two in a row do.
    one, other = prose(1).split(), prose(1).split()
    other[::2] = ["the"] * 60
    one[::2] = ["a"] * 60
    rows = [" ".join(one), " ".join(other)]
    loose = QualityConfig(duplicates="near", near_shingle=1, near_threshold=0.5)
    assert run(loose, rows)[0] == [0]
    assert run(loose.model_copy(update={"near_shingle": 2}), rows)[0] == [0, 1]


def test_near_needs_every_column_to_be_near():
    context, loose = prose(1, 300), QualityConfig(duplicates="near", near_threshold=0.5)
    questions = [
        {"question": question, "context": context, "answers": ["hat"], "baseline": None}
        for question in ("Who had the hat?", "Where was the ball lost?", "who had the hat")
    ]
    assert run(loose, questions, RowType.QUESTION)[0] == [0, 1]
    answers = [chat(context, "yes, it is"), chat(edited(context, 1), "yes, it is"), chat(context, "no")]
    assert run(loose, answers, RowType.PROMPT_COMPLETION)[0] == [0, 2]
    sides = [
        {"sentence_good": good, "sentence_bad": bad, "paradigm": ""}
        for good, bad in (("a cat sits", "a cat sit"), ("a cat sit", "a cat sits"))
    ]
    assert run(loose, sides, RowType.MINIMAL_PAIR)[0] == [0, 1]


def test_near_names_the_first_of_several():
    # The second is too far from the first; the third, between them, is near to both.
    third = edited(prose(1), 2, seed=3)
    second = edited(third, 2, seed=4)
    config = QualityConfig(duplicates="near", near_threshold=0.78, near_permutations=1024)
    stays, gone, _ = run(config, [prose(1), second, third])
    assert stays == [0, 1]
    assert gone[0].excerpt.startswith("of some.jsonl:1,")
    assert run(config, [second, third])[0] == [0]


def test_near_keeps_rows_of_another_label():
    rows = [
        {"text": prose(1) + end, "text_pair": "", "label": label}
        for end, label in (("", 0), (".", 1), ("!", 0))
    ]
    assert run(NEAR, rows, RowType.CLASSIFICATION)[0] == [0, 1]


def test_a_row_that_another_filter_takes_out_is_no_first_occurrence():
    quoted = prose(5, 40)
    config = QualityConfig(duplicates="near", decontaminate=("benchmark",))
    # The copies of the contaminated row are held out: they may stay, once.
    stays, gone, _ = run(config, [quoted, quoted, quoted], evaluation=[quoted], held_out={1, 2})
    assert stays == [1]
    assert [item.filter for item in gone] == ["decontamination", "exact_duplicate"]


def test_near_search_agrees_with_comparing_all_pairs():
    # Enough rows for the index to widen; every third one a copy with 1, 2, 3 or 6 of 120 words changed.
    texts = [prose(seed) for seed in range(1600)]
    texts += [edited(texts[seed], (1, 2, 3, 6)[seed % 4], seed) for seed in range(800)]
    stays, gone, table = run(NEAR, texts)
    removed = {item.line - 1 for item in gone}
    assert removed.isdisjoint(range(1600))
    shingles = [set(window_hashes(word_hashes(words(text)), 5).tolist()) for text in texts]
    pairs = {number: (shingles[number], shingles[number - 1600]) for number in range(1600, 2400)}
    similarity = {number: len(one & other) / len(one | other) for number, (one, other) in pairs.items()}
    sure = {number for number, value in similarity.items() if value > 0.9}
    never = {number for number, value in similarity.items() if value < 0.65}
    assert len(sure) > 150
    assert len(never) > 150
    assert sure <= removed
    assert not never & removed
    assert len(stays) + len(removed) == 2400
    assert 600 < table[1]["bytes_per_row"] < 1100


@pytest.mark.parametrize("permutations_", [16, 128, 1024])
@pytest.mark.parametrize("threshold", [0.01, 0.5, 0.8, 1.0])
def test_bands_find_pairs_at_the_threshold(threshold, permutations_):
    width = band_width(threshold, permutations_)
    bands = permutations_ // width
    assert bands >= 2
    found = 1 - (1 - threshold**width) ** bands
    assert found >= 0.95 or width == 1


def test_a_crowded_bucket_is_walked_from_its_end_and_not_for_ever():
    index = BandIndex(16, 8, 1)
    for _ in range(1500):
        index.add(np.zeros((1, 16), np.uint32))
    found = index.candidates(np.zeros(16, np.uint32))
    assert found.tolist() == list(range(1500 - 256, 1500))


def test_words_are_runs_of_letters_and_digits():
    assert words("Don't STOP_now, 3.5 “Éva”—c'est") == [
        word.encode() for word in ("don", "t", "stop", "now", "3", "5", "éva", "c", "est")
    ]


def test_window_hashes():
    hashes = word_hashes(words("a b c a b"))
    pairs = window_hashes(hashes, 2)
    assert len(pairs) == 4
    assert pairs[0] == pairs[3]  # a b
    assert len(set(pairs.tolist())) == 3
    assert (pairs >> np.uint64(32) == window_hashes(hashes, 2, bits=32)).all()
    assert window_hashes(hashes[:2], 9).tolist() == window_hashes(hashes, 2)[:1].tolist()
    assert not len(window_hashes(word_hashes([]), 2))
    assert window_hashes(word_hashes(words("b a")), 2)[0] != pairs[0]


QUOTE = "Once there was a brave fox, who lived in the old oak tree."  # 13 words
AGAINST = QualityConfig(decontaminate=("benchmark",))


def test_decontamination_finds_a_quoted_13_gram():
    quoted = f"{prose(1, 50)} once there was A BRAVE fox who lived in the old oak tree {prose(2, 50)}"
    twelve = f"{prose(1, 50)} there was a brave fox who lived in the old oak tree {prose(2, 50)}"
    evaluation = [f"{prose(3, 30)} {QUOTE} {prose(4, 30)}"]
    stays, gone, table = run(AGAINST, [quoted, twelve, prose(5)], evaluation=evaluation)
    assert stays == [1, 2]
    assert gone[0].reason == "text of an evaluation set"
    assert gone[0].excerpt.startswith("1 of 101 n-grams: ")
    assert (table[0]["filter"], table[0]["seen"], table[0]["bytes_per_row"]) == ("decontamination", 3, 0)


def test_decontamination_leaves_held_out_rows_alone():
    stays, _, table = run(AGAINST, [QUOTE, QUOTE], evaluation=[QUOTE], held_out={1})
    assert stays == [1]
    assert table[0]["seen"] == 1


def test_decontamination_ngram_and_overlap():
    row = f"{QUOTE} {prose(1, 13)}"  # 14 windows of 13 words, one of which is known
    half = QualityConfig(decontaminate=("benchmark",), ngram_overlap=0.5)
    assert run(half, [row, QUOTE], evaluation=[QUOTE])[0] == [0]
    assert run(half, [f"{QUOTE} Yes."], evaluation=[QUOTE])[0] == [0]  # 1 of 2 is not more than half
    few = QualityConfig(decontaminate=("benchmark",), ngram=3)
    assert run(few, ["see the old oak there"], evaluation=[QUOTE])[0] == []
    assert run(AGAINST, ["see the old oak there"], evaluation=[QUOTE])[0] == [0]


def test_decontamination_compares_short_texts_whole():
    evaluation = ["What is the capital of France?", "Paris"]
    rows = [
        "what is the capital of france",
        "What is the capital of France, please?",
        "Paris.",
        "Paris is big",
    ]
    assert run(AGAINST, rows, evaluation=evaluation)[0] == [1, 3]
    rows = [chat("What is the capital of France?", "It is Paris."), chat("Where is the Louvre?", "Paris")]
    assert run(AGAINST, rows, RowType.PROMPT_COMPLETION, evaluation)[0] == [1]


def test_decontamination_against_nothing_is_refused():
    with pytest.raises(DataError, match="hold no text: benchmark"):
        Filters(AGAINST, RowType.TEXT, ["", "..."])
    assert run(AGAINST, ["...", "a"], evaluation=["b"])[0] == [0, 1]


SCRIPT = """
from tests.data.test_data_quality import *
config = QualityConfig(duplicates="near", near_threshold=0.7, decontaminate=("benchmark",))
texts = [prose(seed, 30) for seed in range(60)]
texts += [edited(texts[seed], 1 + seed % 4, seed) for seed in range(60)]
stays, gone, _ = run(config, texts, evaluation=[QUOTE, texts[7]])
print(stays, [(item.line, item.excerpt) for item in gone])
"""


def test_the_same_in_every_process(repository):
    said = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"},
            cwd=repository,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
    assert "similarity" in said.pop()


def test_what_is_off_is_not_loaded(repository):
    code = (
        "import sys; from tempering.data.quality.filters import Filters\n"
        "from tempering.data.quality.config import QualityConfig\n"
        "from tempering.data.rows import RowType\n"
        "Filters(QualityConfig(duplicates='exact'), RowType.TEXT)\n"
        "assert 'datasketch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=repository, check=True)
