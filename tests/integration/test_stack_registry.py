"""Stacks that are images: pulled from a real registry, or read from disk."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildpack.errors import AppError, StackError
from buildpack.oci.archive import write_oci_dir
from buildpack.oci.image import assemble
from buildpack.oci.store import Store
from buildpack.stacks.platforms import native_platform
from buildpack.stacks.resolve import fetch_layers, resolve_stack
from buildpack.stacks.run_python import start_interpreter
from buildpack.stacks.stack import Facts, Interpreter, Stack, StackRequest
from tests.conftest import missing
from tests.support.stand_in import EXECUTABLE, TAG, make_stand_in, push

pytestmark = pytest.mark.slow

NOW = 1_800_000_000
HOUR = 3600


@pytest.fixture(scope="module")
def stand_in() -> Path:
    try:
        return make_stand_in()
    except RuntimeError as error:
        missing(f"the stand-in for python:3.11-slim could not be made: {error}")


@pytest.fixture(scope="module")
def pushed(stand_in: Path, registry: str) -> str:
    return push(stand_in, registry, "stacks/python:3.11-slim")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def resolve(
    name: str,
    store: Store,
    *,
    python: str | None = "3.11",
    now: float = NOW,
    pull: bool = False,
    known: Facts | None = None,
) -> Stack:
    request = StackRequest(name=name, python=python, platform=native_platform(), pull=pull, now=now)
    return resolve_stack(request, store=store, environ=os.environ, known_facts=lambda _: known)


def make_unreachable(reference: str, store: Store) -> str:
    """Return a reference in a registry that does not answer, of which the store knows what it knows of `reference`."""
    gone = f"127.0.0.1:9/{reference.partition('/')[2]}"
    for fact in list((store.root / "facts/stack-reference").iterdir()):
        remembered = json.loads(fact.read_text())
        if remembered["key"].partition(" ")[0] == reference:
            value = {**remembered["value"], "reference": f"{gone.partition('@')[0]}@{remembered['value']['manifest']}"}
            store.remember("stack-reference", remembered["key"].replace(reference, gone), value)
    return gone


def blobs(store: Store) -> set[str]:
    return {path.name for path in (store.root / "blobs/sha256").iterdir()}


@pytest.mark.registry
def test_a_reference_is_resolved_looked_into_and_remembered(pushed: str, stand_in: Path, store: Store) -> None:
    stack = resolve(pushed, store)
    listed = json.loads((stand_in / "index.json").read_text())["manifests"][0]["digest"]
    assert stack.name == pushed
    assert stack.reference == f"{pushed}@{stack.digest}"
    assert str(stack.digest) == listed
    assert stack.python.executable == EXECUTABLE
    assert stack.python.series == "3.11"
    assert stack.facts.libc == ("glibc", 2, 36)
    assert stack.machine == os.uname().machine
    assert {"libc.so.6", "libstdc++.so.6", "libssl.so.3"} <= stack.facts.sonames
    assert "LANG=C.UTF-8" in stack.config["Env"]
    [warning] = stack.warnings
    assert warning == (
        f"the stack {pushed} is not pinned: today it is {stack.digest}. `deploy lock` writes the digest to deploy.toml."
    )
    assert resolve(pushed, store, now=NOW + 23 * HOUR) == stack
    again = resolve(make_unreachable(pushed, store), store, now=NOW + 23 * HOUR)
    assert (again.digest, len(again.warnings)) == (stack.digest, 1), "the registry is not asked again within a day"


@pytest.mark.registry
def test_a_pinned_reference_warns_of_nothing(pushed: str, store: Store) -> None:
    first = resolve(pushed, store)
    pinned = resolve(first.reference, store)
    assert pinned.digest == first.digest
    assert pinned.warnings == ()
    gone = make_unreachable(first.reference, store)
    again = resolve(gone, store, now=NOW + 10_000 * HOUR)
    assert (again.digest, again.warnings) == (first.digest, ()), "a digest is asked for once"


@pytest.mark.registry
def test_known_facts_spare_the_layers(pushed: str, store: Store, tmp_path: Path) -> None:
    """An empty machine knows the base from an earlier image's annotation: only manifest and config come."""
    facts = resolve(pushed, store).facts
    empty = Store(tmp_path / "empty")
    stack = resolve(pushed, empty, known=facts)
    assert stack.facts == facts
    assert len(blobs(empty)) == 2
    fetch_layers(stack, empty, os.environ)
    assert len(blobs(empty)) == 3
    assert all(empty.verify(layer.digest) for layer in stack.layers)


@pytest.mark.registry
def test_a_moved_tag_is_seen_after_a_day_or_on_demand(
    registry: str, stand_in: Path, store: Store, tmp_path: Path
) -> None:
    reference = push(stand_in, registry, "stacks/moving:1")
    before = resolve(reference, store)
    subprocess.run(["cp", "-r", stand_in, tmp_path / "other"], check=True)
    layout = f"{tmp_path}/other:{TAG}"
    subprocess.run(["umoci", "config", "--image", layout, "--config.label", "moved=yes"], check=True)
    push(tmp_path / "other", registry, "stacks/moving:1")
    assert resolve(reference, store, now=NOW + 23 * HOUR).digest == before.digest
    pulled = resolve(reference, store, now=NOW + HOUR, pull=True)
    assert pulled.digest != before.digest
    again = Store(tmp_path / "again")
    assert resolve(reference, again, now=NOW + 25 * HOUR).digest == pulled.digest


@pytest.mark.registry
def test_a_registry_that_vanished_leaves_what_is_known(pushed: str, store: Store) -> None:
    known = resolve(pushed, store)
    gone = make_unreachable(pushed, store)
    stack = resolve(gone, store, now=NOW + 30 * HOUR)
    assert stack.digest == known.digest
    assert stack.warnings[1].startswith(f"the stack {gone} cannot be looked up now (")
    with pytest.raises(StackError):
        resolve(gone, store, now=NOW + 30 * HOUR, pull=True)


@pytest.mark.registry
def test_dockers_media_types_are_as_good(registry: str, stand_in: Path, store: Store) -> None:
    reference = push(stand_in, registry, "stacks/docker:1", form="v2s2")
    stack = resolve(reference, store)
    assert stack.facts == resolve(f"oci:{stand_in}", store).facts
    assert {layer.media_type for layer in stack.layers} == {"application/vnd.oci.image.layer.v1.tar+gzip"}


@pytest.fixture(params=["oci", "oci named", "oci-archive", "docker-archive"])
def on_disk(request: pytest.FixtureRequest, stand_in: Path, tmp_path: Path) -> Iterator[str]:
    kind = str(request.param)
    if kind.endswith("-archive"):
        copy = ["skopeo", "copy", "--quiet", f"oci:{stand_in}:{TAG}", f"{kind}:{tmp_path}/image.tar:{TAG}"]
        subprocess.run(copy, check=True)
        yield f"archive:{tmp_path}/image.tar"
    else:
        yield f"oci:{stand_in}:{TAG}" if kind == "oci named" else f"oci:{stand_in}"


def test_an_image_on_disk(on_disk: str, stand_in: Path, store: Store, tmp_path: Path) -> None:
    stack = resolve(on_disk, store)
    assert stack.reference == f"{on_disk}@{stack.digest}"
    assert stack.warnings == ()
    assert stack.facts == resolve(f"oci:{stand_in}", store).facts
    empty = Store(tmp_path / "empty")
    fetch_layers(stack, empty, os.environ)
    assert all(empty.verify(layer.digest) for layer in stack.layers)


def test_its_own_interpreter_runs_here_through_its_own_loader(stand_in: Path, store: Store) -> None:
    stack = resolve(f"oci:{stand_in}", store)
    found = start_interpreter(stack, store, {})
    assert isinstance(found, Interpreter)
    assert found.own
    code = "import json, ssl, sqlite3, sys; print(json.dumps([sys.version.split()[0], sys.prefix, ssl.__file__]))"
    ran = subprocess.run([*found.argv, "-c", code], capture_output=True, check=True, env=dict(found.env))
    version, prefix, module = json.loads(ran.stdout)
    folder = str(store.folder("stacks") / stack.digest.hex)
    assert version == stack.python.version
    assert prefix == f"{folder}/usr"
    assert module.startswith(folder)
    maps = subprocess.run(
        [*found.argv, "-c", "print(open('/proc/self/maps').read())"],
        capture_output=True,
        check=True,
        env=dict(found.env),
        encoding="utf-8",
    ).stdout
    libraries = {line.split()[-1] for line in maps.splitlines() if ".so" in line}
    assert libraries
    assert all(path.startswith(folder) for path in libraries)


def test_an_interpreter_that_was_altered_since_it_was_unpacked_is_unpacked_again(stand_in: Path, store: Store) -> None:
    stack = resolve(f"oci:{stand_in}", store)
    start_interpreter(stack, store, {})
    program = store.folder("stacks") / stack.digest.hex / EXECUTABLE.lstrip("/")
    before = program.read_bytes()
    program.write_bytes(b"of another architecture")
    found = start_interpreter(stack, store, {}, own="")
    assert isinstance(found, Interpreter)
    assert found.own
    assert program.read_bytes() == before


def test_another_python_than_the_apps_is_refused(stand_in: Path, store: Store) -> None:
    with pytest.raises(AppError) as caught:
        resolve(f"oci:{stand_in}", store, python="3.12")
    version = resolve(f"oci:{stand_in}", store).python.version
    assert str(caught.value) == (
        f"the app asks for Python 3.12, and the stack oci:{stand_in} has {version}\n\n"
        "Wheels and byte code are made for one minor version of Python.\n\n"
        "hint: use `--stack python:3.12-slim`, or change the version in Pipfile or .python-version and lock again."
    )
    [warning] = resolve(f"oci:{stand_in}", store, python="3.11.99").warnings
    assert warning.startswith(f"the app asks for Python 3.11.99, the stack has {version}.")


def test_an_interpreter_with_a_library_of_its_own(store: Store, tmp_path: Path) -> None:
    """This machine's stack as somebody's base: libpython in a library folder, many gzip members in a layer."""
    host = resolve("host", store, python=None)
    image = assemble(
        host.layers, platform=host.platform, created="1980-01-01T00:00:00Z", config=host.config, annotations={}
    )
    write_oci_dir(image, store.open, tmp_path / "layout", ["docker.io/library/base:1"])
    empty = Store(tmp_path / "empty")
    stack = resolve(f"oci:{tmp_path}/layout", empty, python=None)
    assert stack.python == host.python
    assert stack.facts.libc == host.facts.libc
    assert host.facts.sonames <= stack.facts.sonames
    assert (stack.facts.passwd, stack.facts.group) == (host.facts.passwd, host.facts.group)
    found = start_interpreter(stack, empty, {}, own="")
    assert isinstance(found, Interpreter)
    assert found.own
