"""Write the runner's output to a stream that may stall, close or fill up, without ever blocking the runner."""

from __future__ import annotations

import os
import select
import signal
import stat
from collections import deque
from typing import BinaryIO

FULL = 1 << 20
"""Bytes waiting to be written, above which nothing more is read from the processes."""

_PIECE = 1 << 18
# A pipe or a terminal that is reported as writable accepts this many bytes without blocking.
_SAFE_PIECE = 512


class OutputError(Exception):
    """Nobody reads the output any more, or there is no room for it; `errno` says which."""

    def __init__(self, errno: int) -> None:
        super().__init__(os.strerror(errno))
        self.errno = errno


class Outlet:
    """Accepts bytes at any time, and writes them when the stream accepts them.

    A stream without a file descriptor is written to at once. The stream's own O_NONBLOCK flag is
    left alone: the shell and our parent share it.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._pieces: deque[memoryview] = deque()
        self.waiting = 0
        try:
            stream.flush()
            self.fd: int | None = stream.fileno()
        except (OSError, ValueError, AttributeError):
            self.fd = None
        self._own: int | None = None
        self._terminal = self.fd is not None and os.isatty(self.fd)
        self.may_stall = False
        if self.fd is not None:
            self._open(self.fd)

    def _open(self, fd: int) -> None:
        mode = os.fstat(fd).st_mode
        self.may_stall = self._terminal or stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
        if not self.may_stall:
            return  # a file never stalls, and a second open would lose the offset
        try:
            # Linux gives this process an open file of its own on the same pipe or terminal.
            self._own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError:  # a socket, macOS, or another user's stream: careful pieces instead
            return
        self.fd = self._own

    def put(self, data: bytes) -> None:
        """Take bytes to write; raises OutputError."""
        if self.fd is None:
            self._stream.write(data)
        elif data:
            self._pieces.append(memoryview(data))
            self.waiting += len(data)
            self.flush()

    def flush(self) -> None:
        """Write as much as the stream accepts now; raises OutputError."""
        while self._pieces:
            piece = self._pieces[0]
            try:
                written = self._write(piece)
            except BlockingIOError:
                return
            except OSError as error:
                self.discard()
                raise OutputError(error.errno or 0) from error
            if not written:
                return
            self.waiting -= written
            if written == len(piece):
                self._pieces.popleft()
            else:
                self._pieces[0] = piece[written:]

    def _write(self, piece: memoryview) -> int:
        assert self.fd is not None
        if not self.may_stall:
            return os.write(self.fd, piece)
        if self._terminal:
            # `stty tostop` in the background: TTOU, handled as it is here, would come for ever.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
            try:
                return self._write_some(piece)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return self._write_some(piece)

    def _write_some(self, piece: memoryview) -> int:
        assert self.fd is not None
        if self._own is not None:
            return os.write(self.fd, piece[:_PIECE])
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        return os.write(self.fd, piece[:_SAFE_PIECE]) if poll.poll(0) else 0

    def discard(self) -> None:
        """Drop the bytes that wait."""
        self._pieces.clear()
        self.waiting = 0

    def close(self) -> None:
        """Close the files opened here; the stream stays open."""
        if self._own is not None:
            os.close(self._own)
            self._own = self.fd = None
