"""When a server is asked again."""

from __future__ import annotations

import pytest

from buildpack.net.retry import is_busy, pause, retry_after


@pytest.mark.parametrize(
    ("value", "now", "seconds"),
    [
        (" 7 ", 0.0, 7.0),
        ("9" * 5000, 0.0, 1e9),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 20.0, 40.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 1.7e9, 0.0),
        ("soon", 0.0, None),
        ("", 0.0, None),
    ],
)
def test_a_wait_that_a_server_asks_for(value: str, now: float, seconds: float | None) -> None:
    assert retry_after({"Retry-After": value}, lambda: now) == seconds
    assert retry_after({}, lambda: now) is None


def test_each_pause_is_twice_as_long_up_to_a_minute() -> None:
    assert [pause(attempt) for attempt in (1, 2, 3, 4, 9, 100)] == [0.5, 1.0, 2.0, 4.0, 60.0, 60.0]


def test_busy_statuses() -> None:
    assert [each for each in range(300, 506) if is_busy(each)] == [408, 425, 429, 500, 502, 503, 504]
