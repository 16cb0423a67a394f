"""End the programs that this process started, and remove its files, even if the process is killed.

A shell beside it waits for its end. The kernel's own way (`PR_SET_PDEATHSIG`) ends a program, but not its children.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from subprocess import Popen


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
"""Each line of its input is a path to remove, or a process to end with its descendants; a group if negative."""


class Guard:
    """A shell that ends another process and removes files if this process is killed: then its input ends.

    It has a session of its own, so that a signal to this session does not reach it. Without a shell it does nothing.
    As a context manager it removes the files at the end of the block: a process that must end at once has no time to
    remove thousands of files, and a second Ctrl-C may interrupt the block.
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dismiss()

    def watch(self, leader: int, *, group: bool) -> None:
        """End another process and its descendants, or its group, if this process is killed.

        Call it at once after the start: if this process is killed before, the other one stays.
        """
        self._tell(b"%d" % (-leader if group else leader))

    def forget(self) -> None:
        """Watch no process any more. After `wait` its number may belong to another process."""
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
