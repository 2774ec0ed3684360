"""Builders of running text: where documents begin and end, and what is taken off."""

import json

import pytest
from pydantic import ValidationError

from tempering.config import identity
from tempering.data.builders import BabyLMConfig, SentimentConfig, TextConfig, TinyStoriesConfig, build
from tempering.data.holdout import is_held_out
from tempering.data.rows import Row
from tempering.errors import DataError
from tests.data.built import notes_of, reasons_of, rows_of


def rows_in(config):
    return [item for item in build(config) if isinstance(item, Row)]


def texts(config):
    return [row["text"] for row in rows_of(config)]


@pytest.mark.parametrize("kind", [TextConfig, TinyStoriesConfig])
def test_documents_by_separator(fixtures, kind):
    items = [item for item in build(kind(path=fixtures / "stories.txt")) if isinstance(item, Row)]
    assert [(item.line, item.values["text"]) for item in items] == [
        (1, "Lily had a cat.\nThe cat\u2028was red."),
        (6, "Tom ran."),
        (6, "Mia sat.\n\nShe slept."),
    ]


@pytest.mark.parametrize("kind", [TextConfig, TinyStoriesConfig])
def test_records_need_no_separator(fixtures, kind):
    config = kind(path=fixtures / "stories.jsonl")
    assert rows_of(config) == [{"text": "Lily had a cat.", "title": "Lily"}, {"text": "Tom\u2028ran."}]
    assert reasons_of(config) == [(2, "text: is missing or null, not a string")]


@pytest.mark.parametrize(
    ("documents", "expected"),
    [("line", ["a", "b", "c"]), ("blank_line", ["a\nb", "c"]), ("file", ["a\nb\n\nc"])],
)
def test_text_documents_by_line_blank_line_and_file(tmp_path, documents, expected):
    path = tmp_path / "a.txt"
    path.write_text("a\nb\n\nc\n" if documents == "file" else "a\nb\n\n \nc\n")
    assert texts(TextConfig(path=path, documents=documents)) == expected


def test_text_without_its_separator_is_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("a\nb\n")
    with pytest.raises(DataError, match="none with the separator"):
        list(build(TextConfig(path=path)))
    assert texts(TextConfig(path=path, separator="b")) == ["a"]
    assert texts(TextConfig(path=path, documents="file")) == ["a\nb"]


def test_the_format_of_a_file_decides_and_can_be_set(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text('{"text": "a"}\n{"text": "b"}\n')
    assert texts(TextConfig(path=path, format="jsonl")) == ["a", "b"]
    assert texts(TextConfig(path=path, documents="line")) == ['{"text": "a"}', '{"text": "b"}']


def test_an_invalid_line_costs_its_document_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"a\n\nb\n\xff\nb\n\nc\n")
    config = TextConfig(path=path, documents="blank_line")
    assert texts(config) == ["a", "c"]
    assert [line for line, _ in reasons_of(config)] == [4]
    assert texts(TextConfig(path=path, documents="line")) == ["a", "b", "b", "c"]
    assert texts(TextConfig(path=path, documents="line", encoding="latin-1"))[2] == "ÿ"
    path.write_bytes(b"a<|endoftext|>b\n\xff\nb<|endoftext|>c\n")
    assert texts(TextConfig(path=path)) == ["a", "c"]


def test_utterances_are_gathered_to_a_number_of_words(fixtures):
    config = BabyLMConfig(path=fixtures / "childes.train", document_words=6, speakers="strip")
    assert rows_of(config) == [
        {"corpus": "childes", "text": "look at that.\ndog.\nyes, a dog."},
        {"corpus": "childes", "text": "xxx.\n@ a remark\nbye."},
    ]
    kept = texts(BabyLMConfig(path=fixtures / "childes.train"))
    assert kept[0].startswith("*MOT:\tlook at that.\n*CHI:\tdog.")
    assert len(kept) == 1


def test_speakers_of_switchboard_are_marked_with_a_tab(tmp_path):
    path = tmp_path / "switchboard.test"
    path.write_text("A:\tHi.\nB:\tA: is a letter.\nA: no mark\n")
    assert texts(BabyLMConfig(path=path, speakers="strip")) == ["Hi.\nA: is a letter.\nA: no mark"]


def test_an_utterance_that_cannot_be_read_costs_itself_alone(tmp_path):
    path = tmp_path / "bnc_spoken.dev"
    path.write_bytes(b"one\n\xff\ntwo\n")
    config = BabyLMConfig(path=path)
    assert (texts(config), [line for line, _ in reasons_of(config)]) == (["one\ntwo"], [2])


def test_wiki_articles_are_cut_at_their_titles(fixtures):
    config = BabyLMConfig(path=fixtures / "simple_wiki.train")
    assert rows_of(config) == [
        {"corpus": "simple_wiki", "text": "rest of an article."},
        {"corpus": "simple_wiki", "title": "Cats", "text": "A cat is an animal.\n\nIt purrs."},
        {"corpus": "simple_wiki", "title": "Dogs", "text": "A dog barks."},
        {"corpus": "simple_wiki", "title": "Birds", "text": "A bird = flies."},
    ]
    assert reasons_of(config) == [(8, "text: is empty")]


def test_books_lose_their_licence_and_their_hard_wraps(fixtures):
    config = BabyLMConfig(path=fixtures / "gutenberg.train")
    first, second, third = rows_of(config)
    assert first == {
        "corpus": "gutenberg",
        "id": "PG1",
        "text": "A Small Book\n\nIt was seven o'clock of a very warm evening in the hills--and well-known "
        "it was."
        "\n\n   Verse is\n     indented\n\nThe end.",
    }
    assert second == {"corpus": "gutenberg", "id": "PG2", "title": "ANOTHER", "text": "It begins here."}
    assert third["text"].count("\n") == 1  # its lines were never wrapped
    assert notes_of(config) == [(17, "header or licence of Project Gutenberg taken off")]


def test_books_in_records_and_books_without_marks(tmp_path):
    path = tmp_path / "gutenberg.jsonl"
    path.write_text('{"id": "PG9", "text": "Head. *** START OF THIS PROJECT GUTENBERG EBOOK X *** Body."}\n')
    assert rows_of(BabyLMConfig(path=path)) == [{"corpus": "gutenberg", "id": "PG9", "text": "Body."}]
    assert len(notes_of(BabyLMConfig(path=path))) == 1
    plain = tmp_path / "my_gutenberg.txt"
    plain.write_text("Two\nlines.\n")
    assert texts(BabyLMConfig(path=plain)) == ["Two lines."]


START, END = (
    "*** START OF THE PROJECT GUTENBERG EBOOK {} ***",
    "*** END OF THE PROJECT GUTENBERG EBOOK {} ***",
)
FOOT = "This eBook is for anyone."


def bound(name, text, joint="\n"):
    return joint.join(("A header.", START.format(name), text, END.format(name), FOOT))


@pytest.mark.parametrize("joint", ["\n", " ", "\n\n", "\r\n"])
def test_every_word_of_a_book_is_kept_wherever_the_marks_stand(tmp_path, joint):
    """Two books: on lines of their own, or both on one line."""
    path = tmp_path / "gutenberg.txt"
    path.write_bytes((bound("A", "It begins.", joint) + joint + bound("B", "It ends.", joint)).encode())
    config = BabyLMConfig(path=path)
    assert [(row["title"], row["text"]) for row in rows_of(config)] == [
        ("A", "It begins."),
        ("B", "It ends."),
    ]
    assert [note for _, note in notes_of(config)] == ["header or licence of Project Gutenberg taken off"] * 2
    # The same in one record, whose books stay together.
    path = tmp_path / "gutenberg.jsonl"
    both = bound("A", "It begins.", joint) + joint + bound("B", "It ends.", joint)
    path.write_text(json.dumps({"text": both}))
    assert texts(BabyLMConfig(path=path)) == ["It begins.\n\nIt ends."]


def test_what_stands_beside_a_mark_is_kept(tmp_path):
    path = tmp_path / "gutenberg.train"
    lines = "Before. = = = PG1 = = = One.\nTwo. = = = PG2 = = = = = = PG3 = = = Three.\n"
    path.write_text(lines + f"Four. {END.format('X')} licence = = = PG4 = = = Five.\n")
    config = BabyLMConfig(path=path)
    found = [(row.get("id"), row["text"]) for row in rows_of(config)]
    assert found == [(None, "Before."), ("PG1", "One. Two."), ("PG3", "Three. Four."), ("PG4", "Five.")]
    assert [line for line, _ in notes_of(config)] == [3]  # a licence without a START is one that is taken off


def test_a_book_whose_end_is_not_marked_is_kept_and_named(tmp_path):
    path = tmp_path / "gutenberg.txt"
    path.write_text(
        "\n".join((START.format("A"), "One.", START.format("B"), "Two.", START[:40] + " C", "Three."))
    )
    config = BabyLMConfig(path=path)
    assert [(row["title"], row["text"]) for row in rows_of(config)] == [
        ("A", "One."),
        ("B", "Two."),
        ("C", "Three."),
    ]
    assert [note[:18] for _, note in notes_of(config)] == ["header or licence ", *["a book without END"] * 2]
    # A whole book after a mark that is not closed.
    path.write_text(START[:40] + " word" * 500)
    assert len(texts(config)[0].split()) == 500


def test_only_gutenbergs_books_are_read_otherwise_than_at_first(tmp_path):
    def version(**settings):
        return identity(BabyLMConfig(**settings)).get("version")

    assert version(path="a/childes.train") is version(path="x", corpus="simple_wiki") is None
    assert version(path="a/gutenberg.train") == version(path="x.txt", corpus="gutenberg") == 2
    assert version(path="folder") == version(path=("childes.train", "folder")) == version(hub="a/b") == 2


def test_the_corpus_is_told_by_the_name_or_by_hand(tmp_path):
    path = tmp_path / "a.train"
    path.write_text("one\n")
    with pytest.raises(DataError, match="which corpus"):
        list(build(BabyLMConfig(path=path)))
    assert rows_of(BabyLMConfig(path=path, corpus="open_subtitles")) == [
        {"corpus": "open_subtitles", "text": "one"}
    ]


def test_a_folder_of_corpora_is_one_data_set(fixtures, tmp_path):
    for name in ("childes.train", "simple_wiki.train"):
        (tmp_path / name).write_bytes((fixtures / name).read_bytes())
    found = [row["corpus"] for row in rows_of(BabyLMConfig(path=tmp_path))]
    assert found == ["childes", *["simple_wiki"] * 4]


def test_reviews_with_and_without_labels(fixtures):
    path = fixtures / "sentiment.jsonl"
    rows = rows_of(SentimentConfig(path=path))
    assert [(row["text"], row["label"]) for row in rows] == [
        ("Good film.\n\nVery good.", 1),
        ("Bad film.", 0),
        ("Fine\nfilm.", 1),
    ]
    assert reasons_of(SentimentConfig(path=path)) == [
        (3, "label: is -1: hidden, as in a test split"),
        (4, "label: is missing or null, not a number or a name"),
        (5, "label: is a name that `labels` does not list"),
    ]
    reviews = rows_of(SentimentConfig(path=path, rows="text"))
    assert (len(reviews), reviews[2]) == (6, {"text": "Mixed film.", "label": -1})
    three = SentimentConfig(path=path, labels=("meh", "negative"))
    assert [row["label"] for row in rows_of(three)] == [1, 1, 0, 1]


def test_reviews_as_beginnings_and_how_they_go_on(tmp_path):
    texts = [f"a film number {number} that I liked very much" for number in range(300)]
    path = tmp_path / "reviews.jsonl"
    path.write_text("".join(f'{{"text": "{text}", "label": 1}}\n' for text in [*texts, "too short a film"]))
    config = SentimentConfig(path=path, rows="continuations")
    rows = rows_of(config)
    assert rows[7]["prompt"] == [{"role": "user", "content": "a film number 7"}]
    assert rows[7]["completion"] == [{"role": "assistant", "content": "that I liked very much"}]
    assert rows[7]["label"] == 1
    assert reasons_of(config) == [(301, "the text has no more than 4 words")]
    # A review is on one side whatever it is read as: else the judge of a completion would know its text.
    whole = SentimentConfig(path=path, rows="text")
    sides = [
        [is_held_out(form.row_type, row, 0.3, 0) for row in rows_in(form)][:300] for form in (config, whole)
    ]
    assert sides[0] == sides[1]
    assert 60 < sum(sides[0]) < 120


def test_folds_are_disjoint_cover_everything_and_hold_out_the_same(tmp_path):
    path = tmp_path / "reviews.jsonl"
    path.write_text("".join(f'{{"text": "film {number}", "label": 1}}\n' for number in range(400)))
    whole = SentimentConfig(path=path)
    folds = [rows_in(SentimentConfig(path=path, fold=f"{part}/2")) for part in (1, 2)]
    first, second = ({row.values["text"] for row in fold} for fold in folds)
    assert not first & second
    assert first | second == {row.values["text"] for row in rows_in(whole)}
    assert 160 < len(first) < 240
    held_out = [sum(is_held_out(whole.row_type, row, 0.5, 0) for row in fold) for fold in folds]
    assert all(0.35 < count / len(fold) < 0.65 for count, fold in zip(held_out, folds, strict=True))


@pytest.mark.parametrize("fold", ["3/2", "0/2", "half", "1/0"])
def test_a_fold_that_is_none_is_refused(fold):
    with pytest.raises(ValidationError, match="fold"):
        SentimentConfig(path="x", fold=fold)
