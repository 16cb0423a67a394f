"""End what this process started, and remove its files, also if it is killed: a shell waits beside it for its end.

The kernel's own offer (`PR_SET_PDEATHSIG`) reaches a program alone, and not what that program started.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from subprocess import Popen


@contextmanager
def outliving_nobody() -> Iterator[Callable[[int], None]]:
    """Give what is told of the leader of a process group, which ends with this process, should that be killed.

    It is to be told at once: whoever kills this process before leaves that group behind.
    """
    guard = Guard()
    try:
        yield partial(guard.watch, group=True)
    finally:
        guard.dismiss()


@contextmanager
def leaving_nothing() -> Iterator[Guard]:
    """Yield a guard, whose files and folders are removed at the end of the block or of this process.

    A shell removes them, since a process that must end at once has no time to remove thousands of files. This holds
    if the process is killed, and if a second Ctrl-C ends the block's own cleaning.
    """
    guard = Guard()
    try:
        yield guard
    finally:
        guard.dismiss()


_GUARD = """\
end() {
  kill -STOP "$1"
  set -- "$1" $(cat /proc/"$1"/task/*/children)
  kill -KILL "$1"
  shift
  for each; do end "$each"; done
}
while IFS= read -r line; do
  case $line in
    /*) set -- "$@" "$line" ;;
    *) doomed=$line ;;
  esac
done
[ -z "$doomed" ] || end "$doomed"
[ $# -eq 0 ] || rm -rf -- "$@"
"""
"""A line of its input is a path, or the process to end with its descendants (with its group if negative)."""


class Guard:
    """A shell that ends another process and removes files if this process is killed: then its input ends.

    It is in a session of its own, so that whatever ends this one leaves it. It does nothing where there is no shell.
    """

    def __init__(self) -> None:
        import subprocess

        self._shell: Popen[bytes] | None = None
        with suppress(OSError):
            self._shell = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD],
                cwd="/",
                env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                bufsize=0,
            )

    def watch(self, leader: int, *, group: bool) -> None:
        """End this process and its descendants, or its group, if this process is killed."""
        self._tell(b"%d" % (-leader if group else leader))

    def forget(self) -> None:
        """End no process. Its number may be another one's as soon as it is waited for."""
        self._tell(b"")

    def remove(self, path: Path) -> None:
        """Remove a file or folder when `dismiss` is called or this process has ended."""
        self._tell(os.fsencode(path.absolute()))

    def dismiss(self) -> None:
        """Remove the files now, and end no process."""
        if self._shell is not None:
            self.forget()
            assert self._shell.stdin is not None
            self._shell.stdin.close()
            self._shell.wait()

    def _tell(self, line: bytes) -> None:
        if self._shell is not None and b"\n" not in line:
            assert self._shell.stdin is not None
            with suppress(OSError):  # somebody killed it
                self._shell.stdin.write(line + b"\n")
