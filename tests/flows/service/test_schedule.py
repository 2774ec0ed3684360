"""`--cron`, `--interval` and `--timezone`: what is taken, what is refused, and how it is told."""

from datetime import timedelta

import pytest

from flows.service.schedule import in_words, make_schedule, parse_interval
from tempering.errors import UserError


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("20s", timedelta(seconds=20)),
        ("90min", timedelta(minutes=90)),
        ("15m", timedelta(minutes=15)),
        ("6h", timedelta(hours=6)),
        ("1d12h", timedelta(hours=36)),
        ("2w", timedelta(days=14)),
    ],
)
def test_intervals(text: str, length: timedelta) -> None:
    assert parse_interval(text) == length


@pytest.mark.parametrize(
    "text", ["", "6", "h", "0s", "-1h", "1.5h", "6 hours", "1h 2", "9999999d", "9" * 30 + "d"]
)
def test_no_intervals(text: str) -> None:
    with pytest.raises(UserError, match="--interval"):
        parse_interval(text)


@pytest.mark.parametrize(
    "text", ["", "0 33 * * *", "* * * *", "daily", "0 0 31 2 *x", "H * * * *", "0 3 * * * *"]
)
def test_no_cron(text: str) -> None:
    with pytest.raises(UserError, match="--cron"):
        make_schedule(text, None, None)


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../../etc/passwd", "/etc/localtime", "Europe"])
def test_no_timezone(zone: str) -> None:
    with pytest.raises(UserError, match="--timezone"):
        make_schedule("0 3 * * *", None, zone)


def test_a_timezone_alone_says_nothing() -> None:
    with pytest.raises(UserError, match="--cron or --interval"):
        make_schedule(None, None, "UTC")
    assert make_schedule(None, None, None) is None


@pytest.mark.parametrize(
    ("cron", "interval", "zone", "words"),
    [
        ("0 3 * * *", None, None, "0 3 * * * (UTC)"),
        ("0 3 * * mon", None, "Europe/Berlin", "0 3 * * mon (Europe/Berlin)"),
        (None, "36h", None, "every 1 d 12 h"),
        (None, "90s", None, "every 1 min 30 s"),
    ],
)
def test_in_words(cron: str | None, interval: str | None, zone: str | None, words: str) -> None:
    assert in_words(make_schedule(cron, interval, zone)) == words
