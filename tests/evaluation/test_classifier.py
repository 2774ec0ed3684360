"""The classifier on a language model: the token that it reads, and how two texts become ids."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tempering.data.token_ids import document_start
from tempering.evaluation.classifier import Classifier, as_running_text, as_the_tokenizer_does, padded
from tempering.models.loading import load_body
from tests.data.some_tokenizers import TOKENIZERS
from tests.models.outside import outside


@pytest.mark.parametrize("read", ["first", "last"])
def test_padding_changes_no_logit(tmp_path: Path, read: Any) -> None:
    folder = outside(tmp_path / "m", tokenizer=TOKENIZERS["byte-level"](), max_position_embeddings=64)
    model = Classifier(load_body(folder), 2, 0.1, read).eval()
    short, long = [5, 9, 11], [7, 3, 8, 12, 6]
    with torch.no_grad():
        together = model(*padded([short, long], pad=3))
        alone = torch.cat([model(*padded([line], pad=3)) for line in (short, long)])
        other = model(*padded([[5, 10, 12]], pad=3))
    torch.testing.assert_close(together, alone)
    assert torch.equal(other[0], alone[0]) is (read == "first"), "of another text with the same first token"


@pytest.mark.parametrize("name", ["byte-level", "BOS", "BOS and EOS"])
def test_ids_of_running_text_and_of_the_tokenizer(name: str) -> None:
    words = TOKENIZERS[name]()
    bare = {text: words(text, add_special_tokens=False)["input_ids"] for text in ("the dog", "\na cat")}
    texts = [("the dog", "a cat"), ("the dog", "")]
    start = document_start(words)
    expected = [[*start, *bare["the dog"], *bare["\na cat"]], [*start, *bare["the dog"]]]
    assert as_running_text(words, texts, 50) == (expected, 0)
    theirs = words(["the dog"], ["a cat"])["input_ids"]
    assert as_the_tokenizer_does(words, texts[:1], 50) == (theirs, 0)


def test_the_longer_text_loses_its_end() -> None:
    words = TOKENIZERS["byte-level"]()
    long, short = "the dog saw a cat in the park . " * 3, "a cat"
    whole = as_running_text(words, [(long, short)], 500)[0][0]
    behind = as_running_text(words, [("", short)], 500)[0][0][1:]
    (ids,), cut = as_running_text(words, [(long, short)], len(behind) + 5)
    assert (ids, cut) == ([*whole[:5], *behind], 1)
    assert as_the_tokenizer_does(words, [(long, "")], 5) == ([whole[1:6]], 1)


def test_special_tokens_that_a_text_spells_stay_text() -> None:
    words = TOKENIZERS["byte-level"]()
    special = words.convert_tokens_to_ids("</s>")
    assert special not in as_running_text(words, [("a </s> b", "c")], 50)[0][0][1:]
    assert special in as_the_tokenizer_does(words, [("a </s> b", "c")], 50)[0][0]
