"""Code of packages, hooks and tests that goes for what belongs to the user who builds."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildpack.errors import AppError
from buildpack.processes import ProcessGroup, User
from tests.conftest import missing
from tests.support import tiny
from tests.support.command import ENTERING, NOBODY, deploy

PLANTED = "planted-4711"
"""A secret in the environment of `deploy`, in its configuration files, and behind the socket."""

SPY = """\
import json, os, pathlib, socket, sys

def tries(name, places):
    found, seen = [], 0
    for process in pathlib.Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes() if process.name.isdigit() else b""
            if b"\\0deployer\\0" not in command or {app!r} not in command:
                continue
            seen += 1
            for file in ("environ", "mem", "maps", "fd/0"):
                try:
                    os.readlink(process / file) if file == "fd/0" else open(process / file).read(1)
                    found.append(file)
                except OSError:
                    pass
        except OSError:
            pass
    if not seen:
        found.append("no process of deploy, so nothing was tried")
    for place in places:
        try:
            if place.endswith(".sock"):
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(place)
            elif os.path.isdir(place):
                os.listdir(place)
            else:
                open(place).close()
            found.append(place)
        except OSError:
            pass
    for place in places:
        try:
            with open(place + ".left", "w"):
                found.append("beside " + place)
        except OSError:
            pass
    if "planted" in repr(dict(os.environ)):
        found.append("its own environment")
    pathlib.Path({reports!r}, name).write_text(json.dumps([os.getuid(), found]))

if __name__ == "__main__":
    tries(sys.argv[1], {places!r})
"""

BACKEND = """
import pathlib, sys, zipfile
sys.path.insert(0, ".")
import spy

def build_wheel(folder, config_settings=None, metadata_directory=None):
    spy.tries("build", {places!r})
    with zipfile.ZipFile(pathlib.Path(folder, "lib-1.0-py3-none-any.whl"), "w") as wheel:
        wheel.writestr("lib.py", "")
        wheel.writestr("lib-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: lib\\nVersion: 1.0\\n")
        wheel.writestr("lib-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("lib-1.0.dist-info/RECORD", "")
    return "lib-1.0-py3-none-any.whl"
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


@pytest.fixture
def secrets(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Configuration files and a socket of the user who builds, by the variable that names them."""
    for name, text in (("config.json", '{"auths": {}}'), ("netrc", f"machine x login y password {PLANTED}")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "engine.sock"))
        (tmp_path / "engine.sock").chmod(0o660)
        listening.listen()
        yield {"DOCKER_CONFIG": str(tmp_path), "NETRC": str(tmp_path / "netrc"), "PLANTED": PLANTED}


def write_spies(folder: Path, reports: Path, places: list[str]) -> Path:
    """Write an app with a hook, a package of its own and a test that all look around."""
    app = tiny.write_app(folder, {})
    spy = SPY.format(app=bytes(folder), reports=str(reports), places=places)
    (app / "spy.py").write_text(spy)
    (app / "Procfile").write_text("worker: python spy.py worker\n")
    (app / "bin").mkdir()
    (app / "bin" / "post_compile").write_text("python spy.py hook\n")
    (app / "lib").mkdir()
    (app / "lib" / "spy.py").write_text(spy)
    (app / "lib" / "pyproject.toml").write_text(PYPROJECT)
    (app / "lib" / "backend.py").write_text(BACKEND.format(places=places))
    (app / "Pipfile").write_text((app / "Pipfile").read_text() + 'lib = {path = "./lib"}\n')
    tiny.write_lock(app, {"lib": {"path": "./lib"}})
    return app


def compile_loaded(folder: Path) -> Path:
    """Make a shared library that writes the user of each process that loads it into `folder`/users."""
    users = folder / "users"
    users.touch()
    users.chmod(0o666)
    (folder / "loaded.c").write_text(
        "#include <stdio.h>\n#include <unistd.h>\n"
        "__attribute__((constructor)) static void tell(void) {\n"
        f'    FILE *file = fopen("{users}", "a");\n'
        '    if (file) { fprintf(file, "%d\\n", (int)getuid()); fclose(file); }\n}\n'
    )
    made = folder / "loaded.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(made), str(folder / "loaded.c")], check=True)
    made.chmod(0o755)
    return made


def test_a_package_that_pipenv_builds_cannot_look_into_deploy(secrets, anyones):
    if os.geteuid() != 0:
        missing("only root may give up a capability")
    reports, home = anyones / "reports", anyones / "home"
    app = write_spies(anyones / "app", reports, [])
    (app / "Pipfile").write_text('[packages]\nlib = {path = "./lib"}\n')
    reports.mkdir()
    done = deploy(
        *("lock", app, "--no-pin"),
        home=home,
        env={**secrets, "PIPENV_CACHE_DIR": str(anyones / "cache")},
        prefix=("setpriv", "--bounding-set=-sys_ptrace"),
    )
    assert reported(reports).keys() == {"build"}, done.err
    # Root owns its files in /proc whatever is hidden, so some kernels let it read `environ` and `maps`.
    assert set(reported(reports)["build"][1]) <= {"environ", "maps"}
    assert done.code == 0, done.err


def reported(reports: Path) -> dict[str, tuple[int, list[str]]]:
    return {path.name: tuple(json.loads(path.read_text())) for path in sorted(reports.iterdir())}


def test_strangers_code_gets_to_nothing_of_root(seed, secrets, tmp_path, anyones):
    if os.geteuid() != 0:
        missing("only root hands over to another user")
    home = tiny.with_stack(seed, tmp_path / "home")
    places = [str(tmp_path / name) for name in ("config.json", "netrc", "engine.sock")]
    places += [str(home), str(home / "index.json"), "/root", "/etc/shadow"]
    reports = anyones / "reports"
    reports.mkdir()
    reports.chmod(0o1777)
    app = write_spies(tmp_path / "app", reports, places)
    (app / "Procfile").write_text("web: python spy.py web\nrelease: python spy.py release\n")
    # The loader obeys this variable, so no program of root's may get it, not even one that becomes another user.
    library = compile_loaded(anyones)
    (app / "app.json").write_text(json.dumps({"env": {"LD_PRELOAD": {"value": str(library)}}}))
    done = deploy(
        *("ci", app, "--engine", "local", "--test", "python spy.py test", "--release"),
        home=home,
        env={**secrets, "TINY_INDEX": "127.0.0.1:1"},
    )
    assert reported(reports).keys() == {"build", "hook", "test", "release", "web"}, done.err
    for user, found in reported(reports).values():
        assert user != 0
        assert found == []
    loaded = set((anyones / "users").read_text().split())
    assert loaded
    assert "0" not in loaded


def test_strangers_code_cannot_look_into_the_process_of_its_own_user(seed, secrets, anyones):
    if os.geteuid() != 0:
        missing("only root may become nobody")
    home = tiny.with_stack(seed, anyones / "home")
    reports = anyones / "reports"
    reports.mkdir()
    app = write_spies(anyones / "app", reports, [])
    for path in (reports, *app.rglob("*"), app, home, *home.rglob("*")):
        shutil.chown(path, "nobody")
    done = deploy(
        *("ci", app, "--engine", "local", "--test", "python spy.py test"),
        home=home,
        env={**secrets, "DOCKER_CONFIG": "/", "HOME": str(anyones), "TINY_INDEX": "127.0.0.1:1"},
        prefix=(*NOBODY, *ENTERING),
    )
    assert reported(reports).keys() == {"build", "hook", "test"}, done.err
    for user, found in reported(reports).values():
        assert user != 0
        assert found == []


def test_root_neither_opens_nor_changes_what_a_hook_puts_in_the_place_of_the_next(seed, tmp_path, anyones):
    if os.geteuid() != 0:
        missing("only root hands over to another user")
    home = tiny.with_stack(seed, tmp_path / "home")
    private = anyones / "private"
    private.write_bytes(b"\x7fELF core dump of root")
    private.chmod(0o600)
    app = tiny.write_app(tmp_path / "app", {})
    (app / "bin").mkdir()
    (app / "bin" / "pre_compile").write_text(f"ln -sf {private} bin/post_compile\n")
    (app / "bin" / "post_compile").write_text("true\n")
    with pytest.raises(AppError, match="bin/post_compile"):
        tiny.build_here(app, home, os.environ)
    assert private.stat().st_mode & 0o777 == 0o600


def test_nothing_that_leaves_its_session_outlives_a_build(tmp_path):
    """The next build's code has the same user: what waits for it could read its variables and change its files."""
    if os.geteuid() != 0:
        missing("only root hands over to another user")
    stays = "import os, sys, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0)\n"
    stays += "os.write(1, b'%d' % os.getpid()); os.close(1); os.close(2); time.sleep(600)"
    shell = f"/usr/bin/env python3 -c '{stays.replace(chr(39), chr(34))}'"
    lines = (
        ProcessGroup()
        .run(
            ["/bin/sh", "-c", f"{shell}; sleep 0.2"],
            folder="/",
            environment={"PATH": "/usr/bin:/bin"},
            user=User(uid=65534, gid=65534),
        )
        .lines
    )
    assert lines[0].isdecimal()
    assert not Path("/proc", lines[0]).exists()
