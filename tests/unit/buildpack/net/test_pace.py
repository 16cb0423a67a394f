"""The time that an exchange may take, replayed with a clock set by hand, and when a server is asked again."""

from __future__ import annotations

import socket
from collections.abc import Iterable

import pytest

from buildpack.net.pace import Pace, allowance, is_busy, pause, retry_after
from buildpack.net.sockets import paced, set_pace


class SlowError(Exception):
    """The error of the paces in these tests."""


class Clock:
    """A clock that is set by hand; each reading of it moves it by `step` seconds."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 1000.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def replay(pace: Pace, clock: Clock, pieces: Iterable[tuple[float, int]]) -> None:
    """Receive these pieces: each a wait in seconds and a number of bytes."""
    for seconds, size in pieces:
        clock.now += seconds
        pace.took(size, received=True)


def test_a_byte_now_and_then_counts_as_silence() -> None:
    clock = Clock()
    pace = Pace(SlowError, clock=clock)
    with pytest.raises(SlowError) as error:
        replay(pace, clock, [(0.3, 1)] * 1000)

    assert str(error.value) == "less than 1024 bytes a second went over the connection for 60 seconds"
    assert 1060 < clock.now < 1061


def test_a_slow_connection_and_a_pause_are_tolerated() -> None:
    clock = Clock()
    pace = Pace(SlowError, clock=clock)
    pace.answered(16 << 20)
    replay(pace, clock, [(1, 2048)] * 600)
    replay(pace, clock, [(59, 1), (1, 64 << 10), (59, 1)])


def test_earlier_bytes_earn_at_most_a_minute() -> None:
    clock = Clock()
    pace = Pace(SlowError, clock=clock)
    pace.answered(1 << 30)
    replay(pace, clock, [(1, 100 << 20)])
    with pytest.raises(SlowError):
        replay(pace, clock, [(1, 1)] * 62)


@pytest.mark.parametrize(("size", "seconds"), [(0, 600), (16 << 20, 1624), (1 << 50, 21600), (None, 3600)])
def test_even_a_steady_transfer_has_a_time_limit(size: int | None, seconds: float) -> None:
    assert allowance(size) == seconds
    clock = Clock()
    pace = Pace(SlowError, clock=clock)
    pace.answered(size)
    with pytest.raises(SlowError, match=f"the transfer was not done after {seconds / 60:.0f} minutes"):
        replay(pace, clock, [(10, 20 << 10)] * 2200)
    assert clock.now - 1000 <= seconds + 10


def test_sending_has_a_time_limit_too() -> None:
    clock = Clock()
    pace = Pace(SlowError, size=16 << 20, clock=clock)

    def send() -> None:
        for _ in range(200):
            clock.now += 10
            pace.took(20 << 10, received=False)

    with pytest.raises(SlowError, match="the transfer was not done after 27 minutes"):
        send()


def test_interim_answers_have_a_size_limit() -> None:
    pace = Pace(SlowError, clock=Clock())
    with pytest.raises(SlowError, match="it sent 1 MB before its answer began"):
        replay(pace, Clock(), [(0, 4096)] * 257)


def test_an_engine_may_be_silent_for_long() -> None:
    clock = Clock()
    pace = Pace(SlowError, patience=900, steady=False, clock=clock)
    pace.answered(None)
    replay(pace, clock, [(800, 1)] * 27)
    with pytest.raises(SlowError, match="the transfer was not done after 373 minutes"):
        replay(pace, clock, [(800, 1)])


def test_a_socket_asks_its_pace() -> None:
    ours, theirs = socket.socketpair()
    ours = paced(ours)
    with ours, theirs, ours.makefile("rb") as file:
        set_pace(ours, Pace(SlowError, clock=Clock(step=0.3)))
        theirs.sendall(b"x" * 1000)
        # The bytes are in the kernel already; by the clock of this pace each takes 0.3 seconds.
        with pytest.raises(SlowError):
            list(iter(lambda: ours.recv(1), b""))
        set_pace(ours, Pace(SlowError, clock=Clock(step=61)))
        with pytest.raises(SlowError):
            file.read1(1)
        set_pace(ours, Pace(SlowError, clock=Clock(step=61)))
        with pytest.raises(SlowError):
            ours.sendall(b"x")


def test_our_own_time_does_not_count() -> None:
    clock = Clock()
    pace = Pace(SlowError, size=1 << 20, clock=clock)
    for _ in range(20):
        clock.now += 3600  # a layer is built, or the machine sleeps
        pace.left()
        clock.now += 1
        pace.took(1024, received=False)


def test_a_socket_waits_no_longer_than_its_pace() -> None:
    ours, theirs = socket.socketpair()
    ours = paced(ours)
    with ours, theirs:
        set_pace(ours, Pace(SlowError, patience=0.01))
        with pytest.raises(TimeoutError):
            ours.recv(1)


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
def test_retry_after_is_read(value: str, now: float, seconds: float | None) -> None:
    assert retry_after({"Retry-After": value}, lambda: now) == seconds
    assert retry_after({}, lambda: now) is None


def test_each_pause_is_twice_as_long_up_to_a_minute() -> None:
    assert [pause(attempt) for attempt in (1, 2, 3, 4, 9, 100)] == [0.5, 1.0, 2.0, 4.0, 60.0, 60.0]


def test_busy_statuses() -> None:
    assert [each for each in range(300, 506) if is_busy(each)] == [408, 425, 429, 500, 502, 503, 504]
