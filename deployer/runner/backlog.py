"""Count the connections that wait until a server on this machine accepts them.

gunicorn's sync workers close their socket at TERM, and the kernel resets the connections that wait there
(gunicorn#3397). Measured: 2 workers, 10 requests of 1 s at once, TERM after 1 s:
4 are answered; 10 if TERM comes when nothing waits.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # of `typing`, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Collection

SHARE = 1 / 3
"""The share of the seconds from TERM to KILL in which connections may still be accepted."""

_LISTEN = "0A"


def is_waited_for(ports: Collection[int], proc: str = "/proc/self/net") -> bool:
    """Return True if a connection to one of these ports is not accepted yet; `proc` holds tcp and tcp6 (proc(5))."""
    for name in ("tcp", "tcp6"):
        try:
            with open(os.path.join(proc, name), encoding="ascii", errors="replace") as table:  # noqa: PTH118, PTH123
                lines = table.readlines()[1:]
        except OSError:  # not Linux, or no IPv6
            continue
        for line in lines:
            fields = line.split()
            if len(fields) < 5 or fields[3] != _LISTEN:
                continue
            # The receive queue of a listening socket is the number of connections to accept.
            port, waiting = fields[1].rpartition(":")[2], fields[4].rpartition(":")[2]
            if int(port, 16) in ports and int(waiting, 16):
                return True
    return False
