"""Dates and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from actors.errors import ToolError
from actors.tools.native import tool


@tool(name="datetime", tags=("time",))
def date_and_time(
    moment: str = "now", timezone: str = "UTC", plus_days: int = 0, plus_seconds: float = 0, since: str | None = None
) -> dict[str, Any]:
    """Tell the time in a time zone, now or at another moment, move it, and measure how long it is since another one.

    Args:
        moment: A date or time in ISO 8601, such as 2026-03-01T12:00, or `now`; without an offset, in the time zone.
        timezone: Name of the time zone, such as Europe/Berlin.
        plus_days: Days to add, by the calendar of the time zone: the time of day stays.
        plus_seconds: Seconds to add then.
        since: Another moment; the answer has the seconds from it to the first.

    Raises:
        ToolError: There is no such moment or time zone.
    """
    zone = _zone(timezone)
    try:
        found = _moment("moment", moment, zone) + timedelta(days=plus_days)
        found = (found.astimezone(UTC) + timedelta(seconds=plus_seconds)).astimezone(zone)
    except (OverflowError, ValueError) as error:
        raise _refusal("the moment is outside of the years 1 to 9999") from error
    answer: dict[str, Any] = {
        "iso": found.isoformat(),
        "date": found.date().isoformat(),
        "time": found.time().isoformat(),
        "weekday": f"{found:%A}",
        "unix_s": found.timestamp(),
    }
    if since is not None:
        answer["since_s"] = (found - _moment("since", since, zone)).total_seconds()
    return answer


def _zone(name: str) -> tzinfo:
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise _refusal(f'no time zone "{name}"; give a name such as Europe/Berlin') from error


def _moment(what: str, text: str, zone: tzinfo) -> datetime:
    if text == "now":
        return datetime.now(zone)
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise _refusal(f'{what}: "{text}" is no moment in ISO 8601; write one such as 2026-03-01T12:00') from error
    return parsed.replace(tzinfo=zone) if parsed.tzinfo is None else parsed.astimezone(zone)


def _refusal(problem: str) -> ToolError:
    return ToolError(f"datetime: {problem}", tool="datetime")
