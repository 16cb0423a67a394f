"""Wheels that ship the same paths: one wins, the same everywhere, and it is said which."""

from __future__ import annotations

import json
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import deploy
from tests.support.index import Index, serving, sha256
from tests.support.wheels import Packed, write_wheel

SERIES = f"{sys.version_info[0]}.{sys.version_info[1]}"
SITE = f"/opt/venv/lib/python{SERIES}/site-packages"


@pytest.fixture
def index() -> Iterator[Index]:
    with serving() as served:
        yield served


def app_with(index: Index, folder: Path, **wheels: dict[str, bytes | Packed]) -> Path:
    """Make an app whose lock holds these wheels."""
    locked = {}
    for name, files in wheels.items():
        content = write_wheel(folder, files, name=name).read_bytes()
        index.add(name, f"{name}-1.0-py3-none-any.whl", content)
        locked[name] = {"hashes": [f"sha256:{sha256(content)}"], "version": "==1.0"}
    app = folder / "app"
    app.mkdir()
    (app / ".python-version").write_text(f"{SERIES}\n")
    meta = {
        "hash": {"sha256": ""},
        "pipfile-spec": 6,
        "sources": [{"name": "main", "url": index.url, "verify_ssl": True}],
    }
    (app / "Pipfile.lock").write_text(json.dumps({"_meta": meta, "default": locked, "develop": {}}, indent=4))
    (app / "Procfile").write_text("web: python -c 'import shared; print(shared.WHO)'\n")
    (app / "deploy.toml").write_text('stack = "host"\n')
    return app


def test_the_last_name_wins_in_the_image_and_here_with_any_layers(index: Index, home: Path, tmp_path: Path) -> None:
    # Its size would give the large wheel a layer of its own, below that of the small one.
    app = app_with(
        index,
        tmp_path,
        alpha={"shared.py": b"WHO = 'alpha'\n", "same.py": b"SAME = 1\n", "tests/conftest.py": b"alpha"},
        zeta={
            "shared.py": b"WHO = 'zeta'\n",
            "same.py": b"SAME = 1\n",
            "tests/conftest.py": b"zeta",
            "zeta.bin": Packed(bytes(2 << 20), method=zipfile.ZIP_STORED),
        },
    )
    done = deploy("build", app, "--json", home=home)
    report = done.report
    assert [[member["name"] for member in layer["members"]] for layer in report["layers"] if layer["members"]] == [
        ["alpha", "zeta"]
    ]
    (warning,) = report["warnings"][1:]
    assert warning == (
        f"alpha and zeta ship different files as {SITE}/shared.py; zeta's files are used. "
        "Remove alpha from Pipfile: its files are replaced, and no other package requires it."
    )
    assert report["notes"] == [
        f"alpha and zeta ship different files as {SITE}/tests/conftest.py; zeta's files are used. No app imports them."
    ]
    (layer,) = (layer for layer in report["layers"] if layer["members"])
    with tarfile.open(home / "blobs" / "sha256" / layer["digest"].removeprefix("sha256:")) as tar:
        file = tar.extractfile(f"{SITE[1:]}/shared.py")
        assert file is not None
        assert file.read() == b"WHO = 'zeta'\n"
    assert f"  note     {report['notes'][0]}\n" in deploy("build", app, "-v", home=home).err
    here = deploy("local", app, "--", "python", "-c", "import shared; print(shared.WHO)", home=home)
    assert here.out == "zeta\n", here.err


def test_equal_files_are_not_a_conflict(index: Index, home: Path, tmp_path: Path) -> None:
    app = app_with(
        index,
        tmp_path,
        alpha={"shared.py": b"WHO = 'both'\n"},
        zeta={"shared.py": b"WHO = 'both'\n", "zeta.bin": Packed(bytes(2 << 20), method=zipfile.ZIP_STORED)},
    )
    report = deploy("build", app, "--json", home=home).report
    assert [[member["name"] for member in layer["members"]] for layer in report["layers"] if layer["members"]] == [
        ["zeta"], ["alpha"],
    ]  # fmt: skip
    assert (report["warnings"][1:], report["notes"]) == ([], [])


@pytest.mark.parametrize("command", [["build"], ["local"]])
def test_a_file_and_a_folder_of_one_name(index: Index, home: Path, tmp_path: Path, command: list[str]) -> None:
    app = app_with(index, tmp_path, one={"thing": b"x"}, two={"thing/inside.py": b""})
    done = deploy(*command, app, home=home)
    assert (done.code, done.out) == (20, "")
    place = done.err.partition("\n\n")[2].partition(" is a file")[0]
    assert place.endswith("/site-packages/thing")
    assert done.err.endswith(
        "error: one and two cannot be installed together\n\n"
        f"{place} is a file in one of them and a folder in another.\n\n"
        f"hint: ask for only one of them in Pipfile, run `deploy lock {app}`, and build again.\n"
    )
