"""Shared fixtures: the real parts (engine, registry) and a hostile environment.

Without an engine or a registry the tests that need one skip and say why; with ``CI`` set such a skip fails.
"""

from __future__ import annotations

import functools
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

from buildpack.errors import EngineError
from buildpack.oci.engine_host import parse_host
from buildpack.oci.engine_http import Connection
from tests.support.containers import Host
from tests.support.endurance import SCALE
from tests.support.pythons import all_pythons

# How long an example takes says how busy the machine is. Property tests have a profile of their own besides.
settings.register_profile("patient", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

for ignored, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(ignored) is signal.SIG_IGN:
        # A shell in the background, or nohup, ignores this signal, and processes that tests signal would inherit that.
        signal.signal(ignored, usual)

CI = os.environ.get("CI", "") not in ("", "0", "false")

PROPERTY = Path(__file__).parent / "property"

ENGINES = dict(item.split("=", 1) for item in os.environ.get("DEPLOY_TEST_ENGINES", "").split())
"""The addresses of engines by kind, `containerd=unix:///x/engine.sock podman=tcp://127.0.0.1:2375`.

`classic` is Docker with its own image store, by default this machine's; tests/support/engines/with.sh makes the others,
and start.sh there says what they are.
"""


def pytest_configure(config: pytest.Config) -> None:
    """Choose one seed for everything random, and find the interpreters; xdist's workers inherit both."""
    if "classic" in ENGINES:
        os.environ["DOCKER_HOST"] = ENGINES["classic"]
    seed = os.environ.setdefault("DEPLOY_TEST_SEED", str(random.randrange(1 << 32)))
    if config.getoption("--hypothesis-seed", None) is None:
        config.option.hypothesis_seed = seed
        from hypothesis import core

        core.global_force_seed = int(seed)
    if config.getoption("numprocesses", None):
        all_pythons()


KINDS = frozenset({"docker", "classic", "containerd", "podman"})
"""The kinds of engines that parameters of tests name."""


def repeated_on_engines(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests to leave out so that each runs on one kind of engine: the tests take turns with the kinds.

    Tests that are marked `every_engine` run on every kind.
    """
    groups: dict[tuple[object, ...], list[pytest.Item]] = {}
    for item in items:
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        kinds = [name for name, value in parameters.items() if isinstance(value, str) and value in KINDS]
        if len(kinds) == 1 and not item.get_closest_marker("every_engine"):
            others = tuple(repr(value) for name, value in parameters.items() if name != kinds[0])
            groups.setdefault((item.path, item.parent and item.parent.name, item.originalname, others), []).append(item)
    return [
        item for turn, group in enumerate(groups.values()) for at, item in enumerate(group) if at != turn % len(group)
    ]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the property tests, put files with slow tests first, and run a test on one kind of engine only.

    A long file that starts last leaves the other workers idle until it ends. At full scale, and if tests are chosen by
    name, they run on every kind.
    """
    if SCALE < 1 and not any("::" in argument for argument in config.args):
        repeated = set(repeated_on_engines(items))
        config.hook.pytest_deselected(items=sorted(repeated, key=lambda item: item.nodeid))
        items[:] = [item for item in items if item not in repeated]
    for item in items:
        if PROPERTY in item.path.parents:
            item.add_marker("endurance")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_report_header(config: pytest.Config) -> str:
    """Print the seed: every run says how to repeat it."""
    return f"seed: {config.option.hypothesis_seed}, repeat with DEPLOY_TEST_SEED=...; scale: {SCALE} of the long tests"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Make every skip a failure in CI, where all real parts are installed."""
    report = yield
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and in CI that is a failure: {report.longrepr}"
    return report


def missing(what: str) -> NoReturn:
    """Skip because a real part is missing; in CI, fail."""
    if CI:
        pytest.fail(f"{what} (in CI that is a failure)")
    pytest.skip(what)


def answers(address: str) -> bool:
    """Tell whether an engine answers at this address."""
    try:
        connection = Connection(parse_host(address, source="test"), timeout=60)
    except EngineError:
        return False
    try:
        return connection.ask("GET", "/_ping").status == 200
    except EngineError:
        return False
    finally:
        connection.close()


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that has the stack `host`, whose gathering takes a second; `with_stack` makes others of it."""
    from tests.support.tiny import build_here, write_app

    folder = tmp_path_factory.mktemp("seed")
    build_here(write_app(folder / "app", {}), folder / "home", os.environ)
    return folder / "home"


@pytest.fixture(scope="session")
def engine() -> str:
    """The address of a Docker engine with its own image store."""
    address = ENGINES.get("classic", "unix:///var/run/docker.sock")
    if not answers(address):
        missing(f"no Docker engine answers at {address}; start dockerd to run this test")
    return address


@functools.cache
def await_engine(kind: str) -> str:
    """Wait for an engine that DEPLOY_TEST_ENGINES names, since it may still be starting; its address."""
    address = ENGINES.get(kind)
    if address is None:
        missing(f"DEPLOY_TEST_ENGINES names no engine {kind!r}; run this test under tests/support/engines/with.sh")
    state = Path(address.removeprefix("unix://")).parent.parent
    end = time.monotonic() + 300
    while not answers(address):
        if (state / "failed").exists() or time.monotonic() > end:
            missing(f"{kind} does not answer at {address}: {''.join(log.read_text() for log in state.glob('*log'))}")
        time.sleep(0.2)
    return address


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("classic", marks=pytest.mark.engine),
        pytest.param("containerd", marks=pytest.mark.engine),
        pytest.param("podman", marks=pytest.mark.podman),
    ],
)
def host_of_each_kind(request: pytest.FixtureRequest) -> Host:
    """An engine of each kind."""
    kind = request.param
    if kind == "classic":
        return Host(address=request.getfixturevalue("engine"), product="Docker", kind=kind)
    return Host(address=await_engine(kind), product="Podman" if kind == "podman" else "Docker", kind=kind)


def wait_for(port: int, process: subprocess.Popen[bytes], seconds: float = 120) -> None:
    """Wait until something listens on this port of 127.0.0.1."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} exited with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"{process.args!r} does not listen on {port}")


@contextmanager
def serving_registry(root: Path, *, storage: str = "", more: str = "") -> Iterator[str]:
    """Run the distribution registry on loopback; its ``host:port``.

    `storage` and `more` are YAML, for its section ``storage`` (two spaces deep) and for the end. The kernel chooses the
    port, and nobody can take it before the registry does.
    """
    program = shutil.which("docker-registry")
    if program is None:
        missing("docker-registry is not installed; install it to run this test")
    config, log = root / "config.yml", root / "log"
    config.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {root}/files\n{storage}"
        f"http:\n  addr: 127.0.0.1:0\nlog:\n  level: info\n{more}"
    )
    with log.open("wb") as out:
        process = subprocess.Popen([program, "serve", str(config)], stdout=out, stderr=out)
    try:
        end = time.monotonic() + 60
        while not (found := re.search(r'msg="listening on (127\.0\.0\.1:\d+)"', log.read_text())):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the registry does not start: {log.read_text()[-2000:]}")
            time.sleep(0.02)
        yield found[1]
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the distribution registry on a free loopback port; its ``host:port``."""
    if shutil.which("skopeo") is None:
        missing("skopeo is not installed; install it to run this test")
    root = tmp_path_factory.mktemp("registry")
    with serving_registry(root, storage="  delete:\n    enabled: true\n") as name:
        yield name


PODMAN_CONFIG = """\
[containers]
default_ulimits = []
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
"""


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start Podman's Docker-compatible service; its address."""
    if shutil.which("podman") is None:
        missing("podman is not installed; install it to run this test")
    folder = tmp_path_factory.mktemp("podman")
    config = folder / "containers.conf"
    config.write_text(PODMAN_CONFIG)
    path = folder / "podman.sock"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["podman", "system", "service", "--time=0", f"unix://{path}"],
            env={**os.environ, "CONTAINERS_CONF": str(config)},
            cwd=folder,  # where its monitor leaves a file `oom` when a container was killed for its memory
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + 120
        while not (path.exists() and answers(f"unix://{path}")):
            if process.poll() is not None or time.monotonic() > end:
                missing(f"podman's service did not start: {(folder / 'log').read_text()[-500:]}")
            time.sleep(0.1)
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def anyones() -> Iterator[Path]:
    """Make a folder that every user may enter and write, as hooks, builds and trials do not run as root."""
    with tempfile.TemporaryDirectory(prefix="deploy-test-", dir="/tmp") as folder:
        Path(folder).chmod(0o1777)
        yield Path(folder)


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Set an environment that would change a careless build: odd umask, time zone, locale, Python and pip settings."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "no-such-path"))
    monkeypatch.setenv("PYTHONHASHSEED", "4711")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "pip-target"))
    monkeypatch.setenv("TZ", "Pacific/Chatham")
    monkeypatch.setenv("LC_ALL", "C")
    previous = os.umask(0o077)
    yield
    os.umask(previous)
