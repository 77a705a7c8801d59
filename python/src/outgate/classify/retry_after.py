"""`Retry-After` as it is really sent: seconds, the three forms of an HTTP date, several of them, and nonsense."""

import re
from datetime import datetime, timezone

from .verdict import Wait

# A number too large for any clock is the longest wait there is, because its sender means "long", not "at once".
LONGEST = 2**64 - 1

_SECONDS = re.compile(r"([0-9]+)(?:\.([0-9]*))?\s*(?:seconds|s)?", re.ASCII)

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
_TIME = "(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_SHORT = f"(?P<weekday>{'|'.join(_DAYS)})"
_LONG = "(?P<weekday>Mon|Tue(?=s)|Wed(?=nes)|Thu(?=rs)|Fri|Sat(?=ur)|Sun)(?:s|nes|rs|ur)?day"

# RFC 9110 section 5.6.7: IMF-fixdate, RFC 850, asctime.
_DATES = tuple(
    re.compile(form)
    for form in (
        f"{_SHORT}, (?P<day>[0-9]{{2}}) {_MONTH} (?P<year>[0-9]{{4}}) {_TIME} GMT",
        f"{_LONG}, (?P<day>[0-9]{{2}})-{_MONTH}-(?P<year>[0-9]{{2}}) {_TIME} GMT",
        f"{_SHORT} {_MONTH} (?P<day>[0-9]{{2}}| [0-9]) {_TIME} (?P<year>[0-9]{{4}})",
    )
)


def retry_after(headers):
    """The wait that an answer's `Fields` name, if it can be read; else None.

    Of several the longest in its own kind, and dates only where there are no seconds: who sends both means the same moment,
    and seconds don't depend on two clocks.
    """
    values = headers.all("Retry-After")
    seconds = [n for value in values for n in map(_seconds, value.split(",")) if n is not None]
    if seconds:
        return Wait(seconds=max(seconds))
    dates = [date for date in map(_date, values) if date is not None]
    return Wait(until=max(dates)) if dates else None


def _seconds(value):
    """Whole seconds; a fraction is rounded up, a unit of seconds is read over."""
    found = _SECONDS.fullmatch(value.strip().strip('"').strip())
    if not found:
        return None
    whole, fraction = found[1].lstrip("0"), (found[2] or "").strip("0")
    if len(whole) > 20:
        return LONGEST
    return min(int(whole or "0") + bool(fraction), LONGEST)


def _date(value):
    value = value.strip().strip('"').strip()
    found = next((found for form in _DATES if (found := form.fullmatch(value))), None)
    if not found:
        return None
    year, day, hour, minute, second = (int(found[name]) for name in ("year", "day", "hour", "minute", "second"))
    if len(found["year"]) == 2:
        year += 2000 if year < 70 else 1900
    try:
        date = datetime(year, _MONTHS.index(found["month"]) + 1, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        return None
    # A day of the week that is not the date's shows that something is wrong with it, and nobody can tell what.
    return date if year >= 1970 and _DAYS[date.weekday()] == found["weekday"] else None
