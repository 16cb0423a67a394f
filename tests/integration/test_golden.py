"""Digests that stay: what the builder makes of the same app, wheels and base is the same from version to version.

The base is a tiny one whose Python cannot run, so that no byte code is in the images, the launcher is a file of one
line, and the wheels are not compressed. So a digest depends on the builder alone: not on the machine, its interpreters
or its zlib. Whoever changes a digest here changes every image of every user once: their next build writes and pushes
all layers.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from buildpack.options import Launcher, Options, OwnPython
from buildpack.pipeline import build
from buildpack.stacks.platforms import parse_platforms
from tests.support.bases import make_base
from tests.support.command import EXAMPLES
from tests.support.index import Index, serving
from tests.support.stand_in import join_platforms
from tests.support.tiny import Entry, entry, environ, session_of, write_app
from tests.support.wheels import Packed, write_wheel

PYTHON = "3.12.99"
"""No machine has it."""
LAUNCHER = Launcher(files={"__main__.py": b"raise SystemExit('golden')\n"})
WHEEL = b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
OWN = OwnPython(version="3.12", executable="/usr/bin/python3", machine="x86_64")
OPTIONS: dict[str, Any] = {"labels": {"org.example.team": "golden"}, "launcher": LAUNCHER}

Wheels = Mapping[str, Mapping[str, bytes]]
"""The files of each wheel, by ``name version``."""
Files = Mapping[str, bytes | Path]
"""More files of the app; a path is what a symbolic link names, and a name that ends with ``!`` is executable."""

ALPHA: Wheels = {"alpha 1.0": {"alpha/__init__.py": b"NUMBER = 1\n", "alpha/rows.csv": b"1,2\n" * 999}}
NAMES = ("bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo")

APPS: dict[str, tuple[Wheels, Files, str]] = {
    "no package": ({}, {}, "f852001c34a24744c6a29f46eaf493b64567c909f03f6a7d7c669d2df02595f9"),
    "one package": (ALPHA, {}, "8f7d7c3ccfbee9b900b2b536f8521a993d0022c543f8bec96915d9a37bcba36a"),
    "many packages": (
        {f"{name} 1.0": {f"{name}/__init__.py": name.encode() * 500} for name in NAMES},
        {},
        "712999920f2805cee1f3af5a0ed4e8727e87f7b73a817adb18594d37367fd68f",
    ),
    "scripts and data": (
        {
            "lima 1.0": {
                "lima.py": b"def main():\n    print('lima')\n",
                "lima-1.0.dist-info/entry_points.txt": b"[console_scripts]\nlima = lima:main\n",
                "lima-1.0.data/scripts/lima-old": b"#!python\nimport lima\n",
                "lima-1.0.data/data/share/lima/rows.csv": b"1,2,3\n",
                "lima-1.0.data/purelib/mike.py": b"import lima\n",
            }
        },
        {},
        "f2f4e18ed3826bc3c360ffdc88ca436e814342942317d3830e07fa689f20d58e",
    ),
    "a namespace": (
        {f"{name} 1.0": {f"shared/{name}/__init__.py": b""} for name in ("november", "oscar")},
        {},
        "5df95236a92623a7d4a3d77686cd05891de5648b4bed8d3f501b52b20396c3e4",
    ),
    "process types": (
        ALPHA,
        {
            "Procfile": b"web: python -m tiny\nworker: python -m huge $PORT\nrelease: true\n",
            "app.json": b'{"formation": {"web": {"quantity": 2}, "worker": {"quantity": 0}}}\n',
        },
        "ec7ba1fc0ffc9e64cf4547e4c7d6e27e8c9940da6fd7785c14753497afa213b9",
    ),
    "files of every kind": (
        ALPHA,
        {
            "run!": b"#!/bin/sh\n",
            "link": Path("tiny/page.html"),
            "empty": b"",
            "umlaut-\u00e4": b"\xff\xfe",
            "/".join(["a-folder-with-a-long-name"] * 8 + ["x" * 120]): b"deep\n",
            "large.bin": bytes(range(256)) * 4096,
        },
        "935846f704b4cce5835952915792b981eafe139c3b9cf8e9acef46fa19a9fee4",
    ),
    "files left out": (
        {},
        {
            ".dockerignore": b"*.log\n!keep.log\n",
            ".slugignore": b"docs\n",
            "one.log": b"text\n",
            "keep.log": b"text\n",
            ".env": b"SECRET=1\n",
            "docs/page.md": b"text\n",
        },
        "612c4fd6de71da45aa04da4cec1272192beb33c3ff79a1ee5019e135eba75c8e",
    ),
    "versions of every kind": (
        {"quebec 2.0.1": {"quebec.py": b"VERSION = 2\n"}, "romeo 1!3.0.post1": {"romeo.py": b"VERSION = 3\n"}},
        {},
        "a5ae41c3b11070c42545641270b58290de903ad55bcf134f21232d62c5e48933",
    ),
    "described packages": (
        {
            **ALPHA,
            "sierra 1.0": {
                "sierra.py": b"",
                "sierra-1.0.dist-info/METADATA": b"Metadata-Version: 2.4\nName: sierra\nVersion: 1.0\n"
                b"License-Expression: MIT OR Apache-2.0\nAuthor: Somebody\nRequires-Dist: alpha (>=1)\n",
            },
        },
        {},
        "e629c9c0b8cc6ef5f155fabae98471755326554c551b969b3a2f8eca9c229aef",
    ),
}
EXAMPLE_DIGESTS = {
    "blasto": "31c02a7aac026e1fdeac1477b857e8f420687c9d616b905f75b3f713a2285d12",
    "bookshelf": "c1ce1d131681ac1b6afbd651b6fd38d8e559e2dd0e171dd79b8a849a31221f36",
}
INDEX_DIGEST = "34a6de3c4fcd37c7a35d2d1b51b76a213a8260f2ccc07c01552a808efc617bd8"


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with serving() as index:
        yield index


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base for each of two architectures, and one index of both."""
    folder = tmp_path_factory.mktemp("bases")
    made = [make_base(folder / machine, machine=machine, python=PYTHON) for machine in ("x86_64", "aarch64")]
    return join_platforms(made, folder / "both")


def write(folder: Path, wheels: Wheels, files: Files, *, index: Index) -> Path:
    packages: dict[str, Entry] = {}
    (folder / "wheels").mkdir(parents=True)
    for key, given in wheels.items():
        name, version = key.split()
        info = f"{name}-{version}.dist-info"
        whole = {f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(), **given}
        whole[f"{info}/WHEEL"] = WHEEL
        stored = {path: Packed(body, method=zipfile.ZIP_STORED) for path, body in whole.items()}
        wheel = write_wheel(folder / "wheels", stored, name=name, version=version)
        index.add(name, wheel.name, wheel.read_bytes())
        packages[name] = entry(wheel.read_bytes(), version=version)
    app = write_app(folder / "app", packages, python=PYTHON)
    for name, content in files.items():
        path = app / name.rstrip("!")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            path.symlink_to(content)
        else:
            path.write_bytes(content)
            path.chmod(0o755 if name.endswith("!") else 0o644)
    return app


def arguments(home: Path, index: Index) -> dict[str, object]:
    return {
        "session": session_of(home, {**os.environ, **environ(index)}, own_python=OWN),
    }


@pytest.mark.parametrize("name", APPS)
def test_the_digest_of_a_tiny_app_stays(name, tmp_path, index, bases):
    wheels, files, digest = APPS[name]
    app = write(tmp_path, wheels, files, index=index)
    options = Options(stack=f"oci:{bases}", platform="linux/amd64", **OPTIONS)
    built = build(app, options=options, **arguments(tmp_path / "home", index))
    assert built.image.digest.hex == digest


def test_the_digest_of_an_index_stays(tmp_path, index, bases):
    app = write(tmp_path, ALPHA, {}, index=index)
    built = build(
        app,
        platforms=parse_platforms("linux/amd64,linux/arm64"),
        options=Options(stack=f"oci:{bases}", **OPTIONS),
        **arguments(tmp_path / "home", index),
    )
    assert built.image.digest.hex == INDEX_DIGEST


@pytest.mark.parametrize("name", EXAMPLE_DIGESTS)
def test_the_digest_of_an_example_stays(name, tmp_path, index, bases, home):
    options = Options(stack=f"oci:{bases}", platform="linux/amd64", **OPTIONS)
    built = build(EXAMPLES / name, options=options, **arguments(home, index))
    assert built.image.digest.hex == EXAMPLE_DIGESTS[name]
