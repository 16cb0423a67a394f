"""Every line of a program's output is shown unchanged, except with --quiet."""

from __future__ import annotations

import io

import pytest

from buildpack.progress import Progress
from deployer.cli.progress import Reporter

EVENTS = (
    Progress(stage="layers", done=1, total=2),
    Progress(stage="hooks", done=0, item="bin/post_compile"),
    Progress(stage="hooks", done=0, item="bin/post_compile", line="[bold]one[/bold] :smile:"),
    Progress(stage="hooks", done=0, item="bin/post_compile", line=""),
    Progress(stage="hooks", done=0, item="bin/post_compile", line="\x1b[2Jtwo\x07 " + "x" * 100),
)
SHOWN = [
    "Running bin/post_compile ...",
    "  | [bold]one[/bold] :smile:",
    "  | ",
    "  | \\x1b[2Jtwo\\x07 " + "x" * 100,
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown_by(stream: io.StringIO, *, seconds: float, quiet: bool = False) -> str:
    times = iter([0.0, *[seconds] * len(EVENTS)])
    with Reporter(quiet=quiet, stream=stream, clock=lambda: next(times)) as reporter:
        for event in EVENTS:
            reporter(event)
    return stream.getvalue()


def test_in_a_pipeline():
    assert shown_by(io.StringIO(), seconds=0.1).splitlines() == SHOWN
    assert shown_by(io.StringIO(), seconds=9).splitlines() == ["Building layers ...", *SHOWN]


@pytest.mark.parametrize("seconds", [0.1, 9])
def test_on_a_terminal_above_the_bars(seconds, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    shown = shown_by(Terminal(), seconds=seconds)
    for line in SHOWN:
        assert f"{line}\n" in shown
    assert ("Building layers" in shown) is (seconds > 1)


def test_quiet():
    assert shown_by(Terminal(), seconds=9, quiet=True) == ""
