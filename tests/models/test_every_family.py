"""Every causal LM type of transformers is served as its own forward and `generate()` say, or refused by name.

A dozen of them each time; the whole sweep is slow. A type of a later version of transformers is in it too: it
must be served, or docs/families.md and `tempering.unserved` must say why not.
"""

import re

import pytest

from tempering.unserved import UNFUSED
from tests.models.sweep import ALLOWED, BEGIN, END, NO_TRL, PAGE, SERVED, UNTRIED, families, try_family

SOME = ["bloom", "cohere2", "deepseek_v4", "falcon_h1", "gemma3_text", "gpt2", "granitemoe", "hyperclovax",
        "mamba2", "opt", "qwen3_moe", "recurrent_gemma"]  # fmt: skip


def documented() -> dict[str, tuple[str, str]]:
    """State and reason of each type in docs/families.md."""
    lines = PAGE.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0].splitlines()[2:]
    rows = [re.split(r" ?\| ?", line.strip("|").strip()) for line in lines]
    return {name.strip("`"): (state, reason) for name, state, _, reason in ([*row, ""][:4] for row in rows)}


def check(model_type: str) -> None:
    row = try_family(model_type)
    assert all(gap <= ALLOWED for gap in row.gaps.values()), row
    state, reason = documented()[model_type]
    assert row.state == state
    if state in (SERVED, NO_TRL):
        assert row.gaps["adopted"] == 0
        assert {"head", "decoder", "loss"} <= row.gaps.keys()
    elif state != UNTRIED:  # the message of transformers may be another one on another machine
        assert row.reason == reason


def test_the_page_lists_every_type() -> None:
    pages = documented()
    assert list(pages) == families()
    assert {name for name, (state, _) in pages.items() if state == NO_TRL} == UNFUSED.keys()


@pytest.mark.parametrize("model_type", SOME)
def test_some_families(model_type: str) -> None:
    check(model_type)


@pytest.mark.slow
@pytest.mark.parametrize("model_type", sorted({*families()} - {*SOME}))
def test_all_families(model_type: str) -> None:
    check(model_type)
