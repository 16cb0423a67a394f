"""Wheels with the locked hash that were packed wrongly, or to do harm: refused in words by `build` and by `local`."""

from __future__ import annotations

import io
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildpack.errors import DependencyError
from tests.support.command import Done, deploy
from tests.support.index import Index, serving
from tests.support.tiny import build_here, entry, environ, with_stack, write_app
from tests.support.wheels import Packed, write_wheel

NAME = "demo-1.0-py3-none-any.whl"
STORED = zipfile.ZIP_STORED


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with serving() as served:
        yield served


def demo(folder: Path) -> bytearray:
    """A good wheel, with files of every kind: compiled, spliced, in pieces, stored."""
    files = {
        "demo/__init__.py": b"ANSWER = 42\n" * 10,
        "demo/large.bin": os.urandom(40_000) + bytes(40_000),
        "demo/stored.bin": Packed(b"stored" * 2000, method=STORED),
    }
    return bytearray(write_wheel(folder, files).read_bytes())


def directory_of(wheel: bytearray, name: str) -> int:
    """Return the place in the central directory that describes a file."""
    at = wheel.index(b"PK\1\2")
    while wheel[at + 46 : at + 46 + len(name)] != name.encode():
        at = wheel.index(b"PK\1\2", at + 4)
    return at


def spoil_crc(wheel: bytearray, name: str) -> None:
    wheel[directory_of(wheel, name) + 16] ^= 1


def spoil_body(wheel: bytearray, name: str) -> None:
    (header,) = struct.unpack_from("<I", wheel, directory_of(wheel, name) + 42)
    wheel[header + 30 + len(name) + 9] ^= 0xFF


def spoil_size(wheel: bytearray, name: str) -> None:
    """The directory states a few bytes, but a bomb comes: only the first bytes are ever inflated."""
    at = directory_of(wheel, name) + 24
    wheel[at : at + 4] = struct.pack("<I", 11)


FILES = ("demo/__init__.py", "demo/large.bin", "demo/stored.bin")
SPOILT: dict[str, tuple[Callable[[bytearray, str], object], str]] = {
    **{f"the checksum of {name}": (spoil_crc, name) for name in FILES},
    **{f"the bytes of {name}": (spoil_body, name) for name in FILES},
    **{f"the size of {name}": (spoil_size, name) for name in FILES[:2]},
}


def locked(folder: Path, index: Index, wheel: bytes) -> Path:
    index.projects.clear()
    index.add("demo", NAME, wheel)
    return write_app(folder / "app", {"demo": entry(wheel)})


def told(done: Done) -> str:
    assert (done.code, done.out) == (20, ""), done
    assert "Traceback" not in done.err
    assert "hint: " in done.err
    return done.err


def metadata(name: str, version: str) -> bytes:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()


def test_one_that_is_another_package_than_the_lock_says(index, seed, tmp_path):
    """A changed hash in a lock would install another package under a name that reads well."""
    renamed = write_wheel(tmp_path, {}, name="evil", version="1.0")
    newer = write_wheel(tmp_path, {"demo-1.0.dist-info/METADATA": metadata("demo", "2.0")})
    home, env = with_stack(seed, tmp_path / "home"), {**os.environ, **environ(index)}
    cases = [(renamed, "evil 1.0", ["build", "-q"], []), (newer, "demo 2.0", ["local"], ["--", "true"])]
    for wheel, says, command, rest in cases:
        index.projects.clear()
        index.add("demo", wheel.name, wheel.read_bytes())
        app = write_app(tmp_path / command[0], {"demo": entry(wheel.read_bytes())})
        # `local` says first that it fetches packages, if that takes a while.
        assert told(deploy(*command, app, *rest, home=home, env=env)).endswith(
            f"error: {wheel.name} is not demo 1.0\n\n"
            f"Pipfile.lock lists its hash for demo 1.0, and its METADATA says {says}.\n\n"
            f"hint: find out who changed Pipfile.lock; `deploy lock {app}` writes the hashes that the index has.\n"
        )


def test_one_that_was_looked_into_under_its_own_name(index, seed, tmp_path):
    """Facts that a store has about a wheel are compared with each lock again."""
    wheel = write_wheel(tmp_path, {}, name="evil", version="1.0")
    content, home, env = wheel.read_bytes(), with_stack(seed, tmp_path / "home"), {**os.environ, **environ(index)}
    index.projects.clear()
    for name in ("evil", "demo"):
        index.add(name, wheel.name, content)
    assert deploy("build", write_app(tmp_path / "own", {"evil": entry(content)}), "-q", home=home, env=env).code == 0
    done = deploy("build", write_app(tmp_path / "app", {"demo": entry(content)}), "-q", home=home, env=env)
    assert told(done).startswith(f"error: {wheel.name} is not demo 1.0\n")


@pytest.mark.parametrize("how", list(SPOILT))
def test_one_that_is_packed_wrongly(index, seed, tmp_path, how):
    spoil, name = SPOILT[how]
    wheel = demo(tmp_path)
    spoil(wheel, name)
    app, home = locked(tmp_path, index, bytes(wheel)), with_stack(seed, tmp_path / "home")
    env = {**os.environ, **environ(index)}
    assert told(deploy("build", app, "-q", home=home, env=env)).startswith(
        (f"error: {NAME} is not a readable wheel\n", f"error: {NAME} holds a file that cannot go into an image\n")
    )
    assert told(deploy("local", app, "--", "true", home=home, env=env)).startswith(
        ("error: a locked package is packed wrongly\n", f"error: {NAME} holds a file that cannot go into an image\n")
    )
    assert list((home / "environments").glob("*")) == []


def test_a_module_that_inflates_to_more_memory_than_there_is(index, seed, tmp_path):
    """Told to have some bytes: the compiler's process would have held all of it."""
    out = io.BytesIO(write_wheel(tmp_path, {"demo/__init__.py": b"#" * (512 << 20)}).read_bytes())
    wheel = bytearray(out.getvalue())
    spoil_size(wheel, "demo/__init__.py")
    app, home = locked(tmp_path, index, bytes(wheel)), with_stack(seed, tmp_path / "home")
    limited = ("sh", "-c", 'ulimit -v 600000; exec "$@"', "sh")
    done = deploy("build", app, "-q", home=home, env={**os.environ, **environ(index)}, prefix=limited)
    assert told(done).startswith((f"error: {NAME} is not a readable wheel\n", f"error: {NAME} holds a file that "))


@pytest.mark.parametrize(
    "name",
    ["../evil", "/tmp/deploy-test-evil", "demo/.wh.x", "demo/a\\b", "demo/new\nline", "C:/evil", "demo//x", "demo/./x",
     "demo-1.0.data/data/../../evil", "demo-1.0.data/scripts/../evil", "demo-1.0.data/data/pyvenv.cfg"],
)  # fmt: skip
def test_names_that_lead_out(index, seed, tmp_path, name):
    wheel = write_wheel(tmp_path, {name: b"x"}).read_bytes()
    app, home = locked(tmp_path, index, wheel), with_stack(seed, tmp_path / "home")
    with pytest.raises(DependencyError) as caught:
        build_here(app, home, {**os.environ, **environ(index)})
    assert caught.value.what in {
        f"{NAME} holds a file that cannot go into an image",
        f"{NAME} cannot be installed",
    }
    assert not list(tmp_path.rglob("*evil*"))
    assert not Path("/tmp/deploy-test-evil").exists()
