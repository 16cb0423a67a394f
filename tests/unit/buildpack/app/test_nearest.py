"""The word that somebody meant: the nearest one, or none if no word is near."""

from __future__ import annotations

import pytest

from buildpack.app.nearest import find_nearest

COMMANDS = ("build", "run", "local", "ci", "init", "check", "push", "lock", "verify", "inspect", "cache", "export")
OPTIONS = ("--tag", "--stack", "--platform", "--quiet", "--env-file", "--no-cache", "--engine")


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("biuld", COMMANDS, "build"),
        ("BUILD", COMMANDS, "build"),
        ("rn", COMMANDS, "run"),
        ("loc", COMMANDS, "local"),
        ("insepct", COMMANDS, "inspect"),
        ("--stak", OPTIONS, "--stack"),
        ("--platf", OPTIONS, "--platform"),
        ("--env", OPTIONS, "--env-file"),
        ("wbe", ("web", "worker"), "web"),
        ("wrker", ("web", "worker"), "worker"),
    ],
)
def test_a_slip_of_the_keyboard_or_a_beginning_is_understood(word, known, meant):
    assert find_nearest(word, known) == meant


@pytest.mark.parametrize(
    ("word", "known"),
    [
        ("scale", COMMANDS),
        ("--file", OPTIONS),
        ("status", COMMANDS),
        ("--detach", OPTIONS),
        ("x", COMMANDS),
        ("", COMMANDS),
        ("--", OPTIONS),
        ("b" * 100_000, COMMANDS),
        ("worker", ("web",)),
        ("ab", ("c", "d")),
        ("build", ()),
    ],
)
def test_a_distant_word_suggests_nothing(word, known):
    assert find_nearest(word, known) is None
