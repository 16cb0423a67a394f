"""Wheels that are built here bring the shared libraries that they link to."""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildpack.errors import DependencyError
from buildpack.errors.stacks import libraries_not_there
from buildpack.oci.archive import write_oci_dir
from buildpack.oci.image import Image, assemble
from buildpack.oci.store import Store
from buildpack.python.files import WheelFile
from buildpack.steps.built import BuiltImage
from buildpack.steps.grafting import graft
from buildpack.steps.sbom import make_sbom
from buildpack.steps.test_image import with_develop
from buildpack.system.elf import read_elf
from tests.support.index import Index, serving, sha256
from tests.support.tiny import build_here, entry, environ, session_of, with_stack, write_app
from tests.support.wheels import write_wheel

BACKEND = '''
import os, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    """Pack what a compiler made."""
    info = "greeter-1.0.dist-info"
    with zipfile.ZipFile(os.path.join(folder, "greeter-1.0-py3-none-linux_MACHINE.whl"), "w") as wheel:
        wheel.write("_greeter.so", "greeter/_greeter.so")
        wheel.writestr("greeter/__init__.py", "")
        wheel.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: greeter\\nVersion: 1.0\\n")
        wheel.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: false\\nTag: py3-none-linux_MACHINE\\n")
        wheel.writestr(info + "/RECORD", "")
    return "greeter-1.0-py3-none-linux_MACHINE.whl"
'''.replace("MACHINE", platform.machine())
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def compile_library(made: Path, code: str, *needed: Path) -> Path:
    source = made.with_suffix(".c")
    source.write_text(code)
    soname = f"-Wl,-soname,{made.name}"
    subprocess.run(["cc", "-shared", "-fPIC", soname, "-o", str(made), str(source), *map(str, needed)], check=True)
    return made


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a library that needs another one, and a module that needs the first."""
    folder = tmp_path_factory.mktemp("machine")
    deep = compile_library(folder / "libdeep.so.2", "int deep(void) { return 42; }")
    greet = compile_library(folder / "libgreet.so.1", "int deep(void); int greet(void) { return deep(); }", deep)
    compile_library(folder / "_greeter.so", "int greet(void); int answer(void) { return greet(); }", greet)
    return folder


@pytest.fixture(scope="module")
def index(machine: Path) -> Iterator[Index]:
    files = {"pyproject.toml": PYPROJECT.encode(), "backend.py": BACKEND.encode()}
    files["_greeter.so"] = (machine / "_greeter.so").read_bytes()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"greeter-1.0/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    with serving() as made:
        made.add("greeter", "greeter-1.0.tar.gz", out.getvalue())
        yield made


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, index: Index) -> Path:
    content = index.projects["greeter"][0].content
    return write_app(tmp_path_factory.mktemp("linked") / "tiny", {"greeter": entry(content)})


@pytest.fixture(scope="module")
def env(machine: Path, index: Index) -> dict[str, str]:
    return {**os.environ, **environ(index), "LD_LIBRARY_PATH": str(machine)}


@pytest.fixture(scope="module")
def home(seed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_stack(seed, tmp_path_factory.mktemp("home") / "home")


@pytest.fixture(scope="module")
def built(app: Path, home: Path, env: dict[str, str]) -> BuiltImage:
    return build_here(app, home, env)


def unpack(image: Image, home: Path, folder: Path) -> Path:
    """Unpack the dependencies, and return where the packages are."""
    for layer in image.layers:
        if layer.annotations.get("dev.deploy.kind") == "dependencies":
            with Store(home).open(layer.digest) as blob, tarfile.open(fileobj=blob, mode="r:gz") as archive:
                archive.extractall(folder, filter="fully_trusted")
    return next(folder.glob("opt/venv/lib/python3*/site-packages"))


def test_the_libraries_are_in_the_layer_of_the_wheel_and_are_found_there(built, home, tmp_path):
    packages = unpack(built.image, home, tmp_path)
    copies = sorted(path.name for path in (packages / "greeter.libs").iterdir())
    assert [name.partition("-")[0] for name in copies] == ["libdeep", "libgreet"]
    module = read_elf(packages / "greeter" / "_greeter.so")
    assert module is not None
    assert copies[1] in module.needed
    # Nothing names their folder: they are found beside the package, wherever that is.
    code = f"import ctypes; print(ctypes.CDLL({str(packages / 'greeter/_greeter.so')!r}).answer())"
    clean = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout == "42\n"
    record = (packages / "greeter-1.0.dist-info" / "RECORD").read_text()
    assert all(f"greeter.libs/{name},sha256=" in record for name in copies)
    assert built.warnings == ()


def test_packages_that_only_tests_need_bring_theirs_as_well(index, home, env, tmp_path):
    app = write_app(tmp_path / "tiny", {})
    lock = json.loads((app / "Pipfile.lock").read_text())
    lock["develop"] = {"greeter": {**entry(index.projects["greeter"][0].content), "index": "tiny"}}
    (app / "Pipfile.lock").write_text(json.dumps(lock))
    built = build_here(app, home, env)
    image = with_develop(built.image, built.app, built.stack, session_of(home, env))
    packages = unpack(image, home, tmp_path / "unpacked")
    copies = sorted(path.name.partition("-")[0] for path in (packages / "greeter.libs").iterdir())
    assert copies == ["libdeep", "libgreet"]


def test_the_bill_of_materials_names_them(built, machine):
    parts = json.loads(make_sbom(built.image))["components"]
    named = {
        part["name"]: part["hashes"][0]["content"] for part in parts if part["bom-ref"].startswith("pkg:pypi/greeter")
    }
    assert named.keys() == {"greeter", "libdeep.so.2", "libgreet.so.1"}
    assert named["libdeep.so.2"] == sha256((machine / "libdeep.so.2").read_bytes())


def test_the_same_libraries_give_the_same_image(built, app, env, tmp_path):
    again = build_here(app, tmp_path / "other", env)
    assert again.image.digest == built.image.digest


def test_a_library_that_changes_makes_another_layer(built, app, home, env, machine, tmp_path):
    key = built.layers[1][0].planned.key
    before = (machine / "libdeep.so.2").read_bytes()
    try:
        compile_library(machine / "libdeep.so.2", "int deep(void) { return 43; }")
        again = build_here(app, home, env)
    finally:
        (machine / "libdeep.so.2").write_bytes(before)
    assert again.layers[1][0].planned.key != key
    assert again.layers[1][0].source == "built"


def test_libraries_are_searched_again_only_if_something_about_them_changed(machine, tmp_path):
    """A build with a path package looks up all packages again, but the search for libraries is slow."""
    first, second, home = tmp_path / "first", shutil.copytree(machine, tmp_path / "second"), tmp_path / "home"
    first.mkdir()
    wheel = write_wheel(tmp_path, {"greeter/_greeter.so": (machine / "_greeter.so").read_bytes()}, name="greeter")
    size, sum_ = wheel.stat().st_size, sha256(wheel.read_bytes())
    file = WheelFile(name="greeter", version="1.0", filename=wheel.name, url="", sha256=sum_, size=size, source="")

    def grafted(path: Path, *, stack: tuple[str, ...] = (), no_cache: bool = False) -> WheelFile | None:
        return graft(
            file,
            path,
            {"libgreet.so.1"},
            stack=frozenset({"libc.so.6", *stack}),
            python=Path(sys.executable).resolve(),
            store=Store(home, ignore_facts=no_cache),
            environ={"LD_LIBRARY_PATH": f"{first}:{second}"},
        )

    gone = tmp_path / "gone"
    made = grafted(wheel)
    assert made is not None
    assert made.sha256 != sum_
    assert grafted(gone) == made
    for again in ({"no_cache": True}, {"stack": ("libdeep.so.2",)}):
        with pytest.raises(FileNotFoundError):
            grafted(gone, **again)
    # Another library of that name is found first now.
    compile_library(first / "libdeep.so.2", "int deep(void) { return 44; }")
    other = grafted(wheel)
    assert other is not None
    assert other.libraries != made.libraries
    assert grafted(gone) == other


def test_a_library_that_is_too_large_to_copy_ends_the_build(machine, tmp_path):
    large = shutil.copytree(machine, tmp_path / "large") / "libgreet.so.1"
    os.truncate(large, 257 << 20)
    wheel = write_wheel(tmp_path, {"greeter/_greeter.so": (machine / "_greeter.so").read_bytes()}, name="greeter")
    size, sum_ = wheel.stat().st_size, sha256(wheel.read_bytes())
    with pytest.raises(DependencyError) as caught:
        graft(
            WheelFile(name="greeter", version="1.0", filename=wheel.name, url="", sha256=sum_, size=size, source=""),
            wheel,
            {"libgreet.so.1"},
            stack=frozenset({"libc.so.6"}),
            python=Path(sys.executable).resolve(),
            store=Store(tmp_path / "home"),
            environ={"LD_LIBRARY_PATH": str(large.parent)},
        )
    assert caught.value.what == f"{wheel.name} needs {large}, which is too large to copy into it"
    assert caught.value.why == "The library has 257 MiB, and the limit is 256 MiB."


def test_on_a_base_that_lacks_them_the_build_stops(built, app, home, env, tmp_path):
    """The stand-in for a registry's image is the host stack without what it was gathered from."""
    layout = tmp_path / "layout"
    store = Store(home)
    stack = built.stack
    image = assemble(
        stack.layers, platform=stack.platform, created="1980-01-01T00:00:00Z", config=stack.config, annotations={}
    )
    write_oci_dir(image, store.open, layout, ["base:1"])
    with pytest.raises(DependencyError) as caught:
        build_here(app, home, env, stack=f"oci:{layout}")
    assert caught.value.exit_code == 20
    assert str(caught.value) == (
        f"greeter 1.0 does not work on the stack oci:{layout}\n\n"
        "It has no wheel and was built here. It needs libgreet.so.1, which the stack lacks.\n\n"
        "hint: make a base that has the libraries, push it, and name it with `--stack REF`. Its Dockerfile:\n"
        "  FROM IMAGE\n"
        "  RUN apt-get update && apt-get install -y --no-install-recommends PACKAGES && rm -rf /var/lib/apt/lists/*"
    )


def test_the_error_names_the_package_to_choose_instead():
    error = libraries_not_there("psycopg2", "2.9", ["libpq.so.5"], "python:3.12-slim", instead="psycopg2-binary")
    assert error.hint.startswith("lock psycopg2-binary instead of psycopg2, or make a base that has the libraries")
    assert (
        "  FROM python:3.12-slim\n  RUN apt-get update && apt-get install -y --no-install-recommends libpq5 "
        in error.hint
    )
