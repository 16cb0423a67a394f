"""The lock's environment on this machine, where nothing has to be fetched; the rest is tests/integration's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from buildpack.app.lockfile import Lock
from buildpack.app.pipfile_lock import parse_lock
from buildpack.errors import BuildpackError
from buildpack.oci.store import Store
from buildpack.session import open_session
from buildpack.steps.environments import Wanted, make_environment

EMPTY = {
    "_meta": {"hash": {"sha256": "0" * 64}, "pipfile-spec": 6, "requires": {}, "sources": []},
    "default": {},
    "develop": {},
}


@pytest.fixture
def lock() -> Lock:
    return parse_lock(json.dumps(EMPTY))


def make(lock: Lock, folder: Path, *, system: str = "", **options):
    wanted = Wanted(lock=lock, app=Path("blasto"), **{"python": None, **options})
    return make_environment(wanted, open_session(Store(folder), os.environ), **({"system": system} if system else {}))


def test_the_error_on_another_system_names_a_way_that_works(lock, tmp_path):
    with pytest.raises(BuildpackError) as caught:
        make(lock, tmp_path, system="darwin")
    assert caught.value.exit_code == 70
    assert str(caught.value) == (
        "no virtual environment can be made on darwin yet\n\n"
        "deploy chooses wheels for Linux only.\n\n"
        "hint: make one with `pipenv sync --dev`, and run `deploy local --venv` inside `pipenv shell`."
    )


def test_a_missing_python_is_an_error(lock, tmp_path):
    with pytest.raises(BuildpackError) as caught:
        make(lock, tmp_path, python="3.99")
    assert caught.value.exit_code == 30
    assert str(caught.value) == (
        "no Python 3.99 on this machine\n\n"
        "blasto asks for it, and neither PATH nor pyenv's versions nor /usr/bin has one that runs.\n\n"
        "hint: install Python 3.99, for example with `pyenv install 3.99`, or use `deploy run` with an engine."
    )


def test_another_python_is_used_unless_the_caller_insists(lock, tmp_path):
    made = make(lock, tmp_path, python="3.99", insist=False)
    assert made.warnings == (
        f"there is no Python 3.99 on this machine, so the app runs on {made.python} here, and on 3.99 in an image.",
    )
    assert make(lock, tmp_path, python="3.99", insist=False).warnings == made.warnings


def test_the_interpreter_is_the_environment_s(lock, tmp_path):
    made = make(lock, tmp_path)
    assert made.made
    asked = "import sys; print(sys.prefix, sys.version.split()[0])"
    done = subprocess.run([made.folder / "bin" / "python", "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(made.folder), made.python]


def test_a_known_environment_takes_no_process_and_imports_nothing_heavy(lock, tmp_path):
    made = make(lock, tmp_path)
    script = """
import json, os, sys
from pathlib import Path
from buildpack.app.pipfile_lock import parse_lock
from buildpack.steps.environments import Wanted, make_environment
from buildpack.oci.store import Store
from buildpack.session import open_session
wanted = Wanted(lock=parse_lock(sys.argv[1]), app=Path(), python=None)
found = make_environment(wanted, open_session(Store(Path(sys.argv[2])), os.environ))
print(json.dumps([str(found.folder), found.made, sorted(sys.modules)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(EMPTY), str(tmp_path)],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        check=True,
    )
    folder, anew, modules = json.loads(done.stdout)
    assert (folder, anew) == (str(made.folder), False)
    heavy = {
        "subprocess",
        "requests",
        "packaging",
        "zipfile",
        "ssl",
        "concurrent.futures",
        "buildpack.steps.resolution",
    }
    assert heavy.isdisjoint(modules)


def test_the_same_lock_has_the_same_environment(lock, tmp_path):
    assert make(lock, tmp_path).folder == make(lock, tmp_path).folder
