"""Credentials of every kind are planted around a build; none of them is in anything that the build leaves or says.

Nor in what it says when it fails, in each of its phases. Each secret is looked for in plain text, as URLs quote it, and
as HTTP's Basic scheme encodes it.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from buildpack.oci.compression import gunzip
from buildpack.oci.image import pack
from buildpack.oci.store import Store
from tests.integration.test_lock_shapes import sdist, sources
from tests.support.command import Done, deploy
from tests.support.git_server import make_repository, serving_git
from tests.support.images import unpacked
from tests.support.index import Index, serving, sha256
from tests.support.tiny import add_wheels, entry, write_app
from tests.support.wheels import write_wheel

KINDS = (
    *("source", "variable", "netrc", "environment", "proxy", "dotenv", "docker", "registry", "git", "signature"),
    *("engine", "label", "path"),
)
SECRETS = {kind: f"p4ss/{kind}+@w%rd=" for kind in KINDS}


def forms(secret: str) -> set[bytes]:
    """How a secret may be written: plain, quoted, in JSON, and in base64 at any place in a text."""
    found = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret.encode()).decode().rstrip("=")
        found.add(encoded[2 * (before > 0) + 2 * (before > 1) : len(encoded) - 4])
    return {form.encode() for form in found}


FORMS = {kind: forms(secret) for kind, secret in SECRETS.items()}


def leaks(content: bytes) -> list[str]:
    return [kind for kind, wanted in FORMS.items() if any(form in content for form in wanted)]


def test_the_scan_finds_what_it_looks_for():
    for kind, secret in SECRETS.items():
        for user in ("", "u", "us", "robot"):
            pair = base64.b64encode(f"{user}:{secret}".encode())
            assert leaks(b"x" + pair + b"y") == [kind], (kind, user)
        assert leaks(quote(secret, safe="").encode()) == leaks(secret.encode()) == [kind]
        assert leaks(json.dumps({"a": secret}).encode()) == [kind]
        manifest = json.dumps({"annotations": {"a": pack(json.dumps(["x" * 50, secret]).encode())}})
        assert leaks(unpacked(manifest.encode())) == leaks(unpacked(json.dumps([manifest]).encode())) == [kind]
    assert leaks(b"nothing") == []


def texts(path: Path) -> Iterator[tuple[str, bytes]]:
    """A file as it is, and what it holds if it is a manifest, a layer or a wheel."""
    raw = path.read_bytes()
    yield str(path), unpacked(raw)
    if raw[:2] == b"\x1f\x8b":
        yield f"{path}, inflated", b"".join(gunzip(io.BytesIO(raw)))
    elif zipfile.is_zipfile(io.BytesIO(raw)):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            yield from ((f"{path}: {name}", archive.read(name)) for name in archive.namelist())


SCANNED: set[tuple[int, ...]] = set()
"""Files that were found clean, and have not changed since."""


def scan(*places: Path) -> list[str]:
    """Everything that holds a secret, in a folder or a file."""
    found = []
    for path in (path for place in places for path in place.rglob("*")):
        found += [f"the name {path} has {kind}" for kind in leaks(os.fsencode(path))]
        status = path.lstat()
        stamp = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
        if path.is_file() and not path.is_symlink() and stamp not in SCANNED:
            SCANNED.add(stamp)
            found += [f"{where} has {kind}" for where, content in texts(path) for kind in leaks(content)]
    return found


@dataclass(kw_only=True)
class World:
    """An app and its surroundings, with a secret in every place that may have one."""

    app: Path
    home: Path
    env: dict[str, str]
    index: Index
    other: Index
    refusing: str
    said: list[Done] = field(default_factory=list)

    def build(self, *arguments: str, app: Path | None = None, home: Path | None = None, **env: str) -> Done:
        command = ("build", app or self.app, "-v", *arguments)
        done = deploy(*command, home=home or self.home, env={**self.env, **env})
        assert leaks(done.out.encode() + done.err.encode()) == [], done
        assert "Traceback" not in done.err
        self.said.append(done)
        return done

    def changed(self, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
        """A copy of the app with another lock."""
        app = Path(shutil.copytree(self.app, folder))
        lock = json.loads((app / "Pipfile.lock").read_text())
        change(lock["default"])
        (app / "Pipfile.lock").write_text(json.dumps(lock, indent=4))
        return app


class _Refusing(BaseHTTPRequestHandler):
    """A registry that lets nobody in, and repeats what it was sent."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        body = f"not with {self.headers.get('Authorization')}".encode()
        self.send_response(401)
        self.send_header("WWW-Authenticate", f'Basic realm="{self.headers.get("Authorization")}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_POST = do_PUT = do_PATCH = do_GET


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, refusing: str) -> Iterator[World]:
    root = tmp_path_factory.mktemp("leaks")
    with ExitStack() as stack:
        index = stack.enter_context(serving(login=f"robot:{SECRETS['source']}"))
        path = quote(SECRETS["path"], safe="")
        other = stack.enter_context(serving(login=f"netty:{SECRETS['netrc']}", prefix=f"/{path}"))
        signature = quote(SECRETS["signature"], safe="")
        third = stack.enter_context(serving(login=f"vary:{SECRETS['variable']}", signature=f"sig={signature}"))
        commit = make_repository(root / "gitlib", sources("gitlib"))
        git = stack.enter_context(serving_git(root, login=f"gitter:{SECRETS['git']}"))
        wheels = root / "wheels"
        packages: dict[str, Mapping[str, Any]] = {
            **add_wheels(index, wheels, "alpha"),
            **{name: {**found, "index": "netrc"} for name, found in add_wheels(other, wheels, "bravo").items()},
            **{name: {**found, "index": "variable"} for name, found in add_wheels(third, wheels, "charlie").items()},
        }
        filename, content = sdist("pure")
        index.add("pure", filename, content)
        packages["pure"] = entry(content)
        packages["gitlib"] = {"git": git.replace("://", "://${GIT_USER}:${GIT_TOKEN}@") + "/gitlib", "ref": commit}
        signed = write_wheel(wheels, {"signed.py": b""}, name="signed")
        third.add("signed", signed.name, signed.read_bytes())
        address = third.url.replace("://", "://vary:${INDEX_TOKEN}@").replace("/simple/", f"/files/{signed.name}")
        packages["signed"] = {"file": f"{address}?sig={signature}#sha256={sha256(signed.read_bytes())}"}
        app = write_app(root / "leaky", {}, source="http://127.0.0.1:1/simple")
        lock = json.loads((app / "Pipfile.lock").read_text())
        written = quote(SECRETS["source"], safe="")
        lock["_meta"]["sources"] = [
            {
                "name": "source",
                "url": login(index.url, f"robot:{written}"),
                "verify_ssl": True,
            },
            {
                "name": "netrc",
                "url": other.url.replace("127.0.0.1", "localhost").replace("/simple", "/${INDEX_PATH}/simple"),
                "verify_ssl": True,
            },
            {"name": "variable", "url": login(third.url, "vary:${INDEX_TOKEN}"), "verify_ssl": True},
        ]
        lock["default"] = {name: {"index": "source", **found} for name, found in packages.items()}
        for name in ("gitlib", "signed"):
            del lock["default"][name]["index"]
        (app / "Pipfile.lock").write_text(json.dumps(lock, indent=4))
        (app / "Pipfile").unlink()
        for name in (".env", ".env.production", ".netrc"):
            (app / name).write_text(f"PASSWORD={SECRETS['dotenv']}\n")
        home = root / "user"
        (home / ".docker").mkdir(parents=True)
        (home / ".netrc").write_text(f"machine localhost login netty password {SECRETS['netrc']}\n")
        auth = base64.b64encode(f"dock:{SECRETS['docker']}".encode()).decode()
        (home / ".docker" / "config.json").write_text(json.dumps({"auths": {refusing: {"auth": auth}}}))
        proxy = f"http://proxy:{quote(SECRETS['proxy'], safe='')}@127.0.0.1:9"
        env = {
            **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            "HOME": str(home),
            "INDEX_TOKEN": SECRETS["variable"],
            "INDEX_PATH": path,
            "GIT_USER": "gitter",
            "GIT_TOKEN": SECRETS["git"],
            "AWS_SECRET_ACCESS_KEY": SECRETS["environment"],
            "https_proxy": proxy,
            "ALL_PROXY": proxy,
            "no_proxy": "127.0.0.1,localhost",
        }
        yield World(app=app, home=root / "store", env=env, index=index, other=other, refusing=refusing)


def login(url: str, user: str) -> str:
    return url.replace("://", f"://{user}@")


def test_a_build_that_succeeds(world, tmp_path):
    done = world.build("-t", "leaky:1", "--to", f"archive:{tmp_path}/image.tar", "--to", f"oci:{tmp_path}/layout")
    assert done.code == 0, done.err
    assert "Pipfile.lock holds a credential, so it is left out of the image." in done.err
    image = Store(world.home).image("docker.io/library/leaky:1")
    assert image is not None
    members = unpacked(image.manifest).decode()
    for name in ("alpha", "bravo", "charlie", "pure", "gitlib", "signed"):
        assert name in members
    assert scan(world.home, tmp_path) == []
    again = world.build("-t", "leaky:1", "--json")
    assert (again.code, again.report["layers"][-1]["source"]) == (0, "store")


def test_a_local_environment(world):
    done = deploy("local", world.app, "--", "python", "-c", "import pure, gitlib", home=world.home, env=world.env)
    assert done.code == 0, done.err
    assert leaks(done.out.encode() + done.err.encode()) == []
    assert scan(world.home) == []


def bad_sdist(default: dict[str, Any], index: Index) -> None:
    import tarfile

    out = io.BytesIO()
    told = "import os\nraise SystemExit(repr(os.environ) + open('/proc/self/environ').read() + repr(os.sys.argv))\n"
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, content in {**sources("noisy"), "backend.py": told}.items():
            member = tarfile.TarInfo(f"noisy-1.0/{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    index.add("noisy", "noisy-1.0.tar.gz", out.getvalue())
    default["noisy"] = {**entry(out.getvalue()), "index": "source"}


def needy_sdist(default: dict[str, Any], index: Index) -> None:
    """Its build requirement is missing, so that the error names the indexes."""
    import tarfile

    out = io.BytesIO()
    needs = sources("needy")
    needs["pyproject.toml"] = needs["pyproject.toml"].replace("requires = []", 'requires = ["nowhere==1"]')
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, content in needs.items():
            member = tarfile.TarInfo(f"needy-1.0/{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    index.add("needy", "needy-1.0.tar.gz", out.getvalue())
    default["needy"] = {**entry(out.getvalue()), "index": "source"}


def other_hash(default: dict[str, Any], index: Index) -> None:
    default["alpha"] = {**default["alpha"], "hashes": [f"sha256:{'0' * 64}"]}


def other_commit(default: dict[str, Any], index: Index) -> None:
    default["gitlib"] = {**default["gitlib"], "ref": "0" * 40}


def other_file(default: dict[str, Any], index: Index) -> None:
    default["signed"] = {"file": re.sub("sha256=.*", "sha256=" + "0" * 64, default["signed"]["file"])}


PHASES: dict[str, tuple[int, Callable[[dict[str, Any], Index], object]]] = {
    "the index lacks it": (20, lambda default, _: default.update(nowhere={**entry(b""), "index": "source"})),
    "another hash": (20, other_hash),
    "another commit": (20, other_commit),
    "another file": (20, other_file),
    "a build that tells all it sees": (20, bad_sdist),
    "a build that needs what is nowhere": (20, needy_sdist),
    "an entry that cannot be read": (10, lambda default, _: default.update(odd={"git": default["gitlib"]["git"]})),
}


@pytest.mark.parametrize("phase", list(PHASES))
def test_a_build_that_fails_for_its_lock(world, tmp_path, phase):
    code, change = PHASES[phase]
    app = world.changed(tmp_path / "app", lambda default: change(default, world.index))
    done = world.build(app=app)
    assert done.code == code, done.err
    assert scan(world.home) == []


ELSEWHERE: dict[str, tuple[int, tuple[str, ...], dict[str, str]]] = {
    "a variable is missing": (20, (), {"GIT_TOKEN": "", "INDEX_TOKEN": ""}),
    "a wrong login": (20, (), {"INDEX_TOKEN": SECRETS["label"]}),
    "a proxy that is not there": (20, (), {"no_proxy": "", "http_proxy": "http://p:${PROXY}@127.0.0.1:9"}),
    "a registry that lets nobody in": (30, ("--stack", "${REFUSING}/base/python:3.11"), {}),
    "a registry with variables": (
        30,
        ("--stack", "${REFUSING}/base/python:3.11"),
        {"DEPLOY_REGISTRY_USER": "reg", "DEPLOY_REGISTRY_PASSWORD": SECRETS["registry"]},
    ),
    "no such stack": (30, ("--stack", "127.0.0.1:9/base/python:3.11"), {}),
}


@pytest.mark.parametrize("phase", list(ELSEWHERE))
def test_a_build_that_fails_for_what_is_around_it(world, tmp_path, phase):
    code, arguments, env = ELSEWHERE[phase]
    filled = {name: value.replace("${PROXY}", quote(SECRETS["proxy"], safe="")) for name, value in env.items()}
    app = Path(shutil.copytree(world.app, tmp_path / "app"))
    done = world.build(
        *(each.replace("${REFUSING}", world.refusing) for each in arguments), "--no-cache", app=app, **filled
    )
    assert done.code == code, done.err
    assert scan(world.home) == []


@pytest.mark.parametrize("host", ["tcp://u:{}@127.0.0.1:9", "ssh://u:{}@127.0.0.1:9", "http+unix://u:{}@x"])
def test_an_engine_that_is_not_there(world, host):
    done = world.build("--to", "docker", DOCKER_HOST=host.format(quote(SECRETS["engine"], safe="")))
    assert done.code == 40, done.err
    assert scan(world.home) == []


def test_a_registry_to_push_to_that_lets_nobody_in(world):
    for env in ({}, {"DEPLOY_REGISTRY_USER": "reg", "DEPLOY_REGISTRY_PASSWORD": SECRETS["registry"]}):
        done = world.build("-t", f"{world.refusing}/leaky:1", "--to", "registry", **env)
        assert done.code == 30, done.err
        assert scan(world.home) == []


def test_a_folder_that_cannot_be_written(world):
    done = world.build("--to", "archive:/proc/nowhere/image.tar")
    assert done.code == 70, done.err
    assert scan(world.home) == []
