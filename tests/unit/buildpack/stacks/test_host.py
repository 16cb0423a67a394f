from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from packageurl import PackageURL

from buildpack.errors import StackError
from buildpack.oci.image import assemble
from buildpack.oci.store import Store
from buildpack.stacks.find_python import choose, find_candidates
from buildpack.stacks.packages import parse_packages
from buildpack.stacks.platforms import native_platform, parse_platform
from buildpack.stacks.resolve import fetch_layers, resolve_stack
from buildpack.stacks.run_python import start_interpreter
from buildpack.stacks.stack import Interpreter, Stack, StackRequest
from tests.support.validate import validate
from tests.unit.buildpack.stacks.test_find_python import HERE, VERSION


def resolve(store: Store, python: str | None = HERE, **changes: object) -> Stack:
    arguments = {"name": "host", "python": python, "platform": native_platform(), **changes}
    request = StackRequest(**arguments)  # type: ignore[arg-type]
    return resolve_stack(request, store=store, environ={"PATH": "/usr/bin"})


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store that knows this machine's stack, for tests that only look."""
    store = Store(tmp_path_factory.mktemp("gathered"))
    resolve(store)
    return store


def test_the_stack_is_gathered_once(gathered: Store) -> None:
    store = gathered
    first = resolve(store)
    assert first.name == first.reference == "host"
    assert first.python.version == VERSION
    assert first.python.executable == f"/usr/local/bin/python{HERE}"
    assert first.machine == os.uname().machine
    assert {"libc.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libz.so.1"} <= first.facts.sonames
    assert first.facts.passwd is not None
    assert "app:x:1000:1000:app:/app:" in first.facts.passwd
    assert first.facts.group is not None
    assert "app:x:1000:" in first.facts.group
    assert all(store.has(layer.digest, layer.size) for layer in first.layers)
    assert list(store.folder("tmp").iterdir()) == []
    assert resolve(store) == first


def test_a_known_stack_starts_no_process_and_imports_nothing_heavy(gathered: Store) -> None:
    """A build in which nothing changed, in a process of its own."""
    root = str(gathered.root)
    code = (
        "import os, sys; from pathlib import Path; from buildpack.oci.store import Store\n"
        "from buildpack.stacks.platforms import native_platform\n"
        "from buildpack.stacks.resolve import resolve_stack\n"
        "from buildpack.stacks.stack import StackRequest\n"
        f"request = StackRequest(name='host', python={HERE!r}, platform=native_platform())\n"
        f"resolve_stack(request, store=Store(Path({root!r})), environ={{'PATH': '/usr/bin'}})\n"
        "heavy = {'subprocess', 'concurrent.futures', 'tempfile', 'tarfile', 'requests', 'packaging', 'certifi'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert ran.stdout == "[]\n"


def test_every_layer_is_sound(gathered: Store) -> None:
    stack = resolve(gathered)
    image = assemble(
        stack.layers, platform=stack.platform, created="1980-01-01T00:00:00Z", config=stack.config, annotations={}
    )
    gathered.put_image(image, ["docker.io/library/bare:latest"])
    assert validate(image, gathered.open) == []


def test_the_image_names_the_packages_of_its_files(gathered: Store, tmp_path: Path) -> None:
    stack = resolve(gathered)
    with tarfile.open(gathered.path(stack.layers[1].digest)) as layer:
        body = layer.extractfile("var/lib/dpkg/status")
        assert body is not None
        (tmp_path / "status").write_bytes(body.read())
        named = {path.split("/")[3] for path in layer.getnames() if path.endswith("/copyright")}
    command = ["dpkg-query", f"--admindir={tmp_path}", "--showformat=${Package}=${Version}\\n", "-W"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert {"libc6", "dash", "tzdata"} <= {line.partition("=")[0] for line in listed}
    listing = parse_packages(stack.packages)
    found = [PackageURL.from_string(url) for url in listing]
    assert {"libc6", "dash", "tzdata"} <= named <= {package.name for package in found}
    assert [names for url, names in listing.items() if "/zlib1g@" in url] == [("Zlib",)]
    assert [f"{package.name}={package.version}" for package in found] == sorted(listed)
    installed = subprocess.run(["dpkg-query", command[2], "-W"], capture_output=True, text=True, check=True).stdout
    assert set(listed) <= set(installed.split())


def test_an_upgraded_interpreter_is_noticed(store: Store, tmp_path: Path) -> None:
    found = choose(HERE, find_candidates(HERE, environ={}, own=sys.executable), {})
    assert found is not None
    copy = tmp_path / f"python{HERE}"
    shutil.copy(found.executable, copy)
    before = resolve(store, own=str(copy))
    upgraded = copy.read_bytes() + b"more"
    copy.write_bytes(upgraded)
    after = resolve(store, own=str(copy))
    assert after.digest != before.digest
    assert after.layers[0] == before.layers[0]


def test_a_changed_library_is_noticed(store: Store) -> None:
    """The witnesses are real files of this machine, so what was remembered of them is changed instead."""
    before = resolve(store)
    [fact] = (store.root / "facts/host").iterdir()
    remembered = json.loads(fact.read_text())
    witness = next(each for each in remembered["value"]["witnesses"] if "libc.so.6" in each[0])
    witness[1] += 1
    remembered["value"]["facts"]["passwd"] = "stale"
    fact.write_text(json.dumps(remembered))
    assert resolve(store) == before


def test_a_layer_that_vanished_is_gathered_again(store: Store) -> None:
    stack = resolve(store)
    store.path(stack.layers[1].digest).unlink()
    assert resolve(store) == stack
    assert store.has(stack.layers[1].digest)


def test_its_interpreter_is_this_machines_own(gathered: Store) -> None:
    stack = resolve(gathered)
    found = start_interpreter(stack, gathered, {})
    assert isinstance(found, Interpreter)
    ran = subprocess.run(
        [*found.argv, "-c", "import sys; print(sys.version.split()[0])"], capture_output=True, check=True
    )
    assert ran.stdout.decode().strip() == found.version == VERSION
    fetch_layers(stack, gathered, {})


def test_another_patch_level_is_a_warning(gathered: Store) -> None:
    [warning] = resolve(gathered, f"{HERE}.99").warnings
    assert warning == (
        f"the app asks for Python {HERE}.99, the stack has {VERSION}. The same wheels fit both, "
        f"but a lock made on {HERE}.99 may lack packages that {VERSION} needs."
    )
    assert resolve(gathered, VERSION).warnings == ()


@pytest.mark.parametrize(("system", "name"), [("darwin", "macOS"), ("win32", "Windows"), ("freebsd14", "freebsd14")])
def test_another_system_gets_a_hint(store: Store, system: str, name: str) -> None:
    with pytest.raises(StackError) as caught:
        resolve(store, "3.12", system=system)
    assert str(caught.value) == (
        f"the host stack needs Linux, and this is {name}\n\n"
        "It puts this machine's own Python and shared libraries into the image, and images run on Linux.\n\n"
        "hint: take a base image from a registry: `--stack python:3.12-slim`, "
        'or `stack = "python:3.12-slim"` in deploy.toml.'
    )
    assert caught.value.exit_code == 30


def test_another_architecture_gets_a_hint(store: Store) -> None:
    with pytest.raises(StackError) as caught:
        resolve(store, "3.12", platform=parse_platform("linux/s390x"))
    assert str(caught.value).startswith("the host stack cannot make an image for linux/s390x: this machine is linux/")
    assert str(caught.value).endswith(
        "\n\nhint: take a base image from a registry: `--stack python:3.12-slim --platform linux/s390x`."
    )


def test_without_such_a_python_all_others_are_listed(store: Store, tmp_path: Path) -> None:
    own = str(getattr(sys, "_base_executable", sys.executable))
    with pytest.raises(StackError) as caught:
        resolve(store, "3.77", own=own)
    what, why, *listed, hint = str(caught.value).split("\n\n")
    assert what == "there is no Python 3.77 on this machine for the host stack"
    assert why == "PATH, pyenv's versions, /usr/local/bin and /usr/bin were searched. They have:"
    assert f"  {VERSION:8} {os.path.realpath(own)}" in listed[0].split("\n")
    assert hint == (
        "hint: install it (`pyenv install 3.77`, or your system's package python3.77), "
        "or take a base image from a registry: `--stack python:3.77-slim`."
    )
