"""Write a pipeline's log: groups, and errors and warnings at their lines, as GitHub and GitLab understand them.

GitHub's runner obeys lines of a log that begin with ``::`` (or contain ``##[``), also those that the app prints. So the
output of other programs is between ``::stop-commands::TOKEN`` and ``::TOKEN::``, where the runner obeys nothing. The
token is new each time, and the programs never see it. See "Workflow commands for GitHub Actions", "Stopping and
starting workflow commands".
"""

from __future__ import annotations

import codecs
import io
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import BinaryIO, Literal, TextIO, cast

from buildpack.dataclass import dataclass
from deployer.text import harmless

Level = Literal["error", "warning"]

_PLACE = re.compile(
    r"(?<![\w./@:-])((?:[\w.-]+/)*(?:Pipfile(?:\.lock)?|Procfile|\.[a-z-]+|[\w-]+\.(?:toml|json|py|txt|cfg)))"
    r"(?::([0-9]{1,7}))?(?![\w/])"
)
_CONTROL = {ord("%"): "%25", ord("\r"): "%0D", ord("\n"): "%0A"}
_PROPERTY = {**_CONTROL, ord(":"): "%3A", ord(","): "%2C"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A file, relative to the app's folder, and a line of it, 0 if none is known."""

    file: str
    line: int = 0


def find_place(text: str) -> Place | None:
    """Return the first place that a message names with its line, else the first file that it names."""
    found = list(_PLACE.finditer(text))
    best = next((each for each in found if each[2]), found[0] if found else None)
    return Place(file=best[1], line=int(best[2] or 0)) if best else None


class Console:
    """A plain log: a heading for each group."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun = False
        # A chunk may end within a character.
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self.output = cast("BinaryIO", _Output(self))

    @contextmanager
    def group(self, name: str, title: str) -> Iterator[None]:
        """Group the lines that are written in this block under a title; `name` identifies the group to machines."""
        self._open(name, harmless(title))
        try:
            yield
        finally:
            self._end_line()
            self._close(name)

    def say(self, text: str) -> None:
        """Write our own lines, which may quote others."""
        self._end_line()
        self._stream.write(f"{text}\n")
        self._stream.flush()

    def annotate(self, level: Level, text: str, place: Place | None) -> None:
        """Mark an error or a warning that the service shows beside the code; `say` writes it for readers of the log."""

    def close(self) -> None:
        """Leave the log in the state in which it was found."""
        self._end_line()

    def write(self, chunk: bytes) -> None:
        """Pass on the output of an app's process."""
        if chunk:
            self._stream.flush()
            self._stream.write(self._decoder.decode(chunk))
            self._stream.flush()
            self._begun = not chunk.endswith(b"\n")

    def _open(self, _name: str, title: str) -> None:
        self.say(f"--- {title}")

    def _close(self, _name: str) -> None:
        """Do nothing: a heading has no end."""

    def _end_line(self) -> None:
        """Begin a new line, unless the last one is empty: a service recognises commands by how lines begin."""
        if self._begun:
            self._begun = False
            self._stream.write(f"{self._decoder.decode(b'', final=True)}\n")
            self._stream.flush()


class GitHubConsole(Console):
    """The log of GitHub's runner, which obeys only the commands of this class.

    `root` is the folder that its places are relative to, `token` returns a random word.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        locate: Callable[[str], str] = lambda file: file,
        token: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        super().__init__(stream)
        self._locate = locate
        self._token = token
        self._stopped = ""
        self._stop()

    def annotate(self, level: Level, text: str, place: Place | None) -> None:
        """Write an annotation."""
        properties = {"title": "deploy"}
        if place is not None:
            properties = {"file": self._locate(place.file), **({"line": str(place.line)} if place.line else {})}
            properties["title"] = "deploy"
        written = ",".join(f"{name}={value.translate(_PROPERTY)}" for name, value in properties.items())
        self._command(f"{level} {written}", text)

    def close(self) -> None:
        """Let the runner obey again."""
        super().close()
        self._resume()

    def _open(self, _name: str, title: str) -> None:
        self._command("group", title)

    def _close(self, _name: str) -> None:
        self._command("endgroup", "")

    def _command(self, command: str, text: str) -> None:
        self._resume()
        self._stream.write(f"::{command}::{text.translate(_CONTROL)}\n")
        self._stop()

    def _stop(self) -> None:
        self._stopped = self._token()
        self._stream.write(f"::stop-commands::{self._stopped}\n")
        self._stream.flush()

    def _resume(self) -> None:
        self._end_line()
        if self._stopped:
            self._stream.write(f"::{self._stopped}::\n")
            self._stream.flush()
            self._stopped = ""


class GitLabConsole(Console):
    """The log of GitLab's runner, in which groups fold: see "Custom collapsible sections"."""

    def __init__(self, stream: TextIO, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(stream)
        self._clock = clock

    def _open(self, name: str, title: str) -> None:
        self._end_line()
        self._stream.write(f"\x1b[0Ksection_start:{self._clock():.0f}:deploy_{name}\r\x1b[0K{title}\n")
        self._stream.flush()

    def _close(self, name: str) -> None:
        self._stream.write(f"\x1b[0Ksection_end:{self._clock():.0f}:deploy_{name}\r\x1b[0K\n")
        self._stream.flush()


def choose_console(environ: Mapping[str, str], stream: TextIO, *, locate: Callable[[str], str]) -> Console:
    """Choose by the variables that the services set; `locate` gives a file's path from the repository's root."""
    if environ.get("GITHUB_ACTIONS") == "true":
        return GitHubConsole(stream, locate=locate)
    if environ.get("GITLAB_CI") == "true":
        return GitLabConsole(stream)
    return Console(stream)


class _Output(io.RawIOBase):
    """A console as the stream that processes write to."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def writable(self) -> bool:
        return True

    def write(self, chunk: object) -> int:
        content = bytes(memoryview(chunk))  # type: ignore[arg-type]
        self._console.write(content)
        return len(content)
