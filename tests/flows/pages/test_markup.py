"""Words on Prefect's pages: foreign text is text there, keys are Prefect's, lines are for people."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from flows.display import Row
from flows.pages.markup import artifact_key, percent, plain, progress_line, table

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "a | b || c",
    "**bold** _it_ `code` ~~gone~~ [link](http://x.y) ![picture](data:image/png;base64,AA)",
    "&lt;b&gt; &amp; &#60;",
    "\\| \\<b> back\\slash\\",
    "$x$ # title",
    "__0__ and snake_case",
]


def shown(text: str) -> tuple[str, set[str]]:
    """What a reader of the Markdown sees, and the tags around it."""
    page = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text)
    words = re.sub(r"<[^>]*>", "", page)
    for code, char in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        words = words.replace(code, char)
    return words, set(re.findall(r"<(\w+)", page))


@pytest.mark.parametrize("text", HOSTILE)
def test_foreign_text_is_read_as_it_is_and_makes_no_markup(text: str):
    assert shown("x" + plain(text)) == (f"x{text}\n", {"p"})
    words, tags = shown(table(["prompt"], [[text]]))
    assert text in words
    assert tags == {"table", "thead", "tbody", "tr", "th", "td"}


@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=30))
def test_no_ascii_text_makes_markup(text: str):
    _, tags = shown("x" + plain(text, 100))
    assert tags <= {"p"}


def test_a_text_is_one_line_without_controls_or_keys_and_cut():
    key = "sk-proj-Zb81Kd92jfA73hqL"
    assert plain("two\nlines\x1b[31m") == r"two⏎lines␛\[31m"
    assert key not in plain(f"the key is {key}")
    assert plain("x" * 600, 10) == "x" * 10 + "…"


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (("Quick start_2", "evaluate[ppo]-metrics"), "quick-start-2-evaluate-ppo-metrics"),
        (("a/b%", "plan"), "a-b-plan"),
        (("toy", "run"), "toy-run"),
    ],
)
def test_keys_are_such_as_prefect_takes(names: tuple[str, ...], key: str):
    assert artifact_key(*names) == key


def test_pipelines_of_other_scripts_have_keys_of_their_own():
    keys = {artifact_key(name, "run") for name in ("模型", "модель", "café", "caf")}
    assert len(keys) == 4
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*", key) for key in keys)


def test_a_progress_line_says_how_far_how_good_how_fast_and_how_long():
    row = Row("ppo", "running", done=126_000, total=300_000)
    row.first = (time.monotonic() - 10, 74_000)
    line = progress_line(row, {"score": 0.71234, "kl": 0.03})
    assert line == "ppo 42% · 126.0K of 300.0K tokens · score 0.7123 · kl 0.03 · 5.2K tokens/s · 33 s left"
    rows = Row("dataset[corpus]", "running", done=1500, unit="rows")
    assert progress_line(rows, {}) == "dataset[corpus] · 1.5K rows"
    assert percent(Row("ppo", "running", done=1, total=30)) == 3.3
