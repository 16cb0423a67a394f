"""The toolchain as an image: it builds as anybody, confined, and gives the images that it gives elsewhere."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildpack.oci.store import Store
from tests.conftest import missing
from tests.support import tiny
from tests.support.command import ROOT, deploy
from tests.support.index import Index, serving
from tests.support.stand_in import make_stand_in
from tests.support.toolchain import BASE, TAG, find_builder, make_toolchain, run_toolchain
from tests.support.validate import validate

pytestmark = [pytest.mark.engine, pytest.mark.registry, pytest.mark.slow]

WARNING = (
    "warning: /.cache/deploy cannot be written, so the store is /tmp/deploy-12345, which may not last; "
    "set DEPLOY_HOME to a folder that does\n"
)


@pytest.fixture(scope="module")
def toolchain(engine: str, registry: str) -> str:
    client = find_builder()
    if client is None:
        missing("no Docker client that builds with BuildKit is installed")
    try:
        return make_toolchain(client)
    except RuntimeError as error:
        missing(str(error))


@pytest.fixture(scope="module")
def base(toolchain: str) -> Path:
    """A base to build on, the same Python as the toolchain's."""
    return make_stand_in()


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with serving() as index:
        yield index


@pytest.fixture(scope="module")
def app(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app")
    app = tiny.write_app(folder / "tiny", tiny.add_wheels(index, folder / "wheels", "alpha", "beta"))
    (app / "bin").mkdir()
    (app / "bin/post_compile").write_text(
        "python -c 'import alpha, sys; print(alpha.NUMBER, sys.version)' > made.txt\n"
    )
    for place in (app, *app.rglob("*")):
        place.chmod(0o755 if place.is_dir() else 0o644)  # for the container's user, under any umask
    return app


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """A folder of the container's user."""
    folder = tmp_path / "out"
    folder.mkdir()
    folder.chmod(0o777)
    yield folder
    # This user may not remove its files.
    run_toolchain(command=("rm", "-rf", "/out/layout"), options=("-v", f"{folder}:/out"))


def given(app: Path, index: Index) -> tuple[str, ...]:
    """The options of a container that has the app, and the index's address."""
    return ("-v", f"{app}:/app:ro", *(word for each in tiny.environ(index).items() for word in ("-e", "=".join(each))))


def test_the_image_is_small_and_says_what_it_runs(toolchain):
    told = json.loads(subprocess.run(["docker", "inspect", TAG], check=True, capture_output=True).stdout)[0]
    assert told["Config"]["User"] == "1000:1000"
    assert told["Config"]["Entrypoint"] == ["deploy"]
    assert told["Config"]["WorkingDir"] == "/app"
    below = json.loads(subprocess.run(["docker", "inspect", BASE], check=True, capture_output=True).stdout)[0]
    assert told["Size"] - below["Size"] < 120_000_000
    version = run_toolchain("--version")
    assert (version.code, version.out) == (0, deploy("--version", home=ROOT).out)
    programs = run_toolchain(command=("ls", "/opt/toolchain/bin")).out.split()
    assert not {"pip", "gcc", "cc"} & set(programs)
    assert run_toolchain(command=("git", "--version")).out.startswith("git version 2.")


def test_it_builds_on_its_own_python_confined_and_into_a_layout(toolchain, app, index, out):
    done = run_toolchain("build", "--to", "oci:/out/layout", options=(*given(app, index), "-v", f"{out}:/out"))
    assert done.code == 0, done.err
    assert done.err.startswith(WARNING)
    assert "warning:" not in done.err.removeprefix(WARNING)
    assert "Running bin/post_compile ...\n" in done.err
    layout = Store(out / "layout")
    [image] = [layout.image(name) for name in layout.images()]
    assert image is not None
    assert str(image.digest) == done.out.strip()
    assert validate(image, layout.open) == []


def test_it_gives_the_same_image_as_outside(toolchain, app, index, base, tmp_path):
    mounts = (*given(app, index), "-v", f"{base}:/base:ro")
    inside = run_toolchain("build", "--stack", "oci:/base", "--json", options=mounts)
    assert inside.code == 0, inside.err
    outside = deploy("build", app, "--stack", f"oci:{base}", "--json", home=tmp_path, env=tiny.environ(index))
    assert json.loads(inside.out)["digest"] == outside.report["digest"]
    assert outside.report["warnings"] == []


def test_it_pushes_to_a_registry(toolchain, app, index, base, registry, tmp_path):
    reference = f"{registry}/toolchain/tiny:1"
    mounts = (*given(app, index), "-v", f"{base}:/base:ro")
    options = ("build", "--stack", "oci:/base", "-t", reference, "--to", "registry")
    done = run_toolchain(*options, options=mounts)
    assert done.code == 0, done.err
    told = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{reference}"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout == done.out
    assert "Running bin/post_compile ...\n" in done.err
    # Another fresh machine: the layer that hooks made is in the registry, so they do not run, and need no packages.
    again = run_toolchain(*options, options=mounts)
    assert again.out == done.out
    assert "Running bin/post_compile" not in again.err
