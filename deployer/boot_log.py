"""Choose the lines of a failed process's log to show: the app's exception once, not the server's last words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

__all__ = ["KEPT", "relevant_lines"]

KEPT = 400
"""Lines worth keeping of a process that has not answered yet: gunicorn writes 150 about one mistake of the app."""

_SHOWN = 20
_BEGIN = "[ERROR] Exception in worker process"
_END = "[INFO] Worker exiting"
_TRACEBACK = "Traceback (most recent call last):"
_CHAINS = ("During handling of the above exception", "The above exception was the direct cause")
_FRAME = re.compile(r'\s+File "(?P<path>[^"]*)", line \d+')
_OF_OTHERS = re.compile(r"site-packages/|/lib/python3|^<")
_LIBRARY = re.compile(r"(?P<prefix>.*)/lib/python3")


def relevant_lines(lines: Sequence[str], most: int = _SHOWN) -> list[str]:
    """Return the last exception that passed through the app's own code, else a gunicorn worker's, else the last lines.

    Each of a server's workers logs the same exception, and the server then logs one of its own.
    """
    of_app = [each for each in _tracebacks(lines) if _is_of_app(each)]
    told = of_app[-1] if of_app else _worker_lines(lines) or lines[-most:]
    return [*told] if len(told) <= most else [told[0], *told[1 - most :]]


def _worker_lines(lines: Sequence[str]) -> Sequence[str]:
    begins = [at for at, line in enumerate(lines) if line.endswith(_BEGIN)]
    told = lines[begins[-1] :] if begins else ()
    return told[: next((at for at, line in enumerate(told) if _END in line), len(told))]


def _tracebacks(lines: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield each traceback with those that led to it, and gunicorn's line before it."""
    at = 0
    while at < len(lines):
        if not lines[at].endswith(_TRACEBACK):
            at += 1
            continue
        begin = at - 1 if at and lines[at - 1].endswith(_BEGIN) else at
        at = _end(lines, at)
        while (chained := _chained(lines, at)) is not None:
            at = _end(lines, chained)
        yield lines[begin:at]


def _end(lines: Sequence[str], at: int) -> int:
    """Return the place after the line that names the exception: the first one that is not indented."""
    last = next((n for n in range(at + 1, len(lines)) if not lines[n].startswith((" ", "\t"))), len(lines))
    return min(last + 1, len(lines))


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
