"""A whole pipeline, from a commit to an answer on another machine; what moves, and what nobody gets to see."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sysconfig
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import EXAMPLES, ROOT, Done, deploy
from tests.support.containers import Host
from tests.support.images import unpacked
from tests.support.ports import free_port
from tests.support.proxy import Handler, Proxy, answer, lose
from tests.support.running import get

pytestmark = [pytest.mark.registry, pytest.mark.engine, pytest.mark.slow]

USER, PASSWORD = "planted-user", "planted-pass/word+1"
SECRETS = (PASSWORD, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode())
LOGIN = {"DEPLOY_REGISTRY_USER": USER, "DEPLOY_REGISTRY_PASSWORD": PASSWORD}

MANIFESTS = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"


class Origin:
    """The repository that people push to, and pipelines clone."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(shutil.copytree(EXAMPLES / "blasto", folder))
        environment = {"scripts": {"test": "pytest -q"}}
        (self.folder / "app.json").write_text(json.dumps({"environments": {"test": environment}}))
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("Serve shells")

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
        done = subprocess.run(
            ["git", *who, *arguments], cwd=cwd or self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", message)

    def clone(self, folder: Path) -> Path:
        self.git("clone", "--quiet", str(self.folder), str(folder))
        return folder


class Machine:
    """A pipeline's fresh machine: a checkout, and nothing else."""

    def __init__(self, folder: Path, origin: Origin) -> None:
        folder.mkdir()
        self.home = folder / "home"
        self.checkout = origin.clone(folder / "blasto")
        self.time = origin.git("log", "-1", "--format=%ct", cwd=self.checkout)

    def ci(self, *arguments: str, env: Mapping[str, str] | None = None) -> Done:
        environ = {"CI": "true", "SOURCE_DATE_EPOCH": self.time, **(env or {})}
        return deploy("ci", self.checkout, *arguments, "--json", home=self.home, env=environ)


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[Origin], Machine]:
    numbers = iter(range(100))
    return lambda origin: Machine(tmp_path / f"machine-{next(numbers)}", origin)


@pytest.fixture
def proxy(registry: str) -> Iterator[Proxy]:
    with Proxy(registry) as made:
        yield made


def tagged(reference: str) -> str:
    """Return the digest that a tag names in its registry."""
    host, _, rest = reference.partition("/")
    name, _, tag = rest.rpartition(":")
    request = urllib.request.Request(f"http://{host}/v2/{name}/manifests/{tag}", headers={"Accept": MANIFESTS})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
        return str(response.headers["Docker-Content-Digest"])


def report_of(done: Done) -> dict[str, Any]:
    assert done.code == 0, done.err
    report: dict[str, Any] = json.loads(done.out)
    return report


def test_from_a_commit_to_an_answer_elsewhere(
    proxy: Proxy, engine: str, tmp_path: Path, machine: Callable[[Origin], Machine]
) -> None:
    origin = Origin(tmp_path / "origin")
    image = f"{proxy.name}/story/blasto:main"

    # The first commit: everything is built, tested, booted and pushed.
    first = report_of(machine(origin).ci("-t", image, "--push", "--engine", "docker"))
    assert [step["status"] for step in first["steps"]] == ["passed"] * 5
    assert first["bytes_sent"] > 1_000_000
    assert tagged(image) == first["digest"]

    # One line changes. Another empty machine sends that, and gets no layer at all.
    page = origin.folder / "blasto" / "templates" / "index.html"
    page.write_text(page.read_text() + "<!-- the second commit -->\n")
    origin.commit("Say so")
    proxy.clear()
    second = report_of(machine(origin).ci("-t", image, "--push", "--no-boot", "--no-sbom"))
    assert tagged(image) == second["digest"] != first["digest"]
    app = second["layers"][-1]
    assert [layer["kind"] for layer in second["layers"] if layer["digest"] not in digests_of(first)] == ["app"]
    assert app["kind"] == "app"
    assert (proxy.requests - 1) == second["requests"]  # the other one is `tagged`'s
    assert second["bytes_sent"] <= app["size"] + 10_000
    assert second["bytes_received"] <= 20_000
    assert [step["requests"] > 0 for step in second["steps"]] == [False, True, False, False, True]

    # The third commit does not pass its tests: the tag still names the second image.
    (origin.folder / "blasto" / "catalogue.py").write_text("raise RuntimeError('broken')\n")
    origin.commit("Break it")
    done = machine(origin).ci("-t", image, "--push", "--engine", "docker")
    assert done.code == 60
    assert "RuntimeError: broken" in done.err
    assert tagged(image) == second["digest"]

    # Another machine pulls by the reported digest, and the image answers with the second commit's line.
    reference = f"{image.rpartition(':')[0]}@{second['digest']}"
    assert second_line(Host(address=engine, product="docker"), reference)


def digests_of(report: Mapping[str, Any]) -> set[str]:
    return {layer["digest"] for layer in report["layers"]}


def second_line(host: Host, reference: str) -> bool:
    """Pull and run an image as anybody would; whether its page has the second commit's line."""
    port = free_port()
    host.docker("pull", "--quiet", reference)
    container = host.docker("run", "-d", "--read-only", "-p", f"127.0.0.1:{port}:8000", reference).strip()
    try:
        end = time.monotonic() + 60
        while True:
            try:
                status, body = get(port)
                break
            except OSError:
                assert time.monotonic() < end, host.docker("logs", container)
                time.sleep(0.05)
        return status == 200 and b"<!-- the second commit -->" in body
    finally:
        host.docker("rm", "-f", container)
        host.docker("rmi", "-f", reference)


def test_tests_and_boot_on_an_empty_machine_fetch_what_they_need(
    proxy: Proxy, tmp_path: Path, machine: Callable[[Origin], Machine], engine: str
) -> None:
    origin = Origin(tmp_path / "origin")
    image = f"{proxy.name}/trial/blasto:main"
    first = report_of(machine(origin).ci("-t", image, "--push", "--no-boot"))
    layers = sum(layer["size"] for layer in first["layers"] if layer["kind"] != "app")
    (origin.folder / "README.md").write_text("changed\n")
    origin.commit("Change a line")

    with_engine = report_of(machine(origin).ci("-t", image, "--push", "--engine", "docker"))
    received = {step["name"]: step["bytes_received"] for step in with_engine["steps"]}
    # All that is not new comes once, with the first step that needs it.
    assert layers <= received["test"] <= layers + 20_000
    assert received["boot"] == 0

    (origin.folder / "README.md").write_text("changed again\n")
    origin.commit("Change a line")
    without = report_of(machine(origin).ci("-t", image, "--push", "--no-sbom", "--engine", "local"))
    received = {step["name"]: step["bytes_received"] for step in without["steps"]}
    assert received["test"] == received["boot"] == 0
    assert [step["status"] for step in without["steps"]] == ["passed"] * 5
    assert without["bytes_sent"] <= without["layers"][-1]["size"] + 10_000


def test_a_layer_that_vanishes_before_the_push_is_made_again(
    proxy: Proxy, registry: str, tmp_path: Path, machine: Callable[[Origin], Machine]
) -> None:
    origin = Origin(tmp_path / "origin")
    image = f"{proxy.name}/vanishing/blasto:main"
    first = report_of(machine(origin).ci("-t", image, "--push", "--no-boot"))
    bucket = next(layer for layer in first["layers"] if layer["kind"] == "dependencies")
    (origin.folder / "README.md").write_text("changed\n")
    origin.commit("Change a line")
    before = tagged(image)
    lose(registry, "vanishing/blasto", bucket["digest"])
    done = machine(origin).ci("-t", image, "--push", "--no-boot")
    report = report_of(done)
    assert tagged(image) == report["digest"] != before
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        f"http://{registry}/v2/vanishing/blasto/blobs/{bucket['digest']}"
    ) as response:
        assert len(response.read()) == bucket["size"]


def demand_login(handler: Handler) -> int:
    """Let nobody in without the password."""
    if handler.headers.get("Authorization") == f"Basic {SECRETS[1]}":
        return handler.forward()
    return answer(401, b'{"errors": []}', WWW_Authenticate='Basic realm="story"')(handler)


SPY = "for file in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $file; echo; done 2>/dev/null; env; true"
"""A test of the app that reads other processes and its variables."""


@pytest.mark.parametrize("through", ["variables", "config.json"])
def test_a_login_is_seen_nowhere(through: str, proxy: Proxy, blasto: Path, home: Path, tmp_path: Path) -> None:
    proxy.fault("", "", demand_login, times=-1)
    environ = login(through, proxy.name, tmp_path)
    files = {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary"), "GITHUB_OUTPUT": str(tmp_path / "outputs")}
    environ |= {"GITHUB_ACTIONS": "true", **files}
    image = f"{proxy.name}/login/{through.partition('.')[0]}:1"
    command = ("ci", blasto, "-t", image, "--push", "--engine", "local", "--test", SPY)
    # A process of its own from the start, which the spy knows by its command line.
    done = deploy(*command, home=home, env=environ, prefix=("env",))
    assert done.code == 0, done.err
    assert "deployer ci" in done.err  # the test saw processes
    told = [done.out, done.err]
    assert any("Basic" in each.headers.get("Authorization", "") for each in proxy.log)
    for status in (403, 404, 413):
        fault = proxy.fault("PUT", "/manifests/", answer(status, b'{"errors": [{"code": "DENIED"}]}'), times=-1)
        proxy._faults.insert(0, proxy._faults.pop())  # before the login
        (blasto / "README.md").write_text(f"{status}\n")
        done = deploy("ci", blasto, "-t", image, "--push", "--no-boot", "--json", home=home, env=environ)
        assert done.code == 30, done.err
        assert fault.met
        fault.times = fault.met
        told += [done.out, done.err]
    wrong = login(through, proxy.name, tmp_path, password=f"{PASSWORD}-wrong")
    done = deploy("ci", blasto, "-t", image, "--push", "--no-boot", home=home, env={**environ, **wrong})
    assert done.code == 30
    told += [done.out, done.err, (tmp_path / "summary").read_text(), (tmp_path / "outputs").read_text()]
    found = [secret for secret in (*SECRETS, "planted") for text in told if secret in text]
    assert found == []
    for path in home.rglob("*"):
        if path.is_file() and path.stat().st_size < 1 << 20:
            content = unpacked(path.read_bytes())
            assert not any(secret.encode() in content for secret in SECRETS), path


def login(through: str, host: str, folder: Path, *, password: str = PASSWORD) -> dict[str, str]:
    if through == "variables":
        return {"DEPLOY_REGISTRY_USER": USER, "DEPLOY_REGISTRY_PASSWORD": password}
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (folder / "docker").mkdir(exist_ok=True)
    (folder / "docker" / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return {"DOCKER_CONFIG": str(folder / "docker")}


def test_a_registry_that_lets_nobody_in_is_30_before_anything_is_built(
    proxy: Proxy, blasto: Path, tmp_path: Path
) -> None:
    proxy.fault("", "", demand_login, times=-1)
    done = deploy("ci", blasto, "-t", f"{proxy.name}/login/none:1", "--push", "--json", home=tmp_path / "home")
    assert done.code == 30
    steps = {step["name"]: step["status"] for step in json.loads(done.out)["steps"]}
    assert steps == {"check": "passed", "build": "failed", "test": "skipped", "boot": "skipped", "push": "skipped"}


def authorities() -> list[str]:
    """Return the options that let a container trust what this machine trusts."""
    options = []
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_INDEX_URL", "HTTPS_PROXY", "NO_PROXY"):
        value = os.environ.get(name, "")
        if value.startswith("/"):
            options += ["-v", f"{Path(value).resolve()}:/authorities/{name}:ro", "-e", f"{name}=/authorities/{name}"]
        elif value:
            options += ["-e", name]
    return options


def test_in_a_container_without_an_engine_privileges_or_a_writable_root(
    registry: str, engine: str, home: Path, blasto: Path
) -> None:
    host, base, image = Host(address=engine, product="docker"), "deploytestci:base", f"{registry}/readonly/blasto:1"
    # Any image with this Python will do: the tool and what it depends on are this machine's.
    assert deploy("build", EXAMPLES / "blasto", "-t", base, "--to", "docker", "-q", home=home).code == 0
    own = sysconfig.get_path("purelib")
    blasto.chmod(0o755)
    command = [
        *("run", "--rm", "--read-only", "--tmpfs", "/tmp:exec,mode=1777", "--network", "host"),
        *("--user", "12345:12345", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("-v", f"{ROOT}:/tool:ro", "-v", f"{own}:/packages:ro", "-v", f"{blasto}:/shop:ro"),
        *("-e", "PYTHONPATH=/tool:/packages", *authorities()),
        *("--entrypoint", "/opt/venv/bin/python", base, "-m", "deployer"),
        *("ci", "/shop", "-t", image, "--push", "--test", "id -u; pytest -q", "--json"),
    ]
    try:
        report = json.loads(host.docker(*command))
    finally:
        host.docker("rmi", "-f", base)
    assert [step["status"] for step in report["steps"]] == ["passed"] * 5
    assert "in a virtual environment on this machine" in report["steps"][2]["reason"]
    assert tagged(image) == report["digest"]
