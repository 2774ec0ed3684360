"""Fingerprints: stable, sensitive to what changes the result, blind to what does not."""

import json
import math
import os
import time
from enum import Enum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from toys import FitConfig, RowsConfig

from tempering.artifacts.digests import DigestCache, external_digests, sha256_file
from tempering.artifacts.fingerprint import canonical_json, fingerprint
from tempering.config import Config
from tempering.errors import ConfigError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def test_golden() -> None:
    # A change here rebuilds every artifact of every user: only with a reason in the changelog.
    found = fingerprint("fit", 1, FitConfig(), {"data": "ab" * 32}, [("x.txt", "cd" * 32)])
    assert found.hex == "e9979ac6a58720311c72fa9101f75553798f5bdec051c89a773c19920ead51be"


def test_what_is_in_it() -> None:
    base = fingerprint("fit", 1, FitConfig(), {"data": "a"}).hex
    others = [
        fingerprint("fit", 2, FitConfig(), {"data": "a"}),
        fingerprint("tune", 1, FitConfig(), {"data": "a"}),
        fingerprint("fit", 1, FitConfig(learning_rate=2e-3), {"data": "a"}),
        fingerprint("fit", 1, FitConfig(), {"data": "b"}),
        fingerprint("fit", 1, FitConfig(), {"rows": "a"}),
        fingerprint("fit", 1, FitConfig(), {"data": "a"}, [("x", "1")]),
    ]
    assert len({base, *(other.hex for other in others)}) == 7


def test_runtime_fields_are_not_in_it_and_defaults_are() -> None:
    one = fingerprint("rows", 1, RowsConfig(), {})
    assert one == fingerprint("rows", 1, RowsConfig(workers=8), {})
    assert one == fingerprint("rows", 1, RowsConfig(text="a"), {})
    assert one.hashed["config"] == {"text": "a", "file": None}


@given(JSON)
def test_canonical_json_is_json_and_does_not_depend_on_key_order(value: object) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert canonical_json(_reversed(value)) == text
    assert canonical_json(json.loads(text)) == text


def _reversed(value: object) -> object:
    if isinstance(value, dict):
        return {key: _reversed(value[key]) for key in reversed(value)}
    return [_reversed(item) for item in value] if isinstance(value, list) else value


def test_minus_zero_is_zero() -> None:
    assert canonical_json([-0.0]) == canonical_json([0.0]) == "[0.0]"


class _Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, {1, 2}, {1: "a"}, object(), Path("x"), b"x", _Colour.RED, "\ud800", 1j]
)
def test_what_has_no_canonical_form_is_an_error_that_says_where(value: object) -> None:
    with pytest.raises(ConfigError, match=r"fit\.config\.a\.1 is .* no canonical form"):
        canonical_json({"config": {"a": [1, value]}}, where="fit")


def test_external_files_count_by_content_and_name_not_by_folder(tmp_path: Path) -> None:
    def of(path: Path) -> str:
        config = RowsConfig(file=path)
        files = external_digests(config.named_files(), DigestCache(tmp_path / "digests.json"))
        return fingerprint("rows", 1, config, {}, files).hex

    for folder in ("one", "two", "three"):
        (tmp_path / folder).mkdir()
    (tmp_path / "one/a.txt").write_text("same")
    (tmp_path / "two/a.txt").write_text("same")
    (tmp_path / "two/b.txt").write_text("same")
    (tmp_path / "three/a.txt").write_text("other")
    first = of(tmp_path / "one/a.txt")
    assert first == of(tmp_path / "two/a.txt")
    assert first != of(tmp_path / "two/b.txt")
    assert first != of(tmp_path / "three/a.txt")


def test_a_folder_counts_with_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "rows/deep").mkdir(parents=True)
    (tmp_path / "rows/deep/a.txt").write_text("a")
    cache = DigestCache(tmp_path / "digests.json")
    ((name, digest),) = external_digests([("set", tmp_path / "rows")], cache)
    assert (name, digest) == ("set/deep/a.txt", sha256_file(tmp_path / "rows/deep/a.txt"))


def test_a_missing_external_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.txt"):
        external_digests([("rows", tmp_path / "nowhere.txt")], DigestCache(tmp_path / "digests.json"))


class TestDigestCache:
    def test_an_unchanged_file_is_not_read_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = self._old_file(tmp_path)
        cache = DigestCache(tmp_path / "cache/digests.json")
        digest = cache.sha256(file)
        cache.save()
        monkeypatch.setattr("tempering.artifacts.digests.sha256_file", lambda path: pytest.fail("read again"))
        assert DigestCache(tmp_path / "cache/digests.json").sha256(file) == digest

    def test_a_changed_time_or_size_is_read_again(self, tmp_path: Path) -> None:
        file = self._old_file(tmp_path)
        cache = DigestCache(tmp_path / "digests.json")
        first = cache.sha256(file)
        file.write_text("other")
        assert cache.sha256(file) == sha256_file(file) != first

    def test_a_file_of_this_moment_is_not_trusted(self, tmp_path: Path) -> None:
        file = tmp_path / "x"
        file.write_text("one")
        cache = DigestCache(tmp_path / "digests.json")
        cache.sha256(file)
        cache.save()
        assert not (tmp_path / "digests.json").exists()

    def test_a_broken_cache_is_an_empty_one(self, tmp_path: Path) -> None:
        (tmp_path / "digests.json").write_text('{"half')
        file = self._old_file(tmp_path)
        assert DigestCache(tmp_path / "digests.json").sha256(file) == sha256_file(file)

    def _old_file(self, folder: Path) -> Path:
        file = folder / "x"
        file.write_text("text")
        past = time.time() - 100
        os.utime(file, (past, past))
        return file


class _Odd(Config):
    options: dict[str, object] = Field(default_factory=dict)


def test_an_odd_value_in_a_config_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"rows\.config\.options\.when"):
        fingerprint("rows", 1, _Odd(options={"when": object()}), {})
