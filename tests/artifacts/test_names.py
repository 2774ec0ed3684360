"""Names on disk."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tempering.artifacts.names import (
    artifact_folder,
    checkpoint_name,
    checkpoint_tokens,
    fingerprint8,
    format_tokens,
    parse_tokens,
    slug,
    stage_folder,
)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (400, "400"),
        (1000, "1K"),
        (1500, "1500"),
        (100_000, "100K"),
        (999_999, "999999"),
        (1_000_000, "1M"),
        (1_500_000, "1500K"),
        (2_000_000_000, "2000M"),
    ],
)
def test_tokens(count: int, text: str) -> None:
    assert format_tokens(count) == text


@given(st.integers(min_value=0) | st.integers(0, 10**6).map(lambda n: n * 1000))
def test_tokens_come_back_exactly(count: int) -> None:
    assert parse_tokens(format_tokens(count)) == count
    assert checkpoint_tokens(checkpoint_name(count)) == count


def test_a_half_written_checkpoint_has_no_tokens() -> None:
    assert checkpoint_tokens(".tmp-checkpoint_100K_tokens") is None
    assert checkpoint_tokens("checkpoint-100") is None


def test_negative_tokens() -> None:
    with pytest.raises(ValueError, match="negative"):
        format_tokens(-1)


@given(st.text())
def test_slugs_are_safe_in_a_shell(text: str) -> None:
    safe = slug(text)
    assert safe
    assert all(char.isascii() and (char.isalnum() or char in "._-") for char in safe)
    assert safe[0] not in ".-"
    assert "__" not in safe


def test_folders() -> None:
    moment = datetime(2026, 11, 21, 10, 15, 30, tzinfo=UTC)
    name = artifact_folder("quickstart", 300_000, moment, "3f9c1a2b" + "0" * 56)
    assert name == "quickstart_300K_tokens__2026-11-21__10-15-30__3f9c1a2b"
    assert artifact_folder("a b", None, moment, "3f9c1a2b0") == "a-b__2026-11-21__10-15-30__3f9c1a2b"
    assert fingerprint8(name) == fingerprint8(name + "-2") == "3f9c1a2b"
    assert stage_folder("evaluate[ppo]") == "evaluate-ppo"
