"""Use what only Linux offers a supervisor: it gets orphans, its children die with it, and /proc lists them.

Everywhere else these functions do nothing or find nothing, and the runner relies on process groups.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Collection, Iterable
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _load_prctl() -> Callable[..., Any] | None:
    """Find prctl before anything is forked: between fork and exec nothing may be imported or looked up."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        import ctypes

        prctl: Any = ctypes.CDLL(None, use_errno=True).prctl
    except (ImportError, OSError, AttributeError):
        return None
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    return prctl  # type: ignore[no-any-return]


_prctl = _load_prctl()


def adopt_orphans(*, on: bool = True) -> None:
    """Make this process the parent of its descendants' orphans (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    if _prctl is not None:
        _prctl(_PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0)


def die_with_parent(signum: int) -> None:
    """Have the kernel send this process `signum` when the thread that forked it ends (PR_SET_PDEATHSIG)."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0)


def rename_this_process(name: str) -> None:
    """Show this process as `name` in lists of processes, without its arguments and environment.

    Both are in one piece of memory, from arg_start to env_end in /proc/self/stat (proc(5)).
    """
    with contextlib.suppress(ImportError, OSError, ValueError, IndexError):
        import ctypes

        with open("/proc/self/stat", "rb") as stat:  # noqa: PTH123
            fields = stat.read().rpartition(b")")[2].split()
        arguments, environment = int(fields[45]), int(fields[48])
        with open("/proc/self/comm", "w", encoding="ascii") as comm:  # noqa: PTH123
            comm.write(name)
        if 0 < arguments < environment - len(name):  # a sandbox may return zeros
            ctypes.memset(arguments, 0, environment - arguments)
            ctypes.memmove(arguments, name.encode("ascii"), len(name))


def leftovers(foreign: Collection[int]) -> list[int]:
    """Return this process's living descendants, parents first, without `foreign` children and their descendants."""
    below = _tree()
    found = [pid for pid in below.get(os.getpid(), ()) if pid not in foreign]
    for pid in found:
        found.extend(below.get(pid, ()))
    return found


def signal_each(pids: Iterable[int], signum: int) -> None:
    """Send a signal to each of these processes that exists and may be signalled."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signum)


def children(pid: int) -> list[int]:
    """Return the living children of a process, without zombies."""
    return _tree().get(pid, [])


def _tree() -> dict[int, list[int]]:
    tree: dict[int, list[int]] = {}
    try:
        names = os.listdir("/proc")  # noqa: PTH208 - called while stopping, a thousand processes at a time
    except OSError:
        return tree
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:  # noqa: PTH123
                # The name in parentheses may hold anything, parentheses included: proc(5).
                state, parent = stat.read().rpartition(b")")[2].split()[:2]
        except (OSError, ValueError):
            continue
        if state not in {b"Z", b"X"}:
            tree.setdefault(int(parent), []).append(int(name))
    return tree
