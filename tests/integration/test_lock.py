"""`deploy lock` with the real pipenv and the real index."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.integration.test_lock_shapes import sources, write
from tests.support.command import ROOT, deploy
from tests.support.index import Index, make_wheel, serving


@pytest.mark.slow
def test_a_new_dependency_is_locked_and_then_builds(home, blasto):
    pipfile = blasto / "Pipfile"
    pipfile.write_text(pipfile.read_text().replace('gunicorn = "*"', 'gunicorn = "*"\nsix = "==1.16.0"'))
    (blasto / "inspect.py").write_text("raise SystemExit('of the app, not of the standard library')")
    stale = deploy("build", blasto, "-q", home=home)
    assert stale.code == 10
    done = deploy("lock", blasto, home=home)
    assert done.code == 0, done.err
    assert "  six 1.16.0 is new" in done.err.splitlines()
    assert json.loads((blasto / "Pipfile.lock").read_text())["default"]["six"]["version"] == "==1.16.0"
    assert (blasto / "deploy.toml").read_text().endswith('stack = "host"\n'), "the host has no digest to pin"
    assert list((home / "locking").iterdir()) == [], "pipenv's own environment is gone"
    assert deploy("build", blasto, "-q", home=home).code == 0


@pytest.mark.slow
def test_what_pipenv_cannot_lock_leaves_the_lock_as_it_was(home, blasto):
    before = (blasto / "Pipfile.lock").read_bytes()
    pipfile = blasto / "Pipfile"
    pipfile.write_text(pipfile.read_text().replace('gunicorn = "*"', 'gunicorn = "==99.0"'))
    done = deploy("lock", blasto, home=home)
    assert done.code == 20
    assert done.err.startswith("Locking with pipenv, which takes some seconds ...\n")
    assert (
        f"\nerror: pipenv could not lock {pipfile}\n\nPipfile.lock did not change. The end of pipenv's output:"
        in done.err
    )
    assert "No matching distribution found for gunicorn==99.0" in done.err
    assert "Traceback" not in done.err
    assert (blasto / "Pipfile.lock").read_bytes() == before


def test_a_pipfile_that_cannot_be_read(home, blasto):
    (blasto / "Pipfile").write_text("[packages\n")
    done = deploy("lock", blasto, home=home)
    assert (done.code, done.out) == (10, "")
    assert done.err.startswith("error: Pipfile is not valid TOML\n\nPipfile:1:10: ")


def test_a_file_in_place_of_the_folder_is_an_error(home, blasto):
    done = deploy("lock", blasto / "Procfile", home=home)
    assert (done.code, done.out, done.err) == (
        2,
        "",
        (
            f"error: {blasto}/Procfile is not a folder\n\n"
            "deploy needs the folder that holds the app's Pipfile.lock.\n\n"
            "hint: name the folder instead of a file in it.\n"
        ),
    )


@pytest.fixture
def index():
    with serving() as server:
        offer(server, "1.0")
        yield server


def offer(index: Index, version: str) -> None:
    """Offer three packages: alpha needs beta of its own version or a newer one."""
    for name, requires in (("alpha", (f"beta>={version}",)), ("beta", ()), ("gamma", ())):
        index.add(name, *make_wheel(name, version, requires=requires))


@pytest.fixture
def app(index, tmp_path) -> Path:
    folder = tmp_path / "an app"
    folder.mkdir()
    (folder / "Pipfile").write_text(
        f'[[source]]\nname = "here"\nurl = "{index.url}"\nverify_ssl = true\n\n'
        '[packages]\n# why alpha\nalpha = "*"  # kept\ngamma = "*"\n\n[dev-packages]\n'
    )
    return folder


def locked(app: Path, category: str = "default") -> dict[str, str]:
    entries = json.loads((app / "Pipfile.lock").read_text())[category]
    return {name: entry["version"].removeprefix("==") for name, entry in entries.items()}


def files(app: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in app.iterdir()}


def lock_at_a_terminal(app: Path, home: Path, index: Index) -> str:
    """Lock with an index that gives no file before the terminal shows that the work goes on; return what was shown."""
    terminal, theirs = pty.openpty()
    index.gate = threading.Event()
    process = subprocess.Popen(
        [sys.executable, "-m", "deployer", "lock", "--no-pin", str(app)],
        cwd=ROOT,
        env={**os.environ, "DEPLOY_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the terminal's other end is closed
        while part := os.read(terminal, 4096):
            shown += part
            if b"\n  still locking, after " in shown:
                index.gate.set()
    os.close(terminal)
    assert process.wait(60) == 0, shown
    return shown.decode().replace("\r\n", "\n")


@pytest.mark.registry
@pytest.mark.slow
def test_the_stack_s_digest_is_pinned(home, app, registry):
    from tests.support.stand_in import make_stand_in, push

    reference = push(make_stand_in(), registry, "lock/python:3.11")
    (app / "deploy.toml").write_text(f'# kept\nstack = "{reference}"\n')
    done = deploy("lock", app, home=home)
    assert done.code == 0, done.err
    first, second = (app / "deploy.toml").read_text().splitlines()
    assert first == "# kept"
    assert second.startswith(f'stack = "{reference}@sha256:')
    assert deploy("lock", app, home=home).code == 0
    assert (app / "deploy.toml").read_text().splitlines() == [first, second]


@pytest.mark.slow
def test_a_lock_shows_that_it_is_at_work_and_locked_versions_stay_until_they_have_to_move(home, index, app):
    def lock(*options: str) -> dict[str, str]:
        done = deploy("lock", app, "--no-pin", *options, home=home)
        assert done.code == 0, done.err
        assert ("commit Pipfile.lock, " in done.err) == ("Pipfile.lock: 0 packages" not in done.err)
        assert {path.name for path in app.iterdir()} == {"Pipfile", "Pipfile.lock"}
        return locked(app)

    begin, *waiting, alpha, beta, gamma, end = lock_at_a_terminal(app, home, index).split("\n\n")[0].splitlines()
    assert (begin, bool(waiting)) == ("Locking with pipenv, which takes some seconds ...", True)
    assert all(re.fullmatch(r"  still locking, after \d+ s \.\.\.", line) for line in waiting)
    assert [alpha, beta, gamma] == ["  alpha 1.0 is new", "  beta 1.0 is new", "  gamma 1.0 is new"]
    assert end.startswith("Pipfile.lock: 3 packages changed, in ")
    before = (app / "Pipfile.lock").read_bytes()
    offer(index, "2.0")
    assert lock() == {"alpha": "1.0", "beta": "1.0", "gamma": "1.0"}
    assert (app / "Pipfile.lock").read_bytes() == before
    assert lock("-P", "Gamma") == {"alpha": "1.0", "beta": "1.0", "gamma": "2.0"}
    offer(index, "3.0")
    pipfile = app / "Pipfile"
    pipfile.write_text(pipfile.read_text().replace('alpha = "*"', 'alpha = "==2.0"'))
    moved = lock()
    assert moved["alpha"] == "2.0", "Pipfile asks for it"
    assert moved["beta"] in ("2.0", "3.0"), "alpha needs it"
    assert moved["gamma"] == "2.0", "nothing asks for another one"
    assert lock("--upgrade") == {"alpha": "2.0", "beta": "3.0", "gamma": "3.0"}


@pytest.mark.slow
def test_add_and_remove_change_both_files_or_neither(home, index, app):
    assert deploy("add", "gamma", "--app", app, home=home).code == 0
    original = (app / "Pipfile").read_text()
    index.add("delta", *make_wheel("delta", "1.0"))
    offer(index, "2.0")
    done = deploy("add", "--dev", "delta>=1", "--app", app, home=home)
    assert done.code == 0, done.err
    assert done.err.endswith(f"\nNext: commit Pipfile and Pipfile.lock, then deploy build '{app}'\n")
    assert "  delta (develop) 1.0 is new" in done.err.splitlines()
    assert (app / "Pipfile").read_text() == original + 'delta = ">=1"\n'
    assert (locked(app), locked(app, "develop")) == ({"alpha": "1.0", "beta": "1.0", "gamma": "1.0"}, {"delta": "1.0"})

    before = files(app)
    index.statuses["/simple/gamma/"] = 404
    done = deploy("add", "epsilon", "--app", app, home=home)
    assert (done.code, done.out) == (20, ""), done.err
    assert f"\nerror: pipenv could not lock {app}/Pipfile with the change\n" in done.err
    assert files(app) == before
    index.statuses.clear()

    done = deploy("remove", "alpha", "--app", app, home=home)
    assert done.code == 0, done.err
    assert "alpha" not in (app / "Pipfile").read_text().replace("# why alpha", "")
    assert locked(app) == {"gamma": "1.0"}, "beta goes with alpha"


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (["remove", "delta"], 10, "Pipfile has no delta under [packages]"),
        (["remove", "gamma", "--dev"], 10, "Pipfile has no gamma under [dev-packages]"),
        (["add", "git+https://example.com/x"], 2, "'git+https://example.com/x' is not a requirement"),
    ],
)
def test_what_cannot_be_added_or_removed(home, app, command, code, message):
    before = files(app)
    done = deploy(*command, "--app", app, home=home)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(f"error: {message}")
    assert files(app) == before


@pytest.mark.slow
def test_variables_for_builds_reach_the_lock_and_the_build(home, tmp_path):
    app = tmp_path / "app"
    files = sources("local", under="libs/local/")
    asserts = 'assert (os.environ.get("MODE"), os.environ.get("FLAG")) == ("of the app", "given")\n'
    files["libs/local/backend.py"] = f"import os\n{asserts}{files['libs/local/backend.py']}"
    files["Pipfile"] = '[packages]\nlocal = {path = "./libs/local"}\n'
    files["Procfile"] = "web: python -m http.server $PORT\n"
    files["deploy.toml"] = 'stack = "host"\n[build.env]\nMODE = "of the app"\n'
    write(app, files)
    locked = deploy("lock", app, "--build-env", "FLAG=given", home=home)
    assert locked.code == 0, locked.err
    built = deploy("build", app, "-q", "--build-env", "FLAG=given", home=home)
    assert built.code == 0, built.err
    assert deploy("build", app, "-q", home=home).code == 20
    failed = deploy("lock", app, home=home)
    assert failed.code == 20, failed.err
    assert failed.err.endswith(
        "\nhint: if the build needs a variable, set it with `--build-env NAME=VALUE`, or below `[build.env]` in "
        "deploy.toml.\n"
    )


PASSWORD = "p4ss-w0rd-of-the-index"


def files_with_login(folder: Path) -> list[Path]:
    """Return the files that hold the password; a file that disappears meanwhile holds nothing."""
    paths = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
    return [path for path in paths if PASSWORD.encode() in content(path)]


def processes_with_login() -> list[int]:
    """Return the processes that have the password in their environment, without `deploy` itself."""
    places = [place for place in Path("/proc").glob("[0-9]*") if PASSWORD.encode() in content(place / "environ")]
    return [int(place.name) for place in places if b"deployer" not in content(place / "cmdline")]


def content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@contextmanager
def silent_index() -> Iterator[str]:
    """Listen on loopback and never answer; the index's address with a login."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://me:${{INDEX_PASSWORD}}@127.0.0.1:{server.getsockname()[1]}/simple"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "ending"),
    [
        (["add", "gamma", "--app"], "Ctrl-C"),
        (["remove", "beta", "--app"], "TERM"),
        (["lock", "--no-pin"], "KILL"),
        (["lock", "--no-pin"], "power failure"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_no_login_stays_on_the_disk(tmp_path, command, ending):
    app, home, temporary = (tmp_path / name for name in ("app", "home", "tmp"))
    app.mkdir()
    temporary.mkdir()
    terminal, theirs = pty.openpty()
    with silent_index() as url:
        packages = '\n[packages]\nalpha = "*"\nbeta = "*"\n'
        (app / "Pipfile").write_text(f'[[source]]\nname = "here"\nurl = "{url}"\nverify_ssl = true\n{packages}')
        environ = {"DEPLOY_HOME": str(home), "TMPDIR": str(temporary), "INDEX_PASSWORD": PASSWORD}
        process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-m", "deployer", *command, str(app)],
            cwd=ROOT,
            env={**os.environ, **environ},
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        await_true(lambda: files_with_login(tmp_path))
        if ending == "Ctrl-C":
            os.write(terminal, b"\x03")
        elif ending == "power failure":
            # All at once: neither deploy nor its guard may notice the end of the other and remove the files.
            process.send_signal(signal.SIGSTOP)
            guards = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for pid in [*map(int, guards), *processes_with_login(), process.pid]:
                with suppress(ProcessLookupError):  # it ended with those before it
                    os.kill(pid, signal.SIGKILL)
        else:
            process.send_signal(signal.Signals[f"SIG{ending}"])
        process.wait(60)
        await_true(lambda: not processes_with_login())
    os.close(terminal)
    os.close(theirs)
    if ending == "power failure":
        assert files_with_login(tmp_path)
        (app / "Pipfile").write_text("[packages]\n")
        done = deploy(*command, app, home=home)
        assert done.code == 0, done.err
        (app / "Pipfile.lock").unlink()
    await_true(lambda: not files_with_login(tmp_path))
    await_true(lambda: [path.name for path in app.iterdir()] == ["Pipfile"])
    await_true(lambda: not any((home / "locking").iterdir()))
    assert not any(temporary.iterdir())


def await_true(found) -> None:
    end = time.monotonic() + 120
    while not found():
        assert time.monotonic() < end
        time.sleep(0.02)
