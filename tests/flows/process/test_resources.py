"""What a stage's process says of itself and its machine."""

import re

from flows.process.resources import machine, peak_memory, used


def test_the_peak_follows_what_is_allocated() -> None:
    before = peak_memory()
    block = bytearray(b"x" * 64_000_000)  # written, so resident
    grown = peak_memory() - before
    assert grown <= 2 * len(block)
    assert peak_memory() >= len(block), "bytes, not kilobytes"


def test_the_machine_in_words() -> None:
    assert re.fullmatch(r".+ · \d+ cores? · \d+ GB", machine())
    facts = used()
    assert facts["machine"] == machine()
    assert facts["peak_memory"] > 1_000_000
