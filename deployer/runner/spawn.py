"""Start one process in a session of its own, its output on a pipe.

`subprocess` could do this with a preexec_fn, but importing it takes 10 ms. These are the few calls between fork and
exec.
"""

from __future__ import annotations

import contextlib
import os
import signal
import warnings
from collections.abc import Iterator, Mapping
from errno import EINVAL

from deployer.runner.command import CommandError, become, command_argv, exec_error, resolve_argv
from deployer.runner.formation import Process
from deployer.runner.kernel import die_with_parent

# The signals that the runner handles, and those that Python itself ignores.
_RESET = (
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD),
    *(signal.SIGTTIN, signal.SIGTTOU, signal.SIGTSTP, signal.SIGCONT, signal.SIGPIPE, signal.SIGXFSZ),
)


def fill_standard_fds() -> None:
    """Open /dev/null in the place of a standard stream that is closed, so that nothing else lands there."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd > 2:
            os.close(fd)
            return
        os.set_inheritable(fd, True)  # noqa: FBT003


def spawn(process: Process) -> tuple[int, int]:
    """Start a process; returns its pid and the reading end of its output's pipe, which does not block.

    Raises CommandError if there is nothing to start, or if the machine refuses to start it. The
    process leads a session and a group of its own, has default signal handling, and gets TERM if
    this process dies.
    """
    argv, file = _resolve(process)
    reader, writer = os.pipe()
    try:
        pid = _fork_exec(file, argv, process.env, process.cwd, writer)
    except OSError as error:
        os.close(reader)
        raise exec_error(error, argv) from error
    finally:
        os.close(writer)
    os.set_blocking(reader, False)
    return pid, reader


def _resolve(process: Process) -> tuple[list[str], str]:
    path = process.env.get("PATH", os.defpath)
    argv = command_argv(process.command, path) if isinstance(process.command, str) else list(process.command)
    if process.cwd is not None and not os.path.isdir(process.cwd):  # noqa: PTH112
        raise CommandError(f"{process.cwd}: no such directory to start in", 126)
    return argv, resolve_argv(argv, path, process.cwd or "")


def _fork_exec(file: str, argv: list[str], env: Mapping[str, str], cwd: str | None, output: int) -> int:
    """Fork and exec; raises OSError with the child's errno."""
    failure, report = os.pipe()
    parent, env = os.getpid(), dict(env)
    with open(failure, "rb", buffering=0) as reported:  # noqa: PTH123
        # Signals wait until the child has its own handlers: before, it would handle them as the
        # runner, with the runner's handlers and its wake-up pipe.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = fork()
            if pid == 0:
                with _ending_here(report):
                    _detach(parent, output, cwd)
                    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                    become(file, argv, env)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(report)
        errno = reported.readall()  # exec closes the child's copy, which ends the pipe
    if errno:
        os.waitpid(pid, 0)
        raise OSError(int(errno), "exec")
    return pid


def fork() -> int:
    """Fork; the child does only a few things before it execs or ends."""
    with warnings.catch_warnings():
        # Python 3.12 warns if there are threads (a readiness probe, say). The child takes no lock.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


@contextlib.contextmanager
def _ending_here(report: int) -> Iterator[None]:
    """Run in the forked child and never return: exec, or write the errno to `report` and end."""
    try:
        yield
    except OSError as error:
        os.write(report, str(error.errno).encode())
    except BaseException:  # noqa: BLE001 - a NUL in the environment, say
        os.write(report, str(EINVAL).encode())
    finally:
        os._exit(127)


def _detach(parent: int, output: int, cwd: str | None) -> None:
    """Give the forked child a session, its streams, its folder, and default signal handling."""
    os.setsid()
    die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(128 + signal.SIGTERM)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if cwd is not None:
        os.chdir(cwd)
    signal.set_wakeup_fd(-1)
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
