"""The environment of an image is the one that `pipenv sync` installs: pipenv is the specification."""

from __future__ import annotations

import csv
import json
import os
import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from buildpack.app.lockfile import canonical_name
from buildpack.oci.entry import Entry, file
from buildpack.python.venv import VenvLayout, install_entries, venv_entries
from buildpack.python.wheel import WheelContents, read_wheel
from tests.support.wheels import content_bytes

ROOT = Path(__file__).parents[2]
APP = ROOT / "examples" / "bookshelf"

LEFT_OUT = re.compile(r"(^|/)__pycache__/|\.dist-info/(RECORD|INSTALLER|REQUESTED)$")
"""Files that installers write differently: byte code, and their own records."""

LAUNCHER = re.compile(rb"^from ([\w.]+) import (\w+)$.*^ *sys\.exit\(([\w.]+)\(\)\)$", re.MULTILINE | re.DOTALL)


def compare_installs(installed: Path, entries: Iterable[Entry], layout: VenvLayout, names: Sequence[str]) -> list[str]:
    """Return every difference between an environment on disk and entries, for these distributions.

    `installed` is the environment's folder; its RECORD files say which files belong to a distribution.
    Launchers are equal where they call the same entry point, other scripts where they differ in nothing
    but the interpreter's path.
    """
    there = {path: installed / path for name in names for path in recorded_files(installed, layout, name)}
    ours = {posixpath.relpath(entry.path, layout.root): entry for entry in entries if entry.kind == "file"}
    ours = {path: entry for path, entry in ours.items() if not LEFT_OUT.search(path) and path != "pyvenv.cfg"}
    found = [f"only the peer has {path}" for path in sorted(there.keys() - ours.keys())]
    found += [f"only we have {path}" for path in sorted(ours.keys() - there.keys())]
    for path in sorted(there.keys() & ours.keys()):
        theirs, mine = there[path].read_bytes(), content_bytes(ours[path].content)
        if path.startswith("bin/"):
            theirs, mine = script_meaning(theirs), script_meaning(mine)
        if theirs != mine:
            found.append(f"{path} has other bytes")
        if bool(there[path].stat().st_mode & 0o111) != bool(ours[path].mode & 0o111):
            found.append(f"{path} is executable for one of us only")
    return found


def recorded_files(installed: Path, layout: VenvLayout, name: str) -> list[str]:
    """Return the files of an installed distribution, as paths from the environment's folder."""
    site = posixpath.relpath(layout.site_packages, layout.root)
    records = [
        record
        for record in (installed / site).glob("*.dist-info/RECORD")
        if canonical_name(record.parent.name.removesuffix(".dist-info").rpartition("-")[0]) == name
    ]
    assert len(records) == 1, f"{name} is installed {len(records)} times"
    with records[0].open(newline="", encoding="utf-8") as rows:
        paths = [posixpath.normpath(f"{site}/{row[0]}") for row in csv.reader(rows)]
    return [path for path in paths if not LEFT_OUT.search(path)]


def script_meaning(body: bytes) -> bytes:
    if launcher := LAUNCHER.search(body):
        return b" ".join(launcher.groups())
    return body.partition(b"\n")[2] if body.startswith(b"#!") else body


def run(*argv: str | Path, cwd: Path) -> str:
    """Run a program away from this process's environment of Python and pip."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIPENV", "VIRTUAL_ENV"))}
    pipenv_s = {"PIPENV_VENV_IN_PROJECT": "1", "PIPENV_IGNORE_VIRTUALENVS": "1", "PIPENV_NOSPIN": "1"}
    environ = {**kept, **pipenv_s, "PIP_COMPILE": "0"}  # byte code is not compared
    ran = subprocess.run([*map(str, argv)], cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="session")
def pipenv(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pipenv's command; installed for the test where this environment has none."""
    beside = Path(sys.executable).with_name("pipenv")
    if found := shutil.which("pipenv", path=str(beside.parent)) or shutil.which("pipenv"):
        return found
    folder = tmp_path_factory.mktemp("pipenv")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    run(folder / "venv/bin/pip", "install", "--quiet", "pipenv", cwd=folder)
    return str(folder / "venv/bin/pipenv")


@pytest.fixture(scope="session")
def peer(pipenv: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rich example's folder with an environment made by `pipenv sync`, and its locked wheels beside it."""
    folder = tmp_path_factory.mktemp("peer")
    for name in ("Pipfile", "Pipfile.lock"):
        shutil.copy(APP / name, folder / name)
    python = os.path.realpath(sys.executable)
    run(pipenv, "--python", python, "sync", cwd=folder)
    (folder / "requirements.txt").write_text(run(pipenv, "requirements", "--hash", cwd=folder))
    run(
        *(folder / ".venv/bin/python", "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
        *("--only-binary", ":all:", "--dest", "wheels", "--requirement", "requirements.txt"),
        cwd=folder,
    )
    return folder


@pytest.fixture(scope="session")
def layout() -> VenvLayout:
    version = ".".join(map(str, sys.version_info[:3]))
    return VenvLayout(python_version=version, stack_python=os.path.realpath(sys.executable))


@pytest.fixture(scope="session")
def wheels(peer: Path, layout: VenvLayout) -> list[WheelContents]:
    return [read_wheel(path, layout=layout) for path in sorted((peer / "wheels").iterdir())]


@pytest.mark.slow
def test_the_rich_example_is_installed_as_pipenv_does(
    peer: Path, layout: VenvLayout, wheels: list[WheelContents]
) -> None:
    entries = [entry for contents in wheels for entry in contents.entries]
    names = [contents.name for contents in wheels]
    locked = {canonical_name(name) for name in json.loads((APP / "Pipfile.lock").read_bytes())["default"]}
    site = peer / ".venv" / posixpath.relpath(layout.site_packages, layout.root)
    folders = [path.name.removesuffix(".dist-info") for path in site.glob("*.dist-info")]
    there = {canonical_name(name.rpartition("-")[0]) for name in folders}
    assert set(names) == there - {"pip", "setuptools", "wheel"}
    assert locked >= set(names)
    assert len(names) >= 30
    assert compare_installs(peer / ".venv", entries, layout, names) == []


@pytest.mark.slow
def test_the_comparison_finds_differences(peer: Path, layout: VenvLayout, wheels: list[WheelContents]) -> None:
    contents = next(each for each in wheels if each.name == "flask")
    entries = {entry.path: entry for entry in contents.entries}
    site, launcher = layout.site_packages, f"{layout.scripts}/flask"
    entries[f"{site}/flask/app.py"] = file(f"{site}/flask/app.py", b"")
    entries[f"{site}/flask/cli.py"] = replace(entries[f"{site}/flask/cli.py"], mode=0o755)
    entries[launcher] = file(
        launcher, content_bytes(entries[launcher].content).replace(b"main", b"other"), executable=True
    )
    entries[f"{site}/flask/new.py"] = file(f"{site}/flask/new.py", b"")
    del entries[f"{site}/flask/views.py"]
    inside = f"lib/python{layout.short_version}/site-packages/flask"
    assert compare_installs(peer / ".venv", entries.values(), layout, ["flask"]) == [
        f"only the peer has {inside}/views.py",
        f"only we have {inside}/new.py",
        "bin/flask has other bytes",
        f"{inside}/app.py has other bytes",
        f"{inside}/cli.py is executable for one of us only",
    ]


@pytest.mark.slow
def test_the_entries_work_as_an_environment(peer: Path, tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    version = ".".join(map(str, sys.version_info[:3]))
    here = VenvLayout(
        root=str(folder).lstrip("/"), python_version=version, stack_python=os.path.realpath(sys.executable)
    )
    entries = venv_entries(here)
    for path in sorted((peer / "wheels").iterdir()):
        entries.extend(read_wheel(path, layout=here).entries)
    install_entries(entries, folder)
    listed = run(
        folder / "bin/python", "-c", "import pandas, flask, PIL, psycopg2; print(pandas.__file__)", cwd=tmp_path
    )
    assert listed == f"/{here.site_packages}/pandas/__init__.py\n"
    assert run(folder / "bin/flask", "--version", cwd=tmp_path).startswith("Python ")
    pip = peer / ".venv/bin/python"
    assert run(pip, "-m", "pip", "--python", folder / "bin/python", "check", cwd=tmp_path) == (
        "No broken requirements found.\n"
    )
