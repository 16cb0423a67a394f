"""PID 1 of a container that runs one process: pass signals on, reap orphans, end as the process ends.

`_signal` is what `signal` wraps in enumerations, for 2 ms of every start.
"""

from __future__ import annotations

import os
import time

try:
    import _signal as signal  # type: ignore[import-not-found,unused-ignore]
except ImportError:  # not CPython
    import signal

from deployer.runner.backlog import SHARE, is_waited_for
from deployer.runner.bounded import parse_port
from deployer.runner.command import become

TYPE_CHECKING = False  # of `typing`, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

# The whole group gets the signals to end, so that a shell in front does not keep them from the process behind it;
# all other signals are meant for the leader (HUP would kill gunicorn's workers in mid-request).
_TO_GROUP = frozenset({signal.SIGTERM, signal.SIGINT})
_TO_LEADER = frozenset({signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTIN, signal.SIGTTOU})
_AWAITED = _TO_GROUP | _TO_LEADER | {signal.SIGCHLD}

_POLL = 0.05


def run_as_init(argv: list[str], file: str, env: dict[str, str], *, interactive: bool, stop_timeout: float) -> int:
    """Run a process until nothing of its group is left; returns the exit code, 128+N for signals.

    `interactive` is true for a command that a user typed: a terminal on standard input becomes its own
    (``docker run -it IMAGE bash``), and INT stays INT. Any other process has a session of its own, and
    INT becomes TERM: Ctrl-C, sent to all of gunicorn, would turn requests in flight into errors. TERM
    waits until nobody waits for the process to accept a connection, for a third of `stop_timeout`
    seconds at most; a second TERM does not. Processes that the leader leaves behind have
    `stop_timeout` seconds to end after TERM. Raises OSError if the process cannot be started.
    """
    failure, report = os.pipe()
    # Blocked signals wait for sigwait; of others the kernel drops what an init does not handle.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
    leader = os.fork()
    if leader == 0:
        _become(lambda: become(file, argv, env), mask, report, own_terminal=interactive)
    os.close(report)
    errno = os.read(failure, 16)
    os.close(failure)
    if errno:
        raise OSError(int(errno), "exec")
    port = None if interactive else parse_port(env.get("PORT", ""))
    return _watch_over(leader, signal.SIGINT if interactive else signal.SIGTERM, stop_timeout, port)


def _become(exec_: Callable[[], NoReturn], mask: set[int], report: int, *, own_terminal: bool) -> NoReturn:
    try:
        if own_terminal:
            os.setpgid(0, 0)
            _take_terminal()
        else:
            os.setsid()
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        exec_()
    except OSError as error:
        os.write(report, str(error.errno).encode())
    finally:
        os._exit(127)


def _take_terminal() -> None:
    try:
        os.tcsetpgrp(0, os.getpgrp())  # from the background: TTOU is blocked here, so it may
    except OSError:
        return  # no terminal, or not this session's


def _watch_over(leader: int, interrupt: int, stop_timeout: float, port: int | None) -> int:
    code: int | None = None
    deadline = 0.0
    wait_until: float | None = None
    asked = False
    while True:
        number = _next_signal(None if code is None and wait_until is None else _POLL)
        status = _reap(leader)
        if status is not None:
            code = os.waitstatus_to_exitcode(status)
            deadline = time.monotonic() + stop_timeout
            _send(-leader, signal.SIGTERM)
        if code is not None:
            if not _send(-leader, 0):
                return code if code >= 0 else 128 - code
            if time.monotonic() > deadline:
                _send(-leader, signal.SIGKILL)
        elif number == signal.SIGINT:
            wait_until = None
            _send(-leader, interrupt)
        elif number == signal.SIGTERM:
            wait_until = 0.0 if asked else time.monotonic() + stop_timeout * SHARE
            asked = True
        elif number in _TO_LEADER:
            _send(leader, number)
        if wait_until is not None and code is None and _is_time(wait_until, port):
            wait_until = None
            _send(-leader, signal.SIGTERM)


def _is_time(wait_until: float, port: int | None) -> bool:
    return port is None or time.monotonic() >= wait_until or not is_waited_for({port})


def _next_signal(timeout: float | None) -> int:
    """Wait for a signal; 0 after `timeout` seconds. No CHLD comes for a process of the group with another parent."""
    if timeout is None:
        return int(signal.sigwait(_AWAITED))
    taken = signal.sigtimedwait(_AWAITED, timeout)
    return taken.si_signo if taken is not None else 0


def _reap(leader: int) -> int | None:
    """Reap every process that ended; return the leader's wait status if it was among them."""
    status = None
    while True:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == leader:
            status = ended


def _send(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True
