"""The time that an exchange may take, replayed with a clock that nobody waits for."""

from __future__ import annotations

import socket
from collections.abc import Iterable

import pytest

from buildpack.net.pace import Pace, allowance
from buildpack.net.sockets import paced, set_pace


class SlowError(Exception):
    """What the paces of these tests raise."""


class Clock:
    """A clock that is set by hand; with `step` each look at it takes so many seconds."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 1000.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def replay(pace: Pace, clock: Clock, pieces: Iterable[tuple[float, int]]) -> None:
    """Let so many bytes come, each time after so many seconds."""
    for seconds, size in pieces:
        clock.now += seconds
        pace.took(size, received=True)


def test_a_byte_now_and_then_is_as_good_as_none() -> None:
    clock = Clock()
    pace = Pace(SlowError, clock=clock)
    with pytest.raises(SlowError) as error:
        replay(pace, clock, [(0.3, 1)] * 1000)

    assert str(error.value) == "less than 1024 bytes a second went over the connection for 60 seconds"
    assert 1060 < clock.now < 1061


def test_a_slow_connection_and_a_pause_are_waited_for() -> None:
    clock = Clock()
    pace = Pace(SlowError, clock=clock)
    pace.answered(16 << 20)
    replay(pace, clock, [(1, 2048)] * 600)
    replay(pace, clock, [(59, 1), (1, 64 << 10), (59, 1)])


def test_bytes_of_long_ago_earn_no_more_than_a_minute() -> None:
    clock = Clock()
    pace = Pace(SlowError, clock=clock)
    pace.answered(1 << 30)
    replay(pace, clock, [(1, 100 << 20)])
    with pytest.raises(SlowError):
        replay(pace, clock, [(1, 1)] * 62)


@pytest.mark.parametrize(("size", "seconds"), [(0, 600), (16 << 20, 1624), (1 << 50, 21600), (None, 3600)])
def test_a_transfer_has_an_end_however_steady_it_is(size: int | None, seconds: float) -> None:
    assert allowance(size) == seconds
    clock = Clock()
    pace = Pace(SlowError, clock=clock)
    pace.answered(size)
    with pytest.raises(SlowError, match=f"the transfer was not done after {seconds / 60:.0f} minutes"):
        replay(pace, clock, [(10, 20 << 10)] * 2200)
    assert clock.now - 1000 <= seconds + 10


def test_what_is_sent_has_an_end_too() -> None:
    clock = Clock()
    pace = Pace(SlowError, size=16 << 20, clock=clock)

    def send() -> None:
        for _ in range(200):
            clock.now += 10
            pace.took(20 << 10, received=False)

    with pytest.raises(SlowError, match="the transfer was not done after 27 minutes"):
        send()


def test_answers_before_the_answer_have_an_end() -> None:
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
