"""A tiny app with a lock of tiny wheels, and an index on loopback that has them: a build of it takes half a second."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from buildpack.app.pipfile import pipfile_hashes, read_pipfile
from buildpack.oci.store import Store
from buildpack.options import Options, OwnPython
from buildpack.pipeline import build
from buildpack.session import SILENT, Listener, Session
from buildpack.steps.built import BuiltImage
from tests.support.index import Index, sha256
from tests.support.wheels import write_wheel

SOURCE = "http://${TINY_INDEX}/simple"
"""Without the port, which would be another one each time, and is shipped with the lock."""

APP = '''\
"""A WSGI app of nothing but the standard library."""


def make_app():
    def serve(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"tiny"]

    return serve


app = make_app()
'''
"""There are two packages with an app object each; the one that is named like the app is it."""

Entry = Mapping[str, Any]


def environ(index: Index) -> dict[str, str]:
    """The variable of `SOURCE`."""
    return {"TINY_INDEX": index.url.partition("://")[2].partition("/")[0]}


def add_wheels(index: Index, folder: Path, *names: str, body: bytes = b"", stated: str = "") -> dict[str, Entry]:
    """Put a tiny wheel of each name on the index, with `stated` in METADATA; return their entries for a lock."""
    folder.mkdir(parents=True, exist_ok=True)
    packages = {}
    for number, name in enumerate(names):
        files = {
            f"{name}/__init__.py": f'"""The package {name}."""\n\nNUMBER = {number}\n'.encode() + body,
            f"{name}/rows.csv": "".join(f"{row},{name}\n" for row in range(50 * (number + 1))).encode(),
            f"{name}-1.0.dist-info/entry_points.txt": f"[console_scripts]\nrun-{name} = {name}:main\n".encode(),
        }
        if stated:
            files[f"{name}-1.0.dist-info/METADATA"] = f"Name: {name}\nVersion: 1.0\n{stated}".encode()
        wheel = write_wheel(folder, files, name=name)
        index.add(name, wheel.name, wheel.read_bytes())
        packages[name] = entry(wheel.read_bytes())
    return packages


def entry(*contents: bytes, version: str = "1.0", **others: Any) -> Entry:
    """A package's entry in a lock, with the hashes of these files."""
    return {"hashes": [f"sha256:{sha256(content)}" for content in contents], "version": f"=={version}", **others}


def write_app(
    folder: Path, packages: Mapping[str, Entry], *, source: str = SOURCE, stack: str = "host", python: str = ""
) -> Path:
    """Write the app into a new folder."""
    (folder / "tiny").mkdir(parents=True)
    (folder / "tiny" / "__init__.py").write_text(APP)
    (folder / "huge").mkdir()
    (folder / "huge" / "__init__.py").write_text("from tiny import make_app\n\napp = make_app()\n")
    (folder / "tiny" / "page.html").write_text("<p>tiny</p>\n")
    (folder / "start.sh").write_text("#!/bin/sh\nexec python -m wsgiref.simple_server\n")
    (folder / "start.sh").chmod(0o755)
    (folder / "Procfile").write_text("web: python -m wsgiref.simple_server\n")
    (folder / "deploy.toml").write_text(f'name = "tiny"\nstack = "{stack}"\n')
    if python:
        (folder / ".python-version").write_text(f"{python}\n")
    lines = ["[[source]]", f'url = "{source}"', "verify_ssl = true", 'name = "tiny"', "", "[packages]"]
    lines += [f'{name} = "*"' for name in packages]
    (folder / "Pipfile").write_text("\n".join(lines) + "\n")
    write_lock(folder, packages, source=source)
    return folder


def write_lock(folder: Path, packages: Mapping[str, Entry], *, source: str = SOURCE) -> None:
    """Write Pipfile.lock again, for the Pipfile as it is."""
    pipfile = read_pipfile(folder)
    assert pipfile is not None
    lock = {
        "_meta": {
            "hash": {"sha256": min(pipfile_hashes(pipfile))},
            "pipfile-spec": 6,
            "requires": {},
            "sources": [{"name": "tiny", "url": source, "verify_ssl": True}],
        },
        "default": {name: {**locked, "index": "tiny"} for name, locked in packages.items()},
        "develop": {},
    }
    (folder / "Pipfile.lock").write_text(json.dumps(lock, indent=4, sort_keys=True) + "\n")


def build_here(
    app: Path, home: Path, environ: Mapping[str, str], *, listener: Listener | None = None, **options: Any
) -> BuiltImage:
    """Build in this process, as the command would in its own."""
    session = session_of(home, environ)
    return build(app, options=Options(**options), session=session, listener=listener or SILENT).images[0]


def session_of(home: Path, environ: Mapping[str, str], **others: Any) -> Session:
    """Return a session on a day when no version of Python is too old."""
    given: dict[str, Any] = {"own_python": OwnPython(), "today": date(2026, 1, 1), **others}
    return Session(store=Store(home), environ=environ, **given)


def with_stack(seed: Path, home: Path) -> Path:
    """Make a store that knows what `seed` knows of stacks, and nothing else; the blobs are the same files."""
    home.mkdir(parents=True)
    shutil.copytree(seed / "blobs", home / "blobs", copy_function=os.link)
    for kind in ("host", "host-python", "interpreter", "bytecode"):
        if (seed / "facts" / kind).exists():  # an app that names its Python asks for no other
            shutil.copytree(seed / "facts" / kind, home / "facts" / kind)
    return home
