"""The owner of containers and networks: the `deploy` that made them, by host, boot, PID namespace, pid and start.

They outlive a `deploy` that was killed with KILL. The next `deploy` finds them by their labels, and removes them only
if their owner has certainly ended: a process of another machine, or of another container, cannot be looked up here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from buildpack.bounded import parse_integer
from buildpack.dataclass import dataclass
from buildpack.errors import EngineError
from deployer.engines.docker.client import Client
from deployer.interrupts import dismiss_helper, raise_dropped
from deployer.runner.signals import FORWARDED, STOPPING

APP_LABEL = "dev.deploy.app"
PROCESS_LABEL = "dev.deploy.process"
LABEL = "dev.deploy.owner."
TRIALS = "deploy-ci"
"""The namespace of images that one run of `deploy ci` loads, and removes at its end."""

_LISTINGS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A process, identified among all that ever ran.

    `host` is the machine's name and ID, `boot` changes when it restarts, `namespace` is the PID namespace in which
    `pid` counts, `started` is when the process began, in the system's unit.
    """

    host: str
    boot: str
    namespace: str
    pid: int
    started: str


def this_owner() -> Owner:
    """Describe this process."""
    pid = os.getpid()
    return Owner(host=_host(), boot=_boot(), namespace=_namespace(), pid=pid, started=_started(pid))


def owner_labels(owner: Owner) -> dict[str, str]:
    """Write an owner as labels."""
    return {
        f"{LABEL}host": owner.host,
        f"{LABEL}boot": owner.boot,
        f"{LABEL}namespace": owner.namespace,
        f"{LABEL}pid": str(owner.pid),
        f"{LABEL}started": owner.started,
    }


def parse_owner(labels: Mapping[str, str]) -> Owner | None:
    """Read an owner from labels; None if they name none."""
    host, pid = labels.get(f"{LABEL}host", ""), labels.get(f"{LABEL}pid", "")
    number = parse_integer(pid, least=1, most=(1 << 31) - 1)
    if not host or number is None:
        return None
    return Owner(
        host=host,
        boot=labels.get(f"{LABEL}boot", ""),
        namespace=labels.get(f"{LABEL}namespace", ""),
        pid=number,
        started=labels.get(f"{LABEL}started", ""),
    )


def is_gone(owner: Owner, here: Owner) -> bool:
    """Return True if an owner has certainly ended; `here` is this process."""
    if owner.host != here.host:
        return False
    if owner.boot != here.boot:
        return True
    return owner.namespace == here.namespace and _started(owner.pid) != owner.started


def _host() -> str:
    # Cloned machines share a name, containers have no machine-id: both together tell them apart.
    return f"{os.uname().nodename}/{_read('/etc/machine-id')}"


def _boot() -> str:
    return _read("/proc/sys/kernel/random/boot_id") or _ask("sysctl", "-n", "kern.bootsessionuuid")


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115  not a path: pid:[4026531836]
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Return when a process began; empty if it does not run, or is a zombie."""
    if sys.platform != "linux":
        return _ask("ps", "-o", "lstart=", "-p", str(pid))
    # The name, in parentheses, may hold anything; fields 3 (state) and 22 (start time) follow it, see proc(5).
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in {"Z", "X"} else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _ask(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, env={"LC_ALL": "C"}).stdout.strip()
    except OSError:
        return ""


# Containers and networks of an owner


@contextlib.contextmanager
def holding_back() -> Iterator[None]:
    """Hold signals back until the block ends, so that nothing is left half made; ignored ones stay ignored."""
    dismiss_helper()
    came: list[int] = []
    before = signal.set_wakeup_fd(-1)
    caught = [number for number in (*STOPPING, *FORWARDED) if signal.getsignal(number) is not signal.SIG_IGN]
    handlers = {number: signal.signal(number, lambda number, _frame: came.append(number)) for number in caught}
    try:
        raise_dropped()
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before, warn_on_full_buffer=False)
        for each in came:
            signal.raise_signal(each)


@contextlib.contextmanager
def own_network(client: Client, name: str, *, app: str) -> Iterator[str]:
    """Create a network and remove it at the end; containers that are still in it keep it until `clear_networks`."""
    identity = ""
    try:
        with holding_back(), client.worded():
            labels = {APP_LABEL: app, **owner_labels(this_owner())}
            created = client.api.create_network(name, driver="bridge", labels=labels, check_duplicate=True)
            identity = str(created["Id"])
        yield name
    finally:
        if identity:
            _remove_network(client, identity)


def clear_networks(client: Client) -> None:
    """Remove the networks whose owner has ended, after their containers."""
    with client.worded():
        for found in client.api.networks(filters={"label": [APP_LABEL]}):
            if _is_left(found, this_owner()):
                _remove_network(client, str(found["Id"]))


def _is_left(found: dict[str, Any], here: Owner) -> bool:
    owner = parse_owner(found.get("Labels") or {})
    return owner is not None and is_gone(owner, here)


def _remove_network(client: Client, identity: str) -> None:
    with contextlib.suppress(EngineError), client.worded():
        client.api.remove_network(identity)


def clear_containers(client: Client) -> list[str]:
    """Remove the containers of every app whose owner has ended, and images that were made for these alone.

    Returns the names of the containers. A container that the engine is removing stays with the engine. If the removal
    failed, Docker lists the container until it restarts, and answers any question about it with 404.
    """
    here, listed, cleared = this_owner(), _list_ours(client), []
    with client.worded():
        for found in listed:
            left = found.get("State") != "removing" and _is_left(found, here)
            if left and remove_container(client, str(found["Id"])):
                cleared.append(str((found.get("Names") or [found["Id"][:12]])[0]).lstrip("/"))
                if (image := str(found.get("Image"))).removeprefix("docker.io/").startswith(f"{TRIALS}/"):
                    remove_image(client, image)
    return cleared


def remove_container(client: Client, identity: str) -> bool:
    """Remove a container, running or not; False if the engine refuses."""
    from docker.errors import NotFound

    try:
        with client.worded(), contextlib.suppress(NotFound):
            client.api.remove_container(identity, force=True, v=True)
    except EngineError as error:
        return "is already in progress" in str(error)
    return True


def remove_image(client: Client, reference: str) -> None:
    """Remove a name of an image, and the image if it has no other; it stays if the engine refuses."""
    with contextlib.suppress(EngineError), client.worded():
        client.api.remove_image(reference, force=True)


def _list_ours(client: Client) -> list[dict[str, Any]]:
    from docker.errors import APIError

    for _ in range(_LISTINGS):
        with client.worded():
            try:
                found: list[dict[str, Any]] = client.api.containers(all=True, filters={"label": [PROCESS_LABEL]})
            except APIError as error:
                # Podman fails to list containers while one of them is being removed.
                if "no such container" not in str(error):
                    raise
            else:
                return found
        time.sleep(0.1)
    return []
