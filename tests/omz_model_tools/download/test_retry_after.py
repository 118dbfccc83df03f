"""retry_after: seconds, or a date by the server's own clock; what cannot be read asks for nothing."""

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omz_model_tools.download.retry_after import A_YEAR, retry_after

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)
NOON, LATER = "Sat, 21 Nov 2026 12:00:00 GMT", "Sat, 21 Nov 2026 12:00:20 GMT"
A_DAY_AHEAD = "Sun, 22 Nov 2026 12:00:05 GMT"


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("0", None, 0),
        (" 17 ", NOON, 17),
        (LATER, None, 20),
        (LATER, "Sat, 21 Nov 2026 12:00:15 GMT", 5),
        ("Sun, 22 Nov 2026 12:00:12 GMT", A_DAY_AHEAD, 7),
        (LATER, "yesterday", 20),
        (NOON, LATER, 0),
        ("", None, 0),
        ("soon", None, 0),
        ("-5", None, 0),
        ("1.5", None, 0),
        ("Sat, 21 Nov 2026 12:00:20 -0000", None, 0),
        ("9" * 400, None, A_YEAR),
        ("Wed, 21 Oct 9999 07:28:00 GMT", None, A_YEAR),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None, 0),
        ("Sat, 21 Nov 2026 12:00:20 +99999999999999999", None, 0),
    ],
)
def test_values(value: str, date: str | None, seconds: float) -> None:
    assert retry_after(value, date, NOW) == seconds


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ [+-]?\w+"), st.text())
def test_anything_is_a_number_of_seconds(value: str, date: str) -> None:
    assert retry_after(value, date, NOW) >= 0
