"""How people write a span of time, and how it is shown to them."""

import math
import re
from datetime import timedelta

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_WITH_UNITS = re.compile(r"(?:(\d+(?:\.\d+)?)(ms|s|m|h|d))")
_ISO = re.compile(
    r"P(?:(?P<d>\d+)D)?(?:T(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)


def duration(value: object) -> timedelta:
    """Read a span of time: `10`, `10s`, `250ms`, `2m`, `1h30m`, `PT10S`, or a number of seconds.

    Raise ValueError for anything else; negative spans cannot be written.
    """
    try:
        match value:
            case timedelta():
                return value
            case int() | float() if not isinstance(value, bool) and math.isfinite(value):
                return timedelta(seconds=value)
            case str():
                return _parsed(value.strip())
    except OverflowError:
        raise ValueError("is too long a time") from None
    raise ValueError("is not a duration; write 10s, 250ms, 2m, 1h or PT10S")


def shown(span: timedelta) -> str:
    """Write a span in the largest unit that keeps it whole: `45s`, `250ms`, `2m`."""
    for unit in ("d", "h", "m", "s", "ms"):
        if span and not span % _UNITS[unit]:
            return f"{span // _UNITS[unit]}{unit}"
    return f"{span.total_seconds():g}s"


def _parsed(text: str) -> timedelta:
    if _NUMBER.fullmatch(text):
        return timedelta(seconds=float(text))
    parts = _WITH_UNITS.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum((float(number) * _UNITS[unit] for number, unit in parts), timedelta())
    iso = _ISO.fullmatch(text)
    if iso and any(iso.groups()):
        return sum(
            (float(number) * _UNITS[unit] for unit, number in iso.groupdict("0").items()),
            timedelta(),
        )
    raise ValueError("is not a duration; write 10s, 250ms, 2m, 1h or PT10S")
