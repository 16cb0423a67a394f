"""Logs of pipelines: groups and annotations, and nothing of what the app prints is obeyed."""

from __future__ import annotations

import io
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.ci.console import Console, GitHubConsole, GitLabConsole, Place, choose_console, find_place

COMMANDS = ("::", "##[")


def github(stream: io.StringIO) -> GitHubConsole:
    numbers = count(1)
    return GitHubConsole(stream, locate=lambda file: f"apps/shop/{file}", token=lambda: f"T{next(numbers)}")


class Runner:
    """GitHub's runner, as far as it obeys a log: ActionCommandManager.TryProcessCommand and TryParseV2, in C#."""

    def __init__(self) -> None:
        self.obeyed: list[str] = []
        self.shown: list[str] = []
        self._token = ""

    def read(self, log: str) -> None:
        # .NET's StreamReader ends a line at any of the three.
        for line in log.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
            self._read_line(line)

    def _read_line(self, line: str) -> None:
        text = line.lstrip()
        if self._token:
            if text == f"::{self._token}::":
                self._token = ""
            else:
                self.shown.append(line)
        elif text.startswith("::stop-commands::"):
            self._token = text.removeprefix("::stop-commands::")
        elif text.startswith("::") and "::" in text[2:]:
            self.obeyed.append(text)
        elif "##[" in line and "]" in line:
            self.obeyed.append(line)
        else:
            self.shown.append(line)


def test_github_s_log_in_full():
    stream = io.StringIO()
    console = github(stream)
    with console.group("test", "test: pytest"):
        console.write(b"::set-output name=digest::evil\n")
        console.write(b"::add-mask::no end of line")
    console.say("error: the app's tests failed")
    console.annotate("error", "100% of a,b: failed\nsee above", Place(file="Procfile", line=3))
    console.annotate("warning", "no place", None)
    console.close()
    assert stream.getvalue() == (
        "::stop-commands::T1\n"
        "::T1::\n"
        "::group::test: pytest\n"
        "::stop-commands::T2\n"
        "::set-output name=digest::evil\n"
        "::add-mask::no end of line\n"
        "::T2::\n"
        "::endgroup::\n"
        "::stop-commands::T3\n"
        "error: the app's tests failed\n"
        "::T3::\n"
        "::error file=apps/shop/Procfile,line=3,title=deploy::100%25 of a,b: failed%0Asee above\n"
        "::stop-commands::T4\n"
        "::T4::\n"
        "::warning title=deploy::no place\n"
        "::stop-commands::T5\n"
        "::T5::\n"
    )


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [
                    b"::set-env name=PATH::/evil",
                    b"##[add-mask]x",
                    b"\n",
                    b"\r",
                    b"::T2::",
                    b"::stop-commands::x\n",
                    b"::",
                ]
            ),
        ),
        max_size=12,
    ),
    st.text(max_size=40),
)
def test_github_obeys_nothing_that_the_app_says(chunks, title):
    stream = io.StringIO()
    console = GitHubConsole(stream)
    with console.group("test", title):
        for chunk in chunks:
            console.write(chunk)
    console.say("".join(chunk.decode("latin-1") for chunk in chunks))
    console.annotate("error", title, Place(file=title or "x", line=1))
    console.close()
    runner = Runner()
    runner.read(stream.getvalue())
    assert [line.partition("::")[2].partition(" ")[0].partition("::")[0] for line in runner.obeyed] == [
        "group",
        "endgroup",
        "error",
    ]


def test_a_token_is_new_each_time_and_cannot_be_guessed():
    stream = io.StringIO()
    console = GitHubConsole(stream)
    for _ in range(5):
        console.annotate("warning", "x", None)
    console.close()
    tokens = [line.removeprefix("::stop-commands::") for line in stream.getvalue().splitlines() if "stop-" in line]
    assert len(set(tokens)) == 6
    assert min(map(len, tokens)) == 32


def test_gitlab_s_groups_fold():
    stream = io.StringIO()
    console = GitLabConsole(stream, clock=lambda: 1700000000.4)
    with console.group("build", "build"):
        console.write(b"half a line")
    console.close()
    assert stream.getvalue() == (
        "\x1b[0Ksection_start:1700000000:deploy_build\r\x1b[0Kbuild\n"
        "half a line\n"
        "\x1b[0Ksection_end:1700000000:deploy_build\r\x1b[0K\n"
    )


def test_elsewhere_a_group_is_a_heading():
    stream = io.StringIO()
    console = Console(stream)
    with console.group("build", "build"):
        console.write(b"half a line")
        console.say("a line of ours")
    console.annotate("error", "only in services", None)
    console.close()
    assert stream.getvalue() == "--- build\nhalf a line\na line of ours\n"


@pytest.mark.parametrize(
    ("environ", "kind"),
    [
        ({}, Console),
        ({"CI": "true"}, Console),
        ({"GITHUB_ACTIONS": "true"}, GitHubConsole),
        ({"GITLAB_CI": "true"}, GitLabConsole),
    ],
)
def test_the_service_is_known_by_its_variables(environ, kind):
    assert type(choose_console(environ, io.StringIO(), locate=str)) is kind


def test_the_output_is_a_stream_for_processes():
    stream = io.StringIO()
    console = Console(stream)
    assert console.output.write(b"web\n") == 4
    assert console.output.write(memoryview(b"\xff\n")) == 2
    assert not console.output.isatty()
    assert stream.getvalue() == "web\n\\xff\n"


def test_a_character_may_come_in_pieces():
    stream = io.StringIO()
    console = Console(stream)
    for byte in "é✓😀\n".encode():
        console.write(bytes([byte]))
    console.write("the end is cut ✓".encode()[:-1])
    console.say("ours")
    console.write("✓".encode()[-1:] + b"\n")
    console.close()
    assert stream.getvalue() == "é✓😀\nthe end is cut \\xe2\\x9c\nours\n\\x93\n"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("Pipfile asks for redis >=6; Pipfile.lock pins redis 5.0.1 (Pipfile:9).", Place(file="Pipfile", line=9)),
        ("Procfile:3: `web` runs gunicorn", Place(file="Procfile", line=3)),
        ("there is no Pipfile, so nothing tells", Place(file="Pipfile")),
        ("blasto/app.py:12 binds nothing", Place(file="blasto/app.py", line=12)),
        (".python-version is empty", Place(file=".python-version")),
        ("http://user:1@host/Pipfile:9", None),
        ("the registry 127.0.0.1:5000 fails", None),
        ("", None),
    ],
)
def test_a_message_tells_its_place(text, place):
    assert find_place(text) == place
