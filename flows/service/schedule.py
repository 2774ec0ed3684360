"""When a deployment runs: from the command line to Prefect's schedule, and back into words."""

import re
import zoneinfo
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tempering.errors import UserError

if TYPE_CHECKING:
    from prefect.schedules import Schedule

_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LONGEST = timedelta(days=3660)  # Prefect cannot reckon far ahead, and would never start a run
_PART = r"(\d+)\s*(s|min|m|h|d|w)"


def make_schedule(cron: str | None, interval: str | None, timezone: str | None) -> "Schedule | None":
    """The schedule of `--cron` or `--interval`, in `timezone` (UTC); None where neither is given.

    Raises:
        UserError: one of them is malformed.
    """
    if timezone is not None:
        if cron is None and interval is None:
            raise UserError("--timezone without --cron or --interval says nothing", fix="give one of them")
        try:
            zoneinfo.ZoneInfo(timezone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise UserError(
                f"--timezone {timezone} is not known", expected="a name such as Europe/Berlin, or UTC"
            ) from None
    if cron is not None:
        return _cron(cron, timezone or "UTC")
    if interval is not None:
        from prefect.schedules import Interval

        return Interval(parse_interval(interval), timezone=timezone or "UTC")
    return None


def parse_interval(text: str) -> timedelta:
    """A time such as `6h`, `90min`, `1d12h`.

    Raises:
        UserError: it is no time, or none at all.
    """
    wrong = UserError(
        f"--interval {text} is no time",
        expected="a number and a unit: 30min, 6h, 1d, 1d12h; ten years at most",
    )
    if not re.fullmatch(rf"(?:{_PART}\s*)+", text.strip()):
        raise wrong
    try:
        length = timedelta(
            seconds=sum(int(number) * _UNITS[unit] for number, unit in re.findall(_PART, text))
        )
    except OverflowError:
        raise wrong from None
    if not timedelta(seconds=1) <= length <= _LONGEST:
        raise wrong
    return length


def in_words(schedule: Any) -> str:
    """A schedule as its server keeps it, for people."""
    zone = getattr(schedule, "timezone", None) or "UTC"
    if getattr(schedule, "cron", None):
        return f"{schedule.cron} ({zone})"
    interval = getattr(schedule, "interval", None)
    return f"every {_length(interval)}" if interval is not None else str(getattr(schedule, "rrule", schedule))


def _cron(text: str, timezone: str) -> "Schedule":
    from prefect.client.schemas.schedules import CronSchedule
    from prefect.schedules import Cron

    try:
        if len(text.split()) not in (1, 5):  # a sixth word would be seconds, and starts a run in each of them
            raise ValueError
        CronSchedule(cron=text, timezone=timezone)
    except ValueError:  # pydantic's is one
        raise UserError(
            f"--cron {text!r} is no schedule",
            expected='minute, hour, day, month, day of the week: "0 3 * * *" is each night at three',
        ) from None
    return Cron(text, timezone=timezone)


def _length(interval: timedelta) -> str:
    seconds, words = int(interval.total_seconds()), []
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        number, seconds = divmod(seconds, unit)
        words += [f"{number} {name}"] if number else []
    return " ".join(words)
