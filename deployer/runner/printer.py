"""Render log lines: `12:00:00 web.1  | Listening`, or one JSON object per line.

`outlet` writes the bytes. This works on whole chunks, since a line at a time in
Python is what makes a runner slow: a chunk's lines get their prefix in one `bytes.replace`.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone

from honcho import printer as honcho_printer
from honcho.colour import get_colours

FORMATS = ("text", "json")

PARTIAL_AFTER = 0.1
"""Seconds of silence after which an unfinished line is shown, for example a debugger's prompt."""

PARTIAL_AT_LAST = 1.0
"""Seconds after which it is shown although others go on printing, whose lines may then interrupt it.

A busy machine may well take a writer's processor away in mid-line, and unbuffered Python writes a
line in pieces.
"""

LONGEST_LINE = 1 << 20
"""Bytes of a line that are kept waiting for its end."""


class _Page(io.StringIO):
    """Receives what Honcho prints. Honcho colours only on a terminal; here `colour` alone decides."""

    def isatty(self) -> bool:
        """Return True."""
        return True


class Printer(honcho_printer.Printer):
    r"""Merges the output of several sources in Honcho's look: Honcho renders the prefix of every line.

    Lines themselves pass as they came, while Honcho would decode them and split them at more than ``\n``. `emit` takes
    the bytes to write. `colour` is true to use any. Every line is whole unless it took its time: text shows partial
    lines after 100 ms of silence, JSON holds them until they end.
    """

    def __init__(
        self,
        emit: Callable[[bytes], object],
        *,
        names: Iterable[str] = (),
        log_format: str = "text",
        colour: bool = False,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        width = max([len("system"), *map(len, names)])
        super().__init__(output=_Page(), colour=colour, width=width)  # type: ignore[no-untyped-call]
        self.log_format = log_format
        self.narrates = True
        self._emit = emit
        self._wall_clock = wall_clock
        self._colours: Iterator[str] = get_colours()  # type: ignore[no-untyped-call]
        self._colour_of: dict[str, str | None] = {"system": None}
        self._prefixes: dict[str, tuple[int, bytes]] = {}
        self._waiting: dict[str, tuple[float, bytes]] = {}
        self._quiet_since = 0.0
        self._open = ""

    def add_source(self, name: str, colour: str | None = None) -> None:
        """Make room for a name; without a `colour` it gets the next of Honcho's."""
        self._colour_of[name] = next(self._colours) if colour is None else colour
        self.width = max(self.width, len(name))
        self._prefixes.clear()

    def system(self, text: str) -> None:
        """Print a line of the runner's own, unless `narrates` is off."""
        if self.narrates:
            self._emit(self._lines("system", text.encode() + b"\n"))

    def feed(self, name: str, data: bytes, now: float) -> None:
        """Print the output of a source; an unfinished line waits from `now` on, in monotonic seconds."""
        begun, tail = self._waiting.pop(name, (now, b""))
        end = data.rfind(b"\n") + 1
        if end:
            self._emit(self._lines(name, tail + data[:end] if tail else data[:end]))
            begun, tail = now, data[end:]
        else:
            tail += data
        self._quiet_since = now
        if tail:
            self._waiting[name] = (begun, tail)
            if len(tail) >= LONGEST_LINE:
                self._show_partial(name)

    def next_partial(self) -> float | None:
        """Return the monotonic time at which `show_partials` is due."""
        if not self._waiting or self.log_format == "json":
            return None
        return min(map(self._due, self._waiting))

    def _due(self, name: str) -> float:
        begun, _ = self._waiting[name]
        if self._open == name:
            return begun + PARTIAL_AFTER
        return min(self._quiet_since + PARTIAL_AFTER, begun + PARTIAL_AT_LAST)

    def show_partials(self, now: float) -> None:
        """Print the unfinished lines that have waited long enough."""
        if self.log_format != "json":
            for name in [name for name in self._waiting if self._due(name) <= now]:
                self._show_partial(name)

    def postpone_partials(self, now: float) -> None:
        """Restart the wait of unfinished lines: nobody read what the writers wrote meanwhile."""
        self._quiet_since = now
        self._waiting = {name: (now, tail) for name, (_, tail) in self._waiting.items()}

    def end(self, name: str) -> None:
        """Print the unfinished line of a source as a line."""
        _, tail = self._waiting.pop(name, (0.0, b""))
        if tail or self._open == name:
            self._emit(self._lines(name, tail + b"\n"))

    def _show_partial(self, name: str) -> None:
        _, tail = self._waiting.pop(name)
        if self.log_format == "json":
            self._emit(self._json(name, [tail]))
            return
        text = tail if self._open == name else self._close() + self._prefix(name) + tail
        self._open = name
        self._emit(text)

    def _lines(self, name: str, text: bytes) -> bytes:
        """Render whole lines: `text` ends with a newline."""
        if self.log_format == "json":
            return self._json(name, text[:-1].split(b"\n"))
        first = b""
        if self._open == name:  # the beginning of the first line is printed already
            self._open = ""
            end = text.index(b"\n") + 1
            first, text = text[:end], text[end:]
            if not text:
                return first
        prefix = self._prefix(name)
        return b"".join((first or self._close(), prefix, text[:-1].replace(b"\n", b"\n" + prefix), b"\n"))

    def _close(self) -> bytes:
        interrupted, self._open = self._open, ""
        return b"\n" if interrupted else b""

    def _prefix(self, name: str) -> bytes:
        second = int(self._wall_clock())
        known = self._prefixes.get(name)
        if known is None or known[0] != second:
            when = datetime.fromtimestamp(second, tz=timezone.utc).astimezone()
            self.output.seek(0)
            self.output.truncate()
            self.write(honcho_printer.Message("line", "\n", when, name, self._colour_of.get(name)))  # type: ignore[no-untyped-call]
            text = self.output.getvalue().rstrip("\n")
            known = self._prefixes[name] = (second, text.encode())
        return known[1]

    def _json(self, name: str, lines: list[bytes]) -> bytes:
        now = self._wall_clock()
        when = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1000):03d}Z"
        head = f'{{"time":"{when}","process":{json.dumps(name)},"message":'
        # Bytes that are not UTF-8 show as \xNN: JSON cannot hold them, and nothing is lost.
        return "".join(f"{head}{json.dumps(line.decode('utf-8', 'backslashreplace'))}}}\n" for line in lines).encode()
