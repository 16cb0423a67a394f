"""Signals that are held back: they wait for what must not be left half done, and none of them is lost."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from deployer.engines.docker.owner import holding_back


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """USR2 was heard here."""
    came: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: came.append(number))
    yield came
    signal.signal(signal.SIGUSR2, before)


def test_a_signal_waits_for_the_end_of_the_block(heard):
    with holding_back():
        signal.raise_signal(signal.SIGUSR2)
        assert heard == []
    assert heard == [signal.SIGUSR2]
    signal.raise_signal(signal.SIGUSR2)
    assert heard == [signal.SIGUSR2] * 2


def raise_within(number: int, failure: Exception | None = None) -> None:
    with holding_back():
        signal.raise_signal(number)
        if failure is not None:
            raise failure


def test_a_signal_comes_where_the_block_fails_too(heard):
    with pytest.raises(LookupError):
        raise_within(signal.SIGUSR2, LookupError())
    assert heard == [signal.SIGUSR2]


def test_an_interrupt_is_one_after_the_block():
    with pytest.raises(KeyboardInterrupt) as raised:
        raise_within(signal.SIGINT, LookupError())
    assert isinstance(raised.value.__context__, LookupError)  # so the block came to its end before


def test_what_is_ignored_stays_ignored(heard):
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    with holding_back():
        assert signal.getsignal(signal.SIGUSR2) is signal.SIG_IGN
        signal.raise_signal(signal.SIGUSR2)
    assert heard == []
