"""Keep the end of a process's log, and choose its lines to show: the app's exception, not the server's last words."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence

KEPT = 400
"""Lines worth keeping of a process that has not answered yet: gunicorn writes 150 about one mistake of the app."""

_KEPT_BYTES = 1 << 17
"""Bytes of the end of a log that a tail keeps at least."""

_SHOWN = 20
_SHOWN_AFTER = 5
"""Of these lines, for what the process wrote after the exception: it may have handled that, and ended otherwise."""
_BEGIN = "[ERROR] Exception in worker process"
_END = "[INFO] Worker exiting"
_TRACEBACK = "Traceback (most recent call last):"
_CHAINS = ("During handling of the above exception", "The above exception was the direct cause")
_FRAME = re.compile(r'[\s|]+File "(?P<path>[^"]*)", line \d+')
_GROUP = re.compile(r"\s+[|+]")
"""Lines of an exception group (PEP 654) are drawn as a tree."""
_LOGGED = re.compile(r"\[?\d{4}-\d\d-\d\d|(?:TRACE|DEBUG|INFO|WARNING|ERROR|CRITICAL)\b")
_BY_SERVER = re.compile(
    r"\[[^\]]*\] \[\d+\] \[(?:DEBUG|INFO)\] |(?:TRACE|DEBUG|INFO): |ERROR: +Application startup failed|"
    r"\[[^\]]*\] \[\d+\] \[[A-Z]+\] (?:Worker \(pid:\s*\d+\) exited|Shutting down|Reason: Worker failed|Exception in)"
)
_OF_OTHERS = re.compile(r"site-packages/|/lib/python3|^<")
_LIBRARY = re.compile(r"(?P<prefix>.*)/lib/python3")


class Tail:
    """The last lines of a process's log, for the error that ends it; bounded in lines and in bytes.

    Adding costs next to nothing, since a process may write a million lines: lines are split when they are read.
    """

    def __init__(self, lines: int = KEPT, width: int = 2000) -> None:
        self._recent: deque[bytes] = deque()
        self._size = 0
        self._lines, self._width = lines, width

    def add(self, chunk: bytes) -> None:
        """Take what the process wrote."""
        self._recent.append(chunk[-_KEPT_BYTES:])
        self._size += len(self._recent[-1])
        while self._size - len(self._recent[0]) >= _KEPT_BYTES:
            self._size -= len(self._recent.popleft())

    def lines(self) -> list[str]:
        """Return the lines as text, the unfinished one too."""
        *ended, rest = b"".join(self._recent).split(b"\n")
        found = [line[: self._width] for line in [*ended[-self._lines :], *([rest] if rest else [])]]
        return [line.decode("utf-8", "backslashreplace").rstrip("\r") for line in found]


def relevant_lines(lines: Sequence[str]) -> list[str]:
    """Return the last exception that passed through the app's own code, else a gunicorn worker's, else the last lines.

    Each of a server's workers logs the same exception, and the server then logs one of its own. The lines that the
    process itself wrote after the exception follow.
    """
    tracebacks = list(_tracebacks(lines))
    of_app = [(begin, end) for begin, end in tracebacks if _is_of_app(lines[begin:end])]
    if not of_app:
        return _shorten(_worker_lines(lines) or lines[-_SHOWN:], _SHOWN)
    begin, end = of_app[-1]
    of_server = {at for first, last in tracebacks if first >= end for at in range(first, last)}
    after = [
        line
        for at, line in enumerate(lines[end:], end)
        if line.strip() and at not in of_server and not _BY_SERVER.match(line)
    ][-_SHOWN_AFTER:]
    return [*_shorten(lines[begin:end], _SHOWN - len(after)), *after]


def _shorten(lines: Sequence[str], most: int) -> list[str]:
    return [*lines] if len(lines) <= most else [lines[0], *lines[1 - most :]]


def _worker_lines(lines: Sequence[str]) -> Sequence[str]:
    begins = [at for at, line in enumerate(lines) if line.endswith(_BEGIN)]
    told = lines[begins[-1] :] if begins else ()
    return told[: next((at for at, line in enumerate(told) if _END in line), len(told))]


def _tracebacks(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the begin and end of each traceback with those that led to it, and gunicorn's line before it."""
    at = 0
    while at < len(lines):
        if not lines[at].endswith(_TRACEBACK):
            at += 1
            continue
        begin = at - 1 if at and lines[at - 1].endswith(_BEGIN) else at
        at = _end(lines, at)
        while (chained := _chained(lines, at)) is not None:
            at = _end(lines, chained)
        yield begin, at


def _end(lines: Sequence[str], at: int) -> int:
    """Return the place after the exception's message, which may have several lines.

    The message begins at the first line that is not indented, and ends before an empty line or one that was logged.
    """
    if _GROUP.match(lines[at]):
        return next((n for n in range(at + 1, len(lines)) if not _GROUP.match(lines[n])), len(lines))
    named = next((n for n in range(at + 1, len(lines)) if not lines[n].startswith((" ", "\t"))), len(lines))
    return next((n for n in range(named + 1, len(lines)) if _ends_message(lines[n])), len(lines))


def _ends_message(line: str) -> bool:
    return not line.strip() or line.endswith(_TRACEBACK) or line.startswith(_CHAINS) or bool(_LOGGED.match(line))


def _chained(lines: Sequence[str], at: int) -> int | None:
    """Return where the traceback begins that the last one led to; None if there is none."""
    words = [n for n in range(at, min(at + 5, len(lines))) if lines[n].strip()]
    chained = len(words) > 1 and lines[words[0]].startswith(_CHAINS) and lines[words[1]].endswith(_TRACEBACK)
    return words[1] if chained else None


def _is_of_app(traceback: Sequence[str]) -> bool:
    paths = [frame["path"] for line in traceback if (frame := _FRAME.match(line))]
    # Of an environment whose library is in a traceback, the script that started the server is not the app's either.
    scripts = tuple({f"{found['prefix']}/bin/" for path in paths if (found := _LIBRARY.match(path))})
    return any(not _OF_OTHERS.search(path) and not path.startswith(scripts) for path in paths)
