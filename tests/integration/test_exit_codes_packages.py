"""`build` ends with 20 and says why if a package cannot be fetched, verified or built.

The index is on loopback; the store has this machine's stack already.
"""

from __future__ import annotations

import base64
import gzip
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.command import Done, deploy
from tests.support.images import unpacked
from tests.support.index import Index, make_wheel, serving, sha256
from tests.support.ports import free_port
from tests.support.tiny import add_wheels, entry, environ, with_stack, write_app


@pytest.fixture
def index() -> Iterator[Index]:
    with serving() as served:
        yield served


def host_of(index: Index) -> str:
    return environ(index)["TINY_INDEX"]


def failing(app: Path, home: Path, index: Index, **env: str) -> str:
    """Build, and return the message; it is all that is said."""
    done = deploy("build", app, "-q", home=home, env={**environ(index), **env})
    assert (done.code, done.out) == (20, ""), done
    return done.err


def test_a_wheel_that_is_not_the_locked_one(index, home, tmp_path):
    filename, content = make_wheel("alpha", "1.0")
    index.add("alpha", filename, content)
    index.instead[filename] = b"tampered with".ljust(len(content))
    app = write_app(tmp_path / "app", {"alpha": entry(content)})
    assert failing(app, home, index) == (
        f"error: {filename} is not the file that was locked\n\n"
        f"http://${{TINY_INDEX}}/files/{filename}\n"
        f"should have sha256:{sha256(content)}\n"
        f"but has     sha256:{sha256(index.instead[filename])}\n\n"
        "hint: something between here and the index changed it, or alpha was uploaded again. "
        "Do not work around this: find out who did.\n"
    )
    del index.instead[filename]
    assert deploy("build", app, "-q", home=home, env=environ(index)).code == 0, "nothing of it was kept"


def test_everything_wrong_with_packages_is_reported_at_once(index, home, tmp_path):
    filename, content = make_wheel("bravo", "1.0")
    index.add("bravo", filename, content)
    mac, for_mac = make_wheel("charlie", "1.0", tag="cp311-cp311-macosx_11_0_arm64")
    index.add("charlie", mac, for_mac)
    packages = {"alpha": entry(b"gone"), "bravo": entry(b"another upload"), "charlie": entry(for_mac)}
    app = write_app(tmp_path / "app", packages, python="3.11")
    said = failing(app, home, index)
    python = said.partition("The stack is CPython ")[2].partition(".")[2].partition(" The files")[0]
    assert said == (
        "error: no index has alpha\n\n"
        f"Pipfile:7 asks for it; not found: http://${{TINY_INDEX}}/simple/alpha/.\n\n"
        "hint: if it is on a private index, add that to Pipfile as a [[source]], "
        f"run `deploy lock {app}`, and build again.\n\n"
        "error: bravo 1.0 on the index is not what was locked\n\n"
        f"Pipfile:8 asks for it, and Pipfile.lock has no hash of its files on the index: {filename}.\n\n"
        f"hint: if the release was uploaded again, run `deploy lock {app}`, commit Pipfile.lock, and build again.\n\n"
        "error: no file of charlie 1.0 fits the stack\n\n"
        f"The stack is CPython 3.{python} The files of charlie 1.0 (Pipfile:9) are not for it:\n"
        f"  for another machine or system: {mac}\n"
        "It works only on macOS, and the lock asks for it on every system.\n\n"
        'hint: write charlie = {version = "*", markers = "sys_platform == \'darwin\'"} into Pipfile, run '
        f"`deploy lock {app}`, and build again.\n"
    )


def test_an_index_out_of_reach(index, home, tmp_path):
    app = write_app(tmp_path / "app", {"delta": entry(b"")})
    host = f"127.0.0.1:{free_port()}"
    assert failing(app, home, index, TINY_INDEX=host) == (
        "error: ${TINY_INDEX} cannot be reached\n\n"
        "http://${TINY_INDEX}/simple/delta/ was requested 5 times; the last time: it refused the connection.\n\n"
        "hint: check the network and the index's status page, and build again: files that arrived are kept.\n"
    )


def test_a_variable_of_the_index_is_not_set(home, tmp_path):
    app = write_app(tmp_path / "app", {"delta": entry(b"")})
    done = deploy("build", app, home=home)
    assert (done.code, done.out) == (20, "")
    assert done.err == (
        "error: TINY_INDEX is not set\n\n"
        "The source `tiny` has ${TINY_INDEX} in its address in Pipfile.lock.\n\n"
        "hint: set TINY_INDEX in the environment of `deploy`.\n"
    )


def test_sources_that_do_not_build(index, home, tmp_path):
    content = sdist(
        "echo",
        setup="import sys\nprint('configuring echo')\nsys.exit('echo.c:1:10: fatal error: echo.h: No such file')\n",
    )
    index.add("echo", "echo-1.0.tar.gz", content)
    app = write_app(tmp_path / "app", {"echo": entry(content)})
    assert failing(app, home, index) == (
        "error: echo 1.0 could not be built\n\n"
        "It has no wheel for the stack, so it was built from echo-1.0.tar.gz, and that failed. Missing: the header "
        "echo.h. From its output:\n"
        "  configuring echo\n"
        "  echo.c:1:10: fatal error: echo.h: No such file\n"
        f"The whole log, which -v prints: {home}/logs/echo-1.0.log\n\n"
        "hint: install the missing parts on this machine, and on the stack those that the package needs to run.\n"
    )
    app = write_app(tmp_path / "verbose", {"echo": entry(content)})
    log = (home / "logs" / "echo-1.0.log").read_text()
    for command in (("build",), ("ci", "--no-boot"), ("run", "--engine", "local"), ("local",)):
        done = deploy(*command, app, "-v", home=home, env=environ(index))
        assert done.code == 20, done.err
        assert f"{home}/logs/echo-1.0.log:\n{log}" in done.err


def sdist(name: str, *, setup: str) -> bytes:
    """An archive of sources whose build is `setup`, without any build backend to fetch."""
    backend = "".join(f"    {line}\n" for line in setup.splitlines())
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": f"def build_wheel(directory, config_settings=None, metadata_directory=None):\n{backend}",
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{name}-1.0/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return out.getvalue()


# Logins

LOGIN = "http://${INDEX_USER}:${INDEX_PASSWORD}@${TINY_INDEX}/simple"
USER, PASSWORD = "deploy-bot", "s3cr3t/p@ss:w0rd"


def traces(done: Done, *folders: Path) -> list[str]:
    """Return the places that hold the login in any form: output, files, compressed layers."""
    pair = f"{USER}:{PASSWORD}".encode()
    secrets = {PASSWORD.encode(), quote(PASSWORD, safe="").encode(), quote(PASSWORD).encode(), base64.b64encode(pair)}
    places = {"stdout": done.out.encode(), "stderr": done.err.encode()}
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        body = path.read_bytes()
        places[str(path)] = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else unpacked(body)
        places[f"the name of {path}"] = str(path).encode()
    return [place for place, body in places.items() if any(secret in body for secret in secrets)]


@pytest.fixture
def private(index: Index) -> Index:
    index.login = f"{USER}:{PASSWORD}"
    return index


def test_a_login_is_used_and_leaves_no_trace(private, seed, tmp_path):
    packages = add_wheels(private, tmp_path / "wheels", "alpha", "bravo")
    app = write_app(tmp_path / "app", packages, source=LOGIN)
    home, out = with_stack(seed, tmp_path / "home"), tmp_path / "image.tar"
    env = {**environ(private), "INDEX_USER": USER, "INDEX_PASSWORD": PASSWORD}
    done = deploy("build", app, "-v", "--to", f"archive:{out}", home=home, env=env)
    assert done.code == 0, done.err
    assert "Basic" in private.asked[-1].authorization
    assert traces(done, home, app) == []
    with tarfile.open(out) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert traces(done, tmp_path / "unpacked") == []


def test_a_wrong_login_leaves_no_trace(private, seed, tmp_path):
    home = with_stack(seed, tmp_path / "home")
    app = write_app(tmp_path / "app", {"inhouse": entry(b"")}, source=LOGIN)
    private.login = "somebody:else"
    env = {"INDEX_USER": USER, "INDEX_PASSWORD": PASSWORD}
    done = deploy("build", app, "-v", home=home, env={**environ(private), **env, "DEPLOY_DEBUG": "1"})
    assert (done.code, done.out) == (20, "")
    host = "${TINY_INDEX}"
    assert done.err.partition("error: ")[2] == (
        f"{host} denies access to inhouse\n\n"
        f"http://{host}/simple/inhouse/ answered HTTP 401 to the login that was sent.\n\n"
        "hint: put ${USER}:${PASSWORD}@ into the URL of the source 'tiny' in Pipfile and set both variables, "
        f"or add {host} to ~/.netrc.\n"
    )
    assert traces(done, home, app) == []


@pytest.mark.slow
def test_what_pipenv_says_of_a_login_is_not_repeated(private, tmp_path):
    app = write_app(tmp_path / "app", {"inhouse": entry(b"")}, source=LOGIN)
    lock = (app / "Pipfile.lock").read_bytes()
    private.login = "somebody:else"
    env = {**environ(private), "INDEX_USER": USER, "INDEX_PASSWORD": PASSWORD}
    done = deploy("lock", app, home=tmp_path / "home", env=env)
    assert (done.code, done.out) == (20, "")
    assert done.err.startswith(
        "Locking with pipenv, which takes some seconds ...\n"
        f"error: pipenv could not lock {app}/Pipfile\n\nPipfile.lock did not change. The end of pipenv's output:\n\n"
    )
    assert "inhouse" in done.err
    assert traces(done, tmp_path / "home", app) == []
    assert (app / "Pipfile.lock").read_bytes() == lock


def test_no_login(private, home, tmp_path):
    app = write_app(tmp_path / "app", {"inhouse": entry(b"")})
    host = "${TINY_INDEX}"
    assert failing(app, home, private, HOME=str(tmp_path)) == (
        f"error: {host} denies access to inhouse\n\n"
        f"http://{host}/simple/inhouse/ answered HTTP 401, and deploy has no login for it.\n\n"
        "hint: put ${USER}:${PASSWORD}@ into the URL of the source 'tiny' in Pipfile and set both variables, "
        f"or add {host} to ~/.netrc.\n"
    )


def test_a_server_that_repeats_the_login_is_not_quoted(private, seed, tmp_path):
    """Some servers put the whole request into their error pages, and the address into redirects."""
    app, home = write_app(tmp_path / "app", {"inhouse": entry(b"")}, source=LOGIN), with_stack(seed, tmp_path / "home")
    host = host_of(private)
    private.redirects["/simple/inhouse/"] = f"http://{USER}:{quote(PASSWORD, safe='')}@{host}/simple/elsewhere/"
    env = {**environ(private), "INDEX_USER": USER, "INDEX_PASSWORD": PASSWORD}
    done = deploy("build", app, "-v", home=home, env=env)
    assert done.code == 20
    assert traces(done, home) == []
