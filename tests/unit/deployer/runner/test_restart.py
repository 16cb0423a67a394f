"""Restart policies as histories of exits."""

from __future__ import annotations

import pytest

from deployer.runner.restart import History, decide


def replay(policy, exits, jitter=0.0):
    """Return the delays that follow exits of (code, uptime), None if the process stays down."""
    history, delays = History(), []
    for code, uptime in exits:
        verdict = decide(policy, history, code, uptime, lambda: jitter)
        history = verdict.history
        delays.append(verdict.delay)
    return delays


@pytest.mark.parametrize(
    ("policy", "code", "delay"),
    [
        ("no", 0, None),
        ("no", 1, None),
        ("on-failure", 0, None),
        ("on-failure", 1, 1.0),
        ("on-failure", 137, 1.0),
        ("always", 0, 1.0),
        ("always", 1, 1.0),
        ("always", 3, None),
        ("always", 4, None),
        ("on-failure", 3, None),
    ],
)
def test_policies(policy, code, delay):
    assert replay(policy, [(code, 0)]) == [delay]


def test_delays_double_up_to_half_a_minute():
    assert replay("always", [(0, 1)] * 8) == [1, 2, 4, 8, 16, 30, 30, 30]


def test_five_quick_failures_give_up():
    assert replay("on-failure", [(1, 59)] * 5) == [1, 2, 4, 8, None]


def test_a_minute_up_forgets():
    exits = [(1, 0), (1, 0), (1, 60), (1, 0), (1, 0), (1, 0), (1, 0)]
    assert replay("on-failure", exits) == [1, 2, 1, 2, 4, 8, None]


def test_a_clean_exit_is_not_a_failure():
    assert replay("always", [(1, 0), (0, 0)] * 4 + [(1, 0)])[-1] is None
    assert replay("always", [(0, 0)] * 50)[-1] == 30


def test_jitter_adds_up_to_a_tenth():
    assert replay("always", [(0, 0)] * 2, jitter=0.5) == [1.05, 2.1]


def test_reasons():
    assert decide("always", History(), 3, 1, float).reason == "exit code 3 says the app does not load"
    assert decide("always", History(exits=4, failures=4), 1, 1, float).reason == "it failed 5 times in a row"
    assert decide("no", History(), 3, 1, float).reason == ""
