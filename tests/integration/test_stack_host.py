"""The host stack of every interpreter on this machine: does it run where nothing else is, and is it always the same?"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildpack.oci.archive import write_oci_dir
from buildpack.oci.image import assemble
from buildpack.oci.store import Store
from buildpack.stacks.find_python import HostPython
from buildpack.stacks.platforms import native_platform
from buildpack.stacks.resolve import resolve_stack
from buildpack.stacks.stack import Stack, StackRequest
from buildpack.stacks.stdlib import build_folders
from tests.support.endurance import drawn
from tests.support.pythons import all_pythons, known_python
from tests.support.rootfs import run_in, unpack

THIS = os.path.realpath(sys.executable)
TRIED = [path for _, path in all_pythons() if os.path.realpath(path) == THIS]
OTHERS = [path for _, path in all_pythons() if path not in TRIED]
TRIED += drawn(OTHERS, min(2, len(OTHERS)))
"""This interpreter, and some of the others; all of them at full scale."""

MODULES = [
    "ssl",
    "sqlite3",
    "ctypes",
    "lzma",
    "bz2",
    "zlib",
    "zoneinfo",
    "decimal",
    "asyncio",
    "hashlib",
    "uuid",
    "readline",
    "curses",
    "multiprocessing",
]


def resolve(python: HostPython, store: Store, folder: Path) -> Stack:
    """Resolve the stack of exactly this interpreter, through a folder that holds nothing else."""
    folder.mkdir(exist_ok=True)
    (folder / f"python{python.series}").unlink(missing_ok=True)
    (folder / f"python{python.series}").symlink_to(python.executable)
    name = str(folder / f"python{python.series}")
    return resolve_own(python.version, store, {}, own=name)


def resolve_own(version: str, store: Store, environ: dict[str, str], *, own: str) -> Stack:
    request = StackRequest(name="host", python=version, platform=native_platform(), own=own)
    return resolve_stack(request, store=store, environ=environ)


@pytest.fixture(scope="module", params=TRIED, ids=lambda path: path.strip("/").replace("/", "-"))
def python(request: pytest.FixtureRequest) -> HostPython:
    return known_python(request.param)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def stack(python: HostPython, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return resolve(python, store, tmp_path_factory.mktemp("path"))


@pytest.fixture(scope="module")
def root(stack: Stack, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(stack.layers, store, tmp_path_factory.mktemp("root") / "root")


def environment(stack: Stack) -> dict[str, str]:
    return dict(text.partition("=")[::2] for text in stack.config["Env"])


def python_in(root: Path, stack: Stack, code: str) -> str:
    ran = run_in(root, stack.python.executable, "-c", code, env=environment(stack))
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_the_standard_library_works(root: Path, stack: Stack, python: HostPython) -> None:
    wanted = [name for name in MODULES if name not in python.lacking]
    assert python_in(root, stack, f"import {', '.join(wanted)}, sys; print(sys.version.split()[0])") == python.version
    assert python_in(root, stack, "import sys; print(sys.prefix, sys.exec_prefix)") == "/usr/local /usr/local"
    assert python_in(root, stack, "import os, zoneinfo; print(zoneinfo.ZoneInfo('Europe/Paris'))") == "Europe/Paris"
    assert python_in(root, stack, "import time; print(time.tzname[0])") == "UTC"


def test_its_byte_code_is_used(root: Path, stack: Stack) -> None:
    """Every module that a web app starts with, and none is compiled again."""
    ran = run_in(
        root, stack.python.executable, "-v", "-c", "import asyncio, json, logging, email", env=environment(stack)
    )
    assert ran.returncode == 0
    assert "asyncio/__pycache__" in ran.stderr
    # -v puts the path of a pyc in quotes, and that of a source it had to compile not.
    assert "code object from '/usr/local/lib" in ran.stderr
    assert "code object from /" not in ran.stderr


def test_certificates_are_certifis(root: Path, stack: Stack) -> None:
    import certifi

    assert (root / "etc/ssl/certs/ca-certificates.crt").read_bytes() == Path(certifi.where()).read_bytes()
    count = "import ssl; print(ssl.create_default_context().cert_store_stats()['x509_ca'])"
    assert int(python_in(root, stack, count)) > 100
    # Also where the environment was cleaned, since OpenSSL's own default leads there.
    ran = run_in(root, stack.python.executable, "-c", count)
    assert int(ran.stdout) > 100


def test_procfiles_can_call_a_shell(root: Path, stack: Stack) -> None:
    env = environment(stack)
    ran = run_in(
        root, "/bin/sh", "-c", "echo one two | sed s/one/1/ | grep -o 1 && ls / >/dev/null && python3 -V", env=env
    )
    assert (ran.returncode, ran.stdout) == (0, f"1\nPython {stack.python.version}\n"), ran.stderr
    ran = run_in(root, "/bin/bash", "-c", "set -o pipefail; test $(printf 'a\\nb\\n' | wc -l) = 2", env=env)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_names_are_resolved(root: Path, stack: Stack) -> None:
    assert python_in(root, stack, "import socket; print(socket.gethostbyname('localhost'))") == "127.0.0.1"
    assert python_in(root, stack, "import pwd; print(pwd.getpwuid(1000).pw_dir)") == "/app"
    assert python_in(root, stack, "import socket; print(socket.getservbyname('https'))") == "443"
    if os.geteuid() != 0:
        pytest.skip("port 53 of a loopback address is root's; run as root to run this test")
    with name_server("127.0.53.53", answer="192.0.2.77"):
        (root / "etc/resolv.conf").write_text("nameserver 127.0.53.53\noptions attempts:1 timeout:2\n")
        try:
            code = "import socket; print(socket.gethostbyname('web.example'))"
            assert python_in(root, stack, code) == "192.0.2.77"
        finally:
            (root / "etc/resolv.conf").unlink()


@contextmanager
def name_server(address: str, *, answer: str) -> Iterator[None]:
    """Answer every question with one address (RFC 1035, 4.1)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((address, 53))

        def serve() -> None:
            while True:
                question, client = server.recvfrom(512)
                if question == b"stop":
                    return
                end = question.index(b"\0", 12) + 5
                record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 60, 4) + socket.inet_aton(answer)
                server.sendto(question[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question[12:end] + record, client)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"stop", (address, 53))
            thread.join()


def test_nothing_of_this_machine_leaks(root: Path, python: HostPython) -> None:
    texts = [str(Path.home()).encode() + b"/", *(folder.encode() for folder in build_folders(python))]
    names = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(names) > 1000
    leaks = [(path, text) for path in names for body in [path.read_bytes()] for text in texts if text in body]
    assert leaks == []
    links = [path for path in root.rglob("*") if path.is_symlink()]
    assert [path for path in links if not (root / os.path.realpath(path)).exists() and dangling(root, path)] == []


def dangling(root: Path, link: Path) -> bool:
    target = str(link.readlink())
    inside = root / target.lstrip("/") if target.startswith("/") else link.parent / target
    return not os.path.lexists(inside)


def test_what_images_do_without_is_left_out(root: Path, stack: Stack) -> None:
    library = root / f"usr/local/lib/python{stack.python.series}"
    for name in ("test", "tkinter", "idlelib", "ensurepip", "turtledemo", "site-packages", "unittest/test"):
        assert not (library / name).exists(), name
    assert not list(root.rglob("libX11*"))
    assert not list(root.rglob("libtk*"))
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777


def test_a_virtual_environment_works_on_it(root: Path, stack: Stack) -> None:
    """As the image has it: `pyvenv.cfg` and a link, packages in its own folder, `.pth` files executed."""
    packages = root / f"opt/venv/lib/python{stack.python.series}/site-packages"
    packages.mkdir(parents=True, exist_ok=True)
    (packages / "there.py").write_text("VALUE = 'found'\n")
    (packages / "some.pth").write_text("import sys; sys.pth_was_executed = True\n")
    (root / "opt/venv/pyvenv.cfg").write_text(f"home = /usr/local/bin\nversion = {stack.python.version}\n")
    (root / "opt/venv/bin").mkdir(exist_ok=True)
    (root / "opt/venv/bin/python").unlink(missing_ok=True)
    (root / "opt/venv/bin/python").symlink_to(stack.python.executable)
    code = "import sys, there; print(there.VALUE, sys.prefix, sys.base_prefix, sys.pth_was_executed)"
    ran = run_in(root, "/opt/venv/bin/python", "-c", code, env=environment(stack))
    assert (ran.returncode, ran.stdout) == (0, "found /opt/venv /usr/local True\n"), ran.stderr


def test_a_virtual_environment_stands_for_its_base(
    python: HostPython, stack: Stack, store: Store, tmp_path: Path
) -> None:
    subprocess.run([python.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    environ = {"VIRTUAL_ENV": str(tmp_path / "venv")}
    assert resolve_own(python.series, store, environ, own="") == stack


@pytest.mark.slow
def test_always_the_same_bits(python: HostPython, stack: Stack, tmp_path: Path) -> None:
    """Another umask, time zone, locale, hash seed and folder, a cold store: the same digest."""
    name = tmp_path / "path"
    name.mkdir()
    (name / f"python{python.series}").symlink_to(python.executable)
    code = (
        "import sys; from pathlib import Path; from buildpack.oci.store import Store\n"
        "from buildpack.stacks.platforms import native_platform\n"
        "from buildpack.stacks.resolve import resolve_stack\n"
        "from buildpack.stacks.stack import StackRequest\n"
        "_, version, folder, own = sys.argv\n"
        "request = StackRequest(name='host', python=version, platform=native_platform(), own=own)\n"
        "print(resolve_stack(request, store=Store(Path(folder)), environ={}).digest)"
    )
    hostile = {
        "TZ": "Pacific/Chatham",
        "LC_ALL": "C",
        "PYTHONHASHSEED": "4711",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
    }
    arguments = [
        sys.executable,
        "-c",
        code,
        python.version,
        str(tmp_path / "store"),
        str(name / f"python{python.series}"),
    ]
    ran = subprocess.run(
        arguments, capture_output=True, check=False, encoding="utf-8", env=hostile, cwd=tmp_path, umask=0o077
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == str(stack.digest)


@pytest.mark.engine
@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed; install it to run this test")
def test_an_engine_runs_it(engine: str, stack: Stack, store: Store, tmp_path: Path) -> None:
    """Read-only, as a user that has no name, with nothing but the stack in the image."""
    image = assemble(
        stack.layers, platform=stack.platform, created="1980-01-01T00:00:00Z", config=stack.config, annotations={}
    )
    tag = f"stacks-test:{stack.python.version}-{os.getpid()}"
    write_oci_dir(image, store.open, tmp_path / "layout", [f"docker.io/library/{tag}"])
    docker = ["docker", "--host", engine]
    copy = ["skopeo", "copy", "--quiet", "--dest-daemon-host", engine]
    subprocess.run([*copy, f"oci:{tmp_path}/layout", f"docker-daemon:{tag}"], check=True)
    try:
        code = "import json, os, ssl, sqlite3; print(json.dumps([os.getuid(), os.environ['SSL_CERT_FILE']]))"
        limits = ["--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp", "--user", "12345"]
        ran = subprocess.run(
            [*docker, "run", *limits, tag, "python3", "-c", code], capture_output=True, check=False, encoding="utf-8"
        )
        assert ran.returncode == 0, ran.stderr
        assert json.loads(ran.stdout) == [12345, "/etc/ssl/certs/ca-certificates.crt"]
    finally:
        subprocess.run([*docker, "rmi", "--force", tag], capture_output=True, check=False)
