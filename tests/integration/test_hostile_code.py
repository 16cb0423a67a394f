"""Code of packages, hooks and tests that goes for what belongs to the user who builds."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from buildpack.errors import AppError
from buildpack.system.processes import ProcessGroup, User
from buildpack.system.unprivileged import choose_user, reachable_folder
from tests.conftest import missing
from tests.support import tiny
from tests.support.command import ENTERING, NOBODY, deploy

PLANTED = "planted-4711"
"""A secret in the environment of `deploy`, in its configuration files, and behind the socket."""

SPY = """\
import json, os, pathlib, socket, sys

def tries(name, places, linked=()):
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
    for place in linked:
        try:
            os.link(place, os.path.join(os.environ["TMPDIR"], name))
        except OSError as error:
            found.append("no link to " + place + ": " + str(error))
    pathlib.Path({reports!r}, name).write_text(json.dumps([os.getuid(), found]))

if __name__ == "__main__":
    tries(sys.argv[1], {places!r}, {linked!r})
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


def write_spies(folder: Path, reports: Path, places: list[str], linked: Sequence[str] = ()) -> Path:
    """Write an app with a hook, a package of its own and a test that all look around."""
    app = tiny.write_app(folder, {})
    spy = SPY.format(app=bytes(folder), reports=str(reports), places=places, linked=tuple(linked))
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
    # Root owns its files in /proc even if they are hidden, so some kernels let it read `environ` and `maps`.
    assert set(reported(reports)["build"][1]) <= {"environ", "maps"}
    assert done.code == 0, done.err


PLANTER = """
import hashlib, os, pathlib, sys, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    # Root would find the module's library behind the link, and write its copy through the folder.
    pathlib.Path({deep!r}, "d/a/b").mkdir(parents=True)
    library = pathlib.Path("planted.so").read_bytes()
    for place in ("d/victim", "plain.so"):
        pathlib.Path({deep!r}, place).write_bytes(library)
    os.symlink({deep!r} + "/d/a/b", {deep!r} + "/a.so")
    pathlib.Path({deep!r}, "a-" + hashlib.sha256(library).hexdigest()[:8] + ".so").mkdir()
    name = "lib-1.0-py3-none-linux_" + os.uname().machine + ".whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        wheel.write("module.so", "lib/module.so")
        wheel.writestr("lib-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: lib\\nVersion: 1.0\\n")
        wheel.writestr("lib-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: false\\nTag: " + name[8:-4])
        wheel.writestr("lib-1.0.dist-info/RECORD", "")
    return name
"""


def compile_module(folder: Path, *sonames: str) -> None:
    """Make a module in `folder` that needs libraries of these names, and planted.so, a library."""
    (folder / "empty.c").write_text("")
    for number, soname in enumerate(sonames):
        argv = ["cc", "-shared", "-o", f"{number}.so", "empty.c", f"-Wl,-soname,{soname}"]
        subprocess.run(argv, cwd=folder, check=True)
    needed = [f"./{number}.so" for number in range(len(sonames))]
    subprocess.run(
        ["cc", "-shared", "-Wl,--no-as-needed", "-o", "module.so", "empty.c", *needed], cwd=folder, check=True
    )
    (folder / "0.so").rename(folder / "planted.so")


def test_root_writes_nothing_at_the_place_that_a_library_s_name_leads_to(seed, tmp_path, anyones):
    if os.geteuid() != 0:
        missing("only root hands over to another user")
    home = tiny.with_stack(seed, tmp_path / "home")
    victim, deep = anyones / "victim", anyones / "deep"
    victim.write_text("root's own")
    victim.chmod(0o600)
    deep.mkdir()
    deep.chmod(0o777)
    app = tiny.write_app(tmp_path / "app", {})
    (app / "lib").mkdir()
    compile_module(app / "lib", f"{deep}/a.so/../../victim", f"{deep}/plain.so")
    (app / "lib" / "pyproject.toml").write_text(PYPROJECT)
    (app / "lib" / "backend.py").write_text(PLANTER.format(deep=str(deep)))
    (app / "Pipfile").write_text((app / "Pipfile").read_text() + 'lib = {path = "./lib"}\n')
    tiny.write_lock(app, {"lib": {"path": "./lib"}})
    done = deploy("build", app, "--stack", "host", home=home, env={"TINY_INDEX": "127.0.0.1:1"})
    assert (deep / "d" / "victim").exists(), done.err
    assert victim.read_bytes() == b"root's own"
    assert [path for path in deep.rglob("*") if path.lstat().st_uid == 0] == []
    assert done.code == 0, done.err
    assert f"{deep}/plain.so" in done.err


def test_root_enters_no_folder_that_a_link_takes_the_place_of(tmp_path, anyones):
    """A build's first hook can put a link in its project's place.

    The second hook would then start in a folder that only root may enter.
    """
    if os.geteuid() != 0:
        missing("only root hands over to another user")
    inside = tmp_path / "private" / "inside"
    inside.mkdir(parents=True)
    (tmp_path / "private").chmod(0o700)
    (inside / "secret").write_text(PLANTED)
    (inside / "secret").chmod(0o644)
    (anyones / "project").symlink_to(inside)
    arguments = {"folder": anyones / "project", "environment": {"PATH": "/usr/bin:/bin"}}
    assert ProcessGroup().run(["cat", "secret"], **arguments).lines == (PLANTED,)
    with pytest.raises(PermissionError):
        ProcessGroup().run(["cat", "secret"], **arguments, user=User(uid=65534, gid=65534))


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
    # Root would give away what the tests link to, if it gave the folder of a trial away once more.
    everyones = anyones / "everyones"
    everyones.touch()
    everyones.chmod(0o666)
    app = write_spies(tmp_path / "app", reports, places, [str(everyones)])
    (app / "Procfile").write_text("web: python spy.py web\nrelease: python spy.py release\n")
    # The loader obeys this variable, so no program of root's may get it, not even one that becomes another user.
    library = compile_loaded(anyones)
    (app / "app.json").write_text(json.dumps({"env": {"LD_PRELOAD": {"value": str(library)}}}))
    done = deploy(
        *("ci", app, "--engine", "local", "--test", "python spy.py test", "--release"),
        home=home,
        env={**secrets, "TINY_INDEX": "127.0.0.1:1"},
        prefix=("env",),  # a process of its own from the start, which the spies know by its command line
    )
    assert reported(reports).keys() == {"build", "hook", "test", "release", "web"}, done.err
    for user, found in reported(reports).values():
        assert user != 0
        assert found == []
    assert everyones.stat().st_uid == 0
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
    # The app's cache is one that hooks of another user left.
    name = hashlib.sha256(f"{home.absolute()}\0tiny".encode()).hexdigest()[:32]
    cache = reachable_folder(home / "hook-caches", choose_user()) / name
    cache.mkdir(parents=True)
    (cache / "linked").hardlink_to(private)
    os.chown(cache, 12345, 12345)
    (app / "bin").mkdir()
    (app / "bin" / "pre_compile").write_text(f"ln -sf {private} bin/post_compile\n")
    (app / "bin" / "post_compile").write_text("true\n")
    with pytest.raises(AppError, match="bin/post_compile"):
        tiny.build_here(app, home, os.environ)
    assert private.stat().st_mode & 0o777 == 0o600
    assert private.stat().st_uid == 0
    assert not (cache / "linked").exists()


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
