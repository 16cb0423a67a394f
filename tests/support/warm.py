"""A process that has imported the tool and forks for each `deploy` command: that spares a tenth of a second each time.

Each command is a process of its own, with its own streams, folder, variables and exit code. Tests that need more of a
fresh interpreter (its own flags, locale or signals, a program in front of it) start one.
"""

from __future__ import annotations

import array
import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = ("buildpack.system.compile_worker", "deployer.__main__", "deployer.locking.pipenv", "deployer.runner")
"""Modules that other interpreters run."""
LIBRARIES = ("click", "dotenv", "installer", "packaging.requirements", "requests", "tomlkit")


@functools.cache
def start() -> str:
    """Start the process that forks, once in each test process; return the address of its socket."""
    folder = tempfile.mkdtemp(prefix="deploy-warm-")
    command = [sys.executable, "-m", "tests.support.warm", folder]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"

    def stop() -> None:
        process.stdin.close()
        process.stdout.close()
        process.wait()
        Path(folder, "socket").unlink()
        Path(folder).rmdir()

    atexit.register(stop)
    return f"{folder}/socket"


def run_warm(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdin: bytes | None, timeout: float
) -> tuple[int, bytes, bytes]:
    """Run `deploy` with these arguments to its end; return its exit code and what it wrote on its two streams."""
    pipes = [os.pipe() for _ in range(3)]
    (given, feed), (out, out_end), (err, err_end) = pipes
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(start())
        os.umask(mask := os.umask(0))
        request = json.dumps([list(arguments), str(cwd), dict(env), mask]).encode()
        ends = array.array("i", [given if stdin is not None else 0, out_end, err_end])
        connection.sendmsg([len(request).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, ends)])
        connection.sendall(request)
        for end in (given, out_end, err_end):
            os.close(end)
        texts: dict[int, bytes] = {}

        def read(descriptor: int) -> None:
            with os.fdopen(descriptor, "rb") as stream:
                texts[descriptor] = stream.read()

        threads = [threading.Thread(target=read, args=(each,)) for each in (out, err)]
        for thread in threads:
            thread.start()
        with suppress(BrokenPipeError), os.fdopen(feed, "wb") as stream:
            stream.write(stdin or b"")
        end = time.monotonic() + timeout
        pid = int.from_bytes(receive(connection, 4), "big")
        connection.settimeout(timeout)
        try:
            status = int.from_bytes(receive(connection, 4), "big")
            for thread in threads:
                thread.join(max(0, end - time.monotonic()))
            if any(thread.is_alive() for thread in threads):
                raise TimeoutError
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(arguments), timeout) from None
    return os.waitstatus_to_exitcode(status), texts[out], texts[err]


def receive(connection: socket.socket, size: int) -> bytes:
    """Read exactly so many bytes."""
    found = b""
    while len(found) < size:
        part = connection.recv(size - len(found))
        if not part:
            raise ConnectionError
        found += part
    return found


def load() -> None:
    """Import what commands import."""
    for name in LIBRARIES:
        importlib.import_module(name)
    for top in ("buildpack", "deployer"):
        for found in pkgutil.walk_packages([str(ROOT / top)], f"{top}."):
            if not found.name.startswith(SCRIPTS):
                importlib.import_module(found.name)


def serve(folder: str) -> None:
    """Fork for each request until standard input ends; return in each child, which has become the command's process."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"{folder}/socket")
    listener.listen(64)
    woken, wake = socket.socketpair()
    for each in (woken, wake):
        each.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake.fileno())
    waiting: dict[int, socket.socket] = {}
    selector = selectors.DefaultSelector()
    for source in (listener, woken, sys.stdin):
        selector.register(source, selectors.EVENT_READ)
    gc.collect()
    gc.freeze()
    os.write(1, b"ready\n")
    while True:
        ready = [key.fileobj for key, _ in selector.select()]
        if sys.stdin in ready:
            os._exit(0)
        if woken in ready:
            woken.recv(4096)
        for pid in list(waiting):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                with waiting.pop(pid) as connection:
                    connection.sendall(status.to_bytes(4, "big"))
        if listener in ready:
            connection, _ = listener.accept()
            head, rights, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(12))
            streams = array.array("i", rights[0][2][:12])
            request = json.loads(receive(connection, int.from_bytes(head, "big")))
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                selector.close()
                for each in (listener, woken, wake, connection, *waiting.values()):
                    each.close()
                become(streams, *request)
                return
            for each in streams:
                os.close(each)
            connection.sendall(pid.to_bytes(4, "big"))
            waiting[pid] = connection


def become(streams: Sequence[int], arguments: Sequence[str], cwd: str, env: Mapping[str, str], mask: int) -> None:
    """Take the place of a fresh process."""
    os.umask(mask)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115  as long as the process
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    sys.argv = [str(ROOT / "deployer" / "__main__.py"), *arguments]
    sys.path[0] = cwd


if __name__ == "__main__":
    load()
    serve(sys.argv[1])
    from deployer.cli import main

    main()
