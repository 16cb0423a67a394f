"""Wheels that ship the same paths: one wins, the same everywhere, and it is said which."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command import deploy
from tests.support.index import Index, serving, sha256
from tests.support.wheels import Packed, write_wheel

SITE = f"/opt/venv/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


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
    meta = {
        "hash": {"sha256": ""},
        "pipfile-spec": 6,
        "sources": [{"name": "main", "url": index.url, "verify_ssl": True}],
    }
    (app / "Pipfile.lock").write_text(json.dumps({"_meta": meta, "default": locked, "develop": {}}, indent=4))
    (app / "Procfile").write_text("web: python -c 'import shared; print(shared.WHO)'\n")
    (app / "deploy.toml").write_text('stack = "host"\n')
    return app


def test_the_later_layer_wins_in_the_image_and_here(index: Index, home: Path, tmp_path: Path) -> None:
    # The large one has a layer of its own, below those of the small ones, whatever their names.
    app = app_with(
        index,
        tmp_path,
        alpha={"shared.py": b"WHO = 'alpha'\n"},
        zeta={"shared.py": b"WHO = 'zeta'\n", "zeta.bin": Packed(bytes(2 << 20), method=zipfile.ZIP_STORED)},
    )
    report = deploy("build", app, "--json", home=home).report
    order = [member["name"] for layer in report["layers"] for member in layer["members"]]
    assert order == ["zeta", "alpha"]
    assert report["warnings"][1:] == [
        f"zeta and alpha both ship {SITE}/shared.py; alpha's counts. Lock only one of them."
    ]
    done = deploy("local", app, "--", "python", "-c", "import shared; print(shared.WHO)", home=home)
    assert done.out == "alpha\n", done.err


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
