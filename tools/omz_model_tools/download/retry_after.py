"""How long a server asks to be left alone, in seconds; by its own clock where it tells the time."""

from datetime import datetime
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 120  # seconds; who asks for more is not waited for
A_YEAR = 365 * 86400.0  # seconds; who asks for more is understood to mean that


def retry_after(value: str, date: str | None, now: datetime) -> float:
    """The seconds that a Retry-After header asks for, 0 if it cannot be read; `date` is the header Date."""
    if value.strip().isdecimal():
        return min(float(value), A_YEAR)
    until = _moment(value)
    since = _moment(date or "") or now
    return min(max((until - since).total_seconds(), 0.0), A_YEAR) if until else 0.0


def _moment(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else None
