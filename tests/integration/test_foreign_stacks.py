"""Stacks that cannot run here: another machine's, another C library's. Wheels are chosen for them, none is built."""

from __future__ import annotations

import io
import json
import platform
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildpack.dataclass import replace
from buildpack.errors import BuildpackError, DependencyError
from buildpack.options import Options, OwnPython
from buildpack.pipeline import BuiltImage, build
from buildpack.stacks import run_python
from buildpack.stacks.platforms import platform_of
from tests.conftest import missing
from tests.support.bases import make_base
from tests.support.command import deploy
from tests.support.elf import make_elf
from tests.support.index import Index, serving
from tests.support.stand_in import join_platforms, make_stand_in
from tests.support.tiny import Entry, add_wheels, build_here, entry, environ, session_of, write_app
from tests.support.wheels import write_wheel

X86, ARM = 62, 183


@pytest.fixture
def index() -> Iterator[Index]:
    with serving() as served:
        yield served


def offer(index: Index, folder: Path, *tags: str, needed: tuple[str, ...] = ()) -> dict[str, Entry]:
    """Put a package on the index, a wheel for each tag, with an extension module that needs these libraries."""
    folder.mkdir(exist_ok=True)
    contents = []
    for tag in tags:
        machine = ARM if "aarch64" in tag else X86
        files = {
            "fast/__init__.py": b"",
            "fast/_fast.so": make_elf(machine=machine, needed=("libc.so.6", *needed), extra=tag.encode()),
        }
        wheel = write_wheel(folder, files, name="fast", filename=f"fast-1.0-{tag}.whl")
        index.add("fast", wheel.name, wheel.read_bytes())
        contents.append(wheel.read_bytes())
    return {"fast": entry(*contents)}


def offer_sources(index: Index, name: str = "slow") -> dict[str, Entry]:
    """Put a package on the index that exists as an archive of sources only."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo(f"{name}-1.0/setup.py"), io.BytesIO(b""))
    index.add(name, f"{name}-1.0.tar.gz", out.getvalue())
    return {name: entry(out.getvalue())}


def app_on(base: Path, folder: Path, packages: dict[str, Entry]) -> Path:
    return write_app(folder / "app", packages, stack=f"oci:{base}", python="3.12")


def wheels(built: BuiltImage) -> list[str]:
    return [member.filename for made, _ in built.layers for member in made.planned.members]


def labels(built: BuiltImage) -> dict[str, Any]:
    return dict(json.loads(built.image.config)["config"]["Labels"])


EVERYWHERE = (
    "cp312-cp312-manylinux_2_17_x86_64",
    "cp312-cp312-manylinux_2_17_aarch64",
    "cp312-cp312-musllinux_1_1_x86_64",
    "cp312-cp312-musllinux_1_2_x86_64",
    "cp312-cp312-musllinux_1_2_aarch64",
)


@pytest.mark.parametrize(
    ("machine", "libc", "chosen"),
    [
        ("x86_64", "musl", "musllinux_1_2_x86_64"),
        ("aarch64", "musl", "musllinux_1_2_aarch64"),
        ("aarch64", "glibc", "manylinux_2_17_aarch64"),
        ("x86_64", "glibc", "manylinux_2_17_x86_64"),
    ],
)
def test_the_wheel_is_the_stack_s(machine: str, libc: str, chosen: str, index: Index, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", machine=machine, libc=libc)
    app = app_on(base, tmp_path, offer(index, tmp_path / "wheels", *EVERYWHERE))
    asked = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[machine]
    built = build_here(app, tmp_path / "home", environ(index), platform=asked)
    assert wheels(built) == [f"fast-1.0-cp312-cp312-{chosen}.whl"]
    assert built.stack.facts.libc == ((libc, 1, 2) if libc == "musl" else ("glibc", 2, 36))
    assert str(built.stack.platform) == asked
    assert json.loads(built.image.config)["architecture"] == asked.rpartition("/")[2]


def test_musl_takes_wheels_for_older_musl(index: Index, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", machine="x86_64", libc="musl")
    app = app_on(base, tmp_path, offer(index, tmp_path / "wheels", EVERYWHERE[0], EVERYWHERE[2]))
    built = build_here(app, tmp_path / "home", environ(index), platform="linux/amd64")
    assert wheels(built) == ["fast-1.0-cp312-cp312-musllinux_1_1_x86_64.whl"]


def test_musl_never_takes_a_wheel_for_glibc(index: Index, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", machine="x86_64", libc="musl")
    app = app_on(base, tmp_path, offer(index, tmp_path / "wheels", *EVERYWHERE[:2]))
    with pytest.raises(DependencyError) as caught:
        build_here(app, tmp_path / "home", environ(index), platform="linux/amd64")
    assert str(caught.value) == (
        "no file of fast 1.0 fits the stack\n\n"
        "The stack is CPython 3.12.4 on x86_64 with musl 1.2. The files of fast 1.0 (Pipfile:7) are not for it:\n"
        "  for another libc (glibc): fast-1.0-cp312-cp312-manylinux_2_17_x86_64.whl\n"
        "  for another machine or system: fast-1.0-cp312-cp312-manylinux_2_17_aarch64.whl\n\n"
        "hint: choose a stack with glibc, such as `--stack python:3.12-slim` (Alpine's has musl), or lock a version "
        "that has a wheel for musl (musllinux)."
    )
    assert caught.value.exit_code == 20


def test_no_byte_code_where_no_python_of_that_version_runs(index: Index, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", machine="aarch64", python="3.12.99")
    app = app_on(base, tmp_path, offer(index, tmp_path / "wheels", *EVERYWHERE))
    built = build_here(app, tmp_path / "home", environ(index), platform="linux/arm64")
    assert labels(built)["dev.deploy.bytecode"] == "none"
    assert labels(built)["dev.deploy.python"] == "3.12.99"
    [told] = built.warnings
    assert told == (
        f"no byte code for oci:{base}: its own does not start here (Exec format error), and this machine has no Python "
        "3.12.99. Processes will start more slowly; everything else is the same."
    )


def test_sources_are_not_built_for_another_machine(index: Index, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", machine="aarch64", python="3.12.99")
    app = app_on(base, tmp_path, offer_sources(index))
    with pytest.raises(BuildpackError) as caught:
        build_here(app, tmp_path / "home", environ(index), platform="linux/arm64")
    assert str(caught.value) == (
        "slow 1.0 has no wheel, and cannot be built here\n\n"
        "It must be built with CPython 3.12.99 on aarch64 with glibc 2.36, and this machine has no such "
        "interpreter.\n\n"
        "hint: lock a version that has a wheel for this platform, or build on a machine of the stack's platform."
    )
    assert caught.value.exit_code == 20


def test_nor_where_this_machine_has_that_very_version(index: Index, tmp_path: Path) -> None:
    version = platform.python_version()
    base = make_base(tmp_path / "base", machine="aarch64", python=version)
    packages = offer_sources(index)
    app = write_app(tmp_path / "app", packages, stack=f"oci:{base}", python=version.rpartition(".")[0])
    with pytest.raises(BuildpackError) as caught:
        build_here(app, tmp_path / "home", environ(index), platform="linux/arm64")
    libc = " ".join(platform.libc_ver())
    assert str(caught.value) == (
        "slow 1.0 cannot be built for the stack\n\n"
        f"It has no wheel, and a build here gives one for CPython {version} on {platform.machine()} with {libc}; "
        f"the stack is CPython {version} on aarch64 with glibc 2.36.\n\n"
        "hint: lock a version that has a wheel for the stack, or build on a machine like it."
    )
    assert caught.value.exit_code == 20


def test_libraries_are_looked_for_in_the_stack(index: Index, tmp_path: Path) -> None:
    packages = offer(index, tmp_path / "wheels", EVERYWHERE[1], needed=("libhere.so.1", "libnowhere.so.2"))
    base = make_base(tmp_path / "base", machine="aarch64", libraries=["libhere.so.1"])
    app = app_on(base, tmp_path, packages)
    built = build_here(app, tmp_path / "home", environ(index), platform="linux/arm64")
    [told] = [text for text in built.warnings if "byte code" not in text]
    assert told == (
        f"fast needs libnowhere.so.2, which the stack oci:{base} lacks: importing it may fail. Use a stack that has "
        "it, or take another wheel."
    )


# The machine that builds is an argument, so each machine can be played here.


def build_on(machine: str, app: Path, home: Path, environ: dict[str, str], **options: Any) -> BuiltImage:
    session = session_of(home, environ, own_python=replace(OwnPython(), machine=machine))
    return build(app, options=Options(**options), session=session).images[0]


@pytest.mark.parametrize(("built_on", "image_for"), [("aarch64", "linux/amd64"), ("x86_64", "linux/arm64")])
def test_the_image_is_the_same_on_every_machine_that_builds_it(
    built_on: str, image_for: str, index: Index, tmp_path: Path
) -> None:
    packages = offer(index, tmp_path / "wheels", *EVERYWHERE)
    base = make_base(tmp_path / "base", machine={"linux/amd64": "x86_64", "linux/arm64": "aarch64"}[image_for])
    app = app_on(base, tmp_path, packages)
    native = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}[image_for]
    here = build_on(native, app, tmp_path / "here", environ(index))
    there = build_on(built_on, app, tmp_path / "there", environ(index), platform=image_for)
    assert str(here.stack.platform) == str(there.stack.platform) == image_for
    assert here.image.digest == there.image.digest


def test_without_a_platform_it_is_the_building_machine_s(index: Index, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", machine="aarch64")
    app = app_on(base, tmp_path, offer(index, tmp_path / "wheels", *EVERYWHERE))
    assert str(build_on("aarch64", app, tmp_path / "home", environ(index)).stack.platform) == "linux/arm64"
    with pytest.raises(BuildpackError, match="has no image for linux/amd64"):
        build_on("x86_64", app, tmp_path / "home", environ(index))


def test_the_same_stack_s_python_for_this_machine_compiles_for_the_other(
    index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        stand_in = make_stand_in()
    except RuntimeError as error:
        missing(f"the stand-in for python:3.11-slim could not be made: {error}")
    foreign = "aarch64" if platform.machine() == "x86_64" else "x86_64"
    other = make_base(tmp_path / "other", machine=foreign, python="3.11.2")
    base = join_platforms([stand_in, other], tmp_path / "base")
    packages = add_wheels(index, tmp_path / "wheels", "alpha", "beta")
    app = write_app(tmp_path / "app", packages, stack=f"oci:{base}", python="3.11")
    monkeypatch.setattr(run_python, "find_python", lambda *_, **__: None)  # this machine has no Python of that version
    there = build_here(app, tmp_path / "home", environ(index), platform=str(platform_of(foreign)))
    here = build_here(app, tmp_path / "home", environ(index))
    assert there.warnings == here.warnings == ()
    assert labels(there)["dev.deploy.bytecode"] == labels(here)["dev.deploy.bytecode"] == "3.11.2"
    # Byte code that was compiled for the one serves the other.
    origins = {made.source for made, _ in here.layers if made.planned.kind == "dependencies"}
    assert origins == {"store"}


def test_a_package_that_one_of_two_platforms_lacks_is_reported_with_the_platform(index: Index, tmp_path: Path) -> None:
    bases = [make_base(tmp_path / machine, machine=machine, python="3.12.99") for machine in ("x86_64", "aarch64")]
    base = join_platforms(bases, tmp_path / "base")
    app = app_on(base, tmp_path, offer(index, tmp_path / "wheels", EVERYWHERE[0]))
    options = ("--platform", "linux/arm64,linux/amd64", "-q")
    done = deploy("build", app, *options, home=tmp_path / "home", env=environ(index))
    assert (done.code, done.out) == (20, "")
    assert done.err == (
        "error: linux/arm64: no file of fast 1.0 fits the stack\n\n"
        "The stack is CPython 3.12.99 on aarch64 with glibc 2.36. The files of fast 1.0 (Pipfile:7) are not for it:\n"
        "  for another machine or system: fast-1.0-cp312-cp312-manylinux_2_17_x86_64.whl\n\n"
        f"hint: lock a version that has a wheel for this stack (`deploy lock {app}`), "
        "or choose another stack or Python.\n"
    )


def test_what_concerns_one_platform_is_warned_of_with_its_name(index: Index, tmp_path: Path) -> None:
    packages = offer(index, tmp_path / "wheels", *EVERYWHERE, needed=("libhere.so.1",))
    amd64 = make_base(tmp_path / "amd64", machine="x86_64", python="3.12.99", libraries=["libhere.so.1"])
    arm64 = make_base(tmp_path / "arm64", machine="aarch64", python="3.12.99")
    base = join_platforms([amd64, arm64], tmp_path / "base")
    app = app_on(base, tmp_path, packages)
    options = ("--platform", "linux/arm64,linux/amd64", "--json")
    report = deploy("build", app, *options, home=tmp_path / "home", env=environ(index)).report
    [told] = [text for text in report["warnings"] if "libhere" in text]
    assert told == (
        f"linux/arm64: fast needs libhere.so.1, which the stack oci:{base} lacks: importing it may fail. Use a stack "
        "that has it, or take another wheel."
    )
    assert [any("libhere" in text for text in one["warnings"]) for one in report["platforms"]] == [False, True]
