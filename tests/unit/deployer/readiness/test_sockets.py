from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from deployer.readiness.sockets import listener_of_port, session_listeners

LISTEN = """
import socket, time
servers = []
for family, address in ((socket.AF_INET, "127.0.0.2"), (socket.AF_INET6, "::1")):
    server = socket.socket(family)
    server.bind((address, 0))
    server.listen()
    servers.append(server)
print(*(server.getsockname()[1] for server in servers), flush=True)
time.sleep(60)
"""


def test_what_a_session_listens_on_is_found_in_its_children_too():
    with subprocess.Popen(
        ["sh", "-c", '"$0" -c "$1" & wait', sys.executable, LISTEN], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        one, two = (int(port) for port in process.stdout.readline().split())
        found = session_listeners(process.pid)
        foreign = session_listeners(os.getsid(0))
        os.killpg(process.pid, signal.SIGKILL)
    assert [str(listener) for listener in found or ()] == [f"127.0.0.2:{one}", f"[::1]:{two}"]
    assert one not in [listener.port for listener in foreign or ()]


def test_who_listens_on_a_port_is_named():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        who = listener_of_port(port)
    assert who.endswith(f" (pid {os.getpid()})")
    assert listener_of_port(port) == ""


def test_without_proc_nothing_is_known(tmp_path):
    assert session_listeners(os.getsid(0), proc=str(tmp_path)) is None
    assert listener_of_port(80, proc=str(tmp_path)) == ""
