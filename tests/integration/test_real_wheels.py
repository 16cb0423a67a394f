"""Well-known packages with compiled code, in real images: they import, and the build reports what a stack lacks.

One lock (tests/apps/real_wheels) on two stacks, from one store: some 120 MB come from the package index, once.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from buildpack.oci.store import Store
from tests.conftest import missing
from tests.support.command import deploy
from tests.support.endurance import drawn
from tests.support.rootfs import run_in, unpack
from tests.support.stand_in import make_stand_in

APP = Path(__file__).parents[1] / "apps" / "real_wheels"
NAME = "deploy-test-real-wheels"

pytestmark = [pytest.mark.engine, pytest.mark.slow]

MODULES = (
    "aiohttp._http_parser",
    "bcrypt",
    "_cffi_backend",
    "cryptography.hazmat.bindings._rust",
    "greenlet",
    "grpc",
    "httptools.parser.parser",
    "lxml.etree",
    "markupsafe._speedups",
    "msgpack._cmsgpack",
    "numpy",
    "orjson",
    "pandas",
    "PIL._imaging",
    "google._upb._message",
    "psutil",
    "psycopg2",
    "pydantic_core",
    "yaml._yaml",
    "regex",
    "scipy.stats",
    "sqlalchemy.engine._row_cy",
    "uvloop",
    "zstandard.backend_c",
)
"""The module that loads the compiled part, for each package of the Pipfile."""

PROBE = """
import ctypes, importlib, importlib.metadata, json, os, re, sys
refused, lacking = {}, {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        refused[name] = f"{type(error).__name__}: {error}"
for wheel in importlib.metadata.distributions():
    for file in wheel.files or ():
        # What auditwheel put into NAME.libs is found through the modules that need it, not alone.
        if file.name.endswith(".so") and not file.parts[0].endswith(".libs"):
            try:
                ctypes.CDLL(str(file.locate()), os.RTLD_LAZY)
            except OSError as error:
                lacking.setdefault(wheel.metadata["Name"].lower().replace("_", "-"), set()).add(str(error))
json.dump({"refused": refused, "lacking": {name: sorted(errors) for name, errors in lacking.items()}}, sys.stdout)
"""


@dataclass(frozen=True, kw_only=True)
class Tried:
    """An image: what its build warned of, and what its Python and its loader said of the wheels in it."""

    warnings: list[str]
    refused: dict[str, str]
    lacking: dict[str, list[str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "home"


@pytest.fixture(scope="module")
def stand_in() -> Path:
    try:
        return make_stand_in()
    except RuntimeError as error:
        missing(f"the stand-in for python:3.11-slim could not be made: {error}")


@pytest.fixture(scope="module", autouse=True)
def no_images_left(engine: str) -> Iterator[None]:
    yield
    names = [f"{NAME}:{tag}" for tag in ("host", "slim")]
    subprocess.run(["docker", "rmi", "-f", *names], check=False, capture_output=True)


def try_on(stack: str, tag: str, home: Path, engine: str) -> Tried:
    name = f"{NAME}:{tag}"
    options = ("--stack", stack, "-t", name, "--to", "docker", "--json")
    report = deploy("build", APP, *options, home=home, env={"DOCKER_HOST": engine}).report
    probe = ["docker", "run", "--rm", "-i", name, "python", "-", *MODULES]
    said = subprocess.run(probe, input=PROBE.encode(), capture_output=True, check=True).stdout
    return Tried(warnings=report["warnings"], **json.loads(said))


@pytest.mark.endurance
@pytest.mark.parametrize("tag", drawn(["slim", "host"], 1))
def test_everything_imports(tag: str, home: Path, stand_in: Path, engine: str) -> None:
    tried = try_on("host" if tag == "host" else f"oci:{stand_in}", tag, home, engine)
    assert (tried.refused, tried.lacking) == ({}, {})
    assert [text for text in tried.warnings if " needs " in text] == []


def test_the_build_reports_what_the_stack_lacks(home: Path, stand_in: Path, tmp_path: Path) -> None:
    bare = without(stand_in, "libstdc++.so.6", tmp_path / "bare")
    report = deploy("build", APP, "--stack", f"oci:{bare}", "-t", f"{NAME}:bare", "--json", home=home).report
    store = Store(home)
    image = store.image(f"docker.io/library/{NAME}:bare")
    assert image is not None
    root = unpack(image.layers, store, tmp_path / "root")
    place = next(root.glob("usr/lib/*/libstdc++.so.6"))
    place.unlink()  # GNU tar knows no whiteouts
    said = run_in(root, "/opt/venv/bin/python", "-c", PROBE, *MODULES)
    tried = Tried(warnings=report["warnings"], **json.loads(said.stdout))
    warned = {found[1]: text for text in tried.warnings if (found := re.match(r"(\S+) needs ", text))}
    # Exactly those whose modules the loader refuses.
    assert set(warned) == set(tried.lacking)
    assert {"numpy", "pandas", "grpcio", "greenlet"} <= set(warned)
    assert warned["numpy"] == (
        f"numpy needs libstdc++.so.6, which the stack oci:{bare} lacks: importing it may fail. "
        "Debian has it in libstdc++6. Use a stack that has it, or take another wheel."
    )
    absent = "libstdc++.so.6: cannot open shared object file: No such file or directory"
    assert {told for each in tried.lacking.values() for told in each} == {absent}
    assert tried.refused["greenlet"] == f"ImportError: {absent}"
    assert {"numpy", "pandas", "grpc", "greenlet", "scipy.stats"} <= set(tried.refused)
    assert {"lxml.etree", "orjson", "uvloop", "PIL._imaging"}.isdisjoint(tried.refused)


def without(layout: Path, library: str, folder: Path) -> Path:
    """Copy a layout of one image, with a layer on top that takes this library away."""
    shutil.copytree(layout, folder)

    def blob(digest: str) -> Path:
        return folder / "blobs" / digest.replace(":", "/")

    def put(content: bytes) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        blob(digest).write_bytes(content)
        return {"digest": digest, "size": len(content)}

    index = json.loads((folder / "index.json").read_text())
    manifest = json.loads(blob(index["manifests"][0]["digest"]).read_text())
    config = json.loads(blob(manifest["config"]["digest"]).read_text())
    [base] = manifest["layers"]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(blob(base["digest"]).read_bytes()))) as tar:
        [place] = [name.removeprefix("./") for name in tar.getnames() if name.endswith(f"/{library}")]
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(f"{Path(place).parent}/.wh.{library}"))
    manifest["layers"].append({"mediaType": base["mediaType"], **put(gzip.compress(out.getvalue(), mtime=0))})
    config["rootfs"]["diff_ids"].append(f"sha256:{hashlib.sha256(out.getvalue()).hexdigest()}")
    manifest["config"].update(put(json.dumps(config).encode()))
    index["manifests"][0].update(put(json.dumps(manifest).encode()))
    (folder / "index.json").write_text(json.dumps(index))
    return folder
