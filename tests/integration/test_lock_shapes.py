"""Every shape of entry that pipenv writes into a lock: made by pipenv itself, built, and imported where it was put."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from buildpack.app.pipfile import pipfile_hashes, read_pipfile
from buildpack.oci.compression import gunzip
from buildpack.oci.store import Store
from buildpack.steps.built import BuiltImage
from tests.support.command import Done, deploy
from tests.support.git_server import make_repository, serving_git
from tests.support.index import Index, serving, sha256
from tests.support.tiny import build_here, with_stack, write_app
from tests.support.wheels import write_wheel

pytestmark = pytest.mark.slow

SERIES = f"{sys.version_info[0]}.{sys.version_info[1]}"
SITE = f"opt/venv/lib/python{SERIES}/site-packages"

BACKEND = '''
"""A build backend of nothing but the standard library: packs one module, or one that the compiler made."""
import os, subprocess, sysconfig, zipfile

NAME, COMPILED = "{name}", {compiled}

def build_wheel(folder, config_settings=None, metadata_directory=None):
    tag, modules = "py3-none-any", ["{name}.py"]
    if COMPILED:
        tag = "cp{digits}-cp{digits}-linux_" + os.uname().machine
        modules = ["{name}" + sysconfig.get_config_var("EXT_SUFFIX")]
        include = sysconfig.get_paths()["include"]
        subprocess.run(["cc", "-shared", "-fPIC", "-I", include, "{name}.c", "-o", modules[0]], check=True)
    info = NAME + "-1.0.dist-info"
    files = {{module: open(module, "rb").read() for module in modules}}
    files[info + "/METADATA"] = b"Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\nProvides-Extra: more\\n"
    files[info + "/WHEEL"] = b"Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: " + tag.encode() + b"\\n"
    files[info + "/RECORD"] = b"".join(name.encode() + b",,\\n" for name in [*files, info + "/RECORD"])
    filename = NAME + "-1.0-" + tag + ".whl"
    with zipfile.ZipFile(os.path.join(folder, filename), "w") as wheel:
        for path, content in files.items():
            wheel.writestr(zipfile.ZipInfo(path), content)
    return filename

build_editable = build_wheel
'''

EXTENSION = """\
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "%(name)s", NULL, -1, NULL};
PyMODINIT_FUNC PyInit_%(name)s(void) { return PyModule_Create(&module); }
"""


def sources(name: str, *, compiled: bool = False, under: str = "") -> dict[str, str]:
    """The files of a project that builds without any other package."""
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        f'[project]\nname = "{name}"\nversion = "1.0"\noptional-dependencies = {{more = []}}\n',
        "backend.py": BACKEND.format(name=name, compiled=compiled, digits=SERIES.replace(".", "")),
        f"{name}.{'c' if compiled else 'py'}": EXTENSION % {"name": name} if compiled else "ANSWER = 42\n",
    }
    return {f"{under}{path}": content for path, content in files.items()}


def sdist(name: str, **options: bool) -> tuple[str, bytes]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, content in sources(name, **options).items():
            member = tarfile.TarInfo(f"{name}-1.0/{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
        fields = f"Metadata-Version: 2.2\nName: {name}\nVersion: 1.0\n".encode()
        member = tarfile.TarInfo(f"{name}-1.0/PKG-INFO")
        member.size = len(fields)
        archive.addfile(member, io.BytesIO(fields))
    return f"{name}-1.0.tar.gz", out.getvalue()


def wheel(name: str) -> tuple[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = write_wheel(Path(folder), {f"{name}.py": b"ANSWER = 42\n"}, name=name)
        return path.name, path.read_bytes()


def write(folder: Path, files: Mapping[str, str]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    with serving() as served:
        for name in ("plain", "linted", "documented", "byfile"):
            served.add(name, *wheel(name))
        for name, compiled in (("pure", False), ("compiled", True)):
            served.add(name, *sdist(name, compiled=compiled))
        yield served


@pytest.fixture(scope="module")
def locked(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An app whose Pipfile asks for everything in every way, and the lock that pipenv makes of it."""
    root = tmp_path_factory.mktemp("shapes")
    for name, under in (("gitlib", ""), ("gitdeep", "python/")):
        make_repository(root / f"{name}.git", sources(name, under=under), later={f"{under}{name}.py": "ANSWER = 43\n"})
    app = root / "theapp"
    write(app / "libs/local", sources("local"))
    write(app / "theapp", {"__init__.py": "def app(environ, start_response): ...\n"})
    (app / "pyproject.toml").write_text(
        '[project]\nname = "theapp"\nversion = "3.1"\n[project.scripts]\nhello = "theapp:app"\n'
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["libs/app"]\n'
    )
    write(app / "libs/app", {"backend.py": BACKEND.format(name="theapp", compiled=False, digits="")})
    (app / "theapp.py").write_text("raise SystemExit('the package comes first')\n")
    filename, content = sdist("archived")
    (app / "libs" / filename).write_bytes(content)
    filename, content = wheel("ready")
    (app / "libs" / filename).write_bytes(content)
    (app / "Procfile").write_text("web: python -m http.server $PORT\n")
    (app / "deploy.toml").write_text('stack = "host"\n')
    (app / ".python-version").write_text(f"{SERIES}\n")
    [byfile] = index.projects["byfile"]
    address = f"{index.url.replace('/simple/', '/files/')}{byfile.filename}#sha256={sha256(byfile.content)}"
    with serving_git(root) as git:
        (app / "Pipfile").write_text(
            f"""\
[[source]]
url = "{index.url.rstrip("/")}"
verify_ssl = true
name = "main"

[packages]
plain = "*"
pure = "*"
compiled = "*"
gitlib = {{git = "{git}/gitlib.git", ref = "main", extras = ["more"]}}
gitdeep = {{git = "file://{root}/gitdeep.git", ref = "main", subdirectory = "python", editable = true}}
local = {{path = "./libs/local", editable = true}}
archived = {{path = "./libs/archived-1.0.tar.gz"}}
ready = {{path = "./libs/ready-1.0-py3-none-any.whl"}}
byfile = {{file = "{address}"}}
theapp = {{path = ".", editable = true}}
elsewhere = {{version = "*", sys_platform = "== 'win32'"}}
older = {{version = "*", markers = "python_version < '3'"}}

[dev-packages]
linted = "*"

[docs]
documented = "*"
"""
        )
        done = pipenv("lock", folder=app)
        assert done.returncode == 0, done.stdout
        yield app


def pipenv(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PIPENV_", "VIRTUAL"))}
    return subprocess.run(
        [sys.executable, "-m", "pipenv", *arguments],
        cwd=folder,
        env={**environ, "PIPENV_IGNORE_VIRTUALENVS": "1", "PIPENV_VENV_IN_PROJECT": "1", "CI": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def home(seed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_stack(seed, tmp_path_factory.mktemp("shapes-home") / "home")


@pytest.fixture(scope="module")
def built(locked: Path, home: Path) -> BuiltImage:
    return build_here(locked, home, os.environ, categories=("develop", "docs"))


def content(home: Path, built: BuiltImage) -> dict[str, bytes]:
    """The regular files of our layers, by path."""
    found: dict[str, bytes] = {}
    for made, _ in built.layers:
        with Store(home).open(made.layer.digest) as blob:
            unpacked = io.BytesIO(b"".join(gunzip(blob)))
        with tarfile.open(fileobj=unpacked) as archive:
            for member in archive:
                if member.isfile():
                    found[member.name] = archive.extractfile(member).read()  # type: ignore[union-attr]
    return found


def test_pipenv_writes_what_is_expected_here(locked):
    """Should pipenv write other shapes one day, this tells first."""
    lock = json.loads((locked / "Pipfile.lock").read_text())
    shapes = {name: sorted(set(entry) - {"markers"}) for name, entry in lock["default"].items()}
    assert shapes == {
        "archived": ["hashes", "path"],
        "byfile": ["file"],
        "compiled": ["hashes", "index", "version"],
        "elsewhere": ["version"],
        "gitdeep": ["editable", "git", "ref", "subdirectory"],
        "gitlib": ["extras", "git", "ref"],
        "local": ["editable", "path"],
        "older": ["version"],
        "plain": ["hashes", "index", "version"],
        "pure": ["hashes", "index", "version"],
        "ready": ["hashes", "path"],
        "theapp": ["editable", "path"],
    }
    assert lock["default"]["elsewhere"] == {"version": "*"}
    assert set(lock["docs"]) == {"documented"}


def test_all_of_them_are_in_the_image(locked, home, built):
    files = content(home, built)
    for name in ("archived", "byfile", "gitdeep", "gitlib", "local", "plain", "pure", "ready", "linted", "documented"):
        assert f"{SITE}/{name}.py" in files, name
    assert files[f"{SITE}/gitlib.py"] == b"ANSWER = 43\n"
    assert [path for path in files if path.startswith(f"{SITE}/compiled.")]
    assert not [path for path in files if "elsewhere" in path or "older" in path]
    assert built.warnings == ()


def test_the_app_itself_is_a_path_file(locked, home, built):
    """Its code is in the app's layer alone, so a changed line does not change a package."""
    files = content(home, built)
    assert files[f"{SITE}/theapp.pth"] == b"/app\n"
    assert [path for path in files if path.startswith(f"{SITE}/theapp/")] == []
    assert b"from theapp import app" in files["opt/venv/bin/hello"]
    assert b"Version: 3.1\n" in files[f"{SITE}/theapp-3.1.dist-info/METADATA"]
    (locked / "theapp" / "more.py").write_text("x = 1\n")
    again = build_here(locked, home, os.environ, categories=("develop", "docs"))
    (locked / "theapp" / "more.py").unlink()
    changed = [made.planned.slot for made, _ in again.layers if made.source == "built"]
    assert changed == ["app"]


def test_a_second_build_fetches_and_builds_nothing(locked, home, built, index):
    index.asked.clear()
    shutil.rmtree(home / "layers")
    again = build_here(locked, home, os.environ, categories=("develop", "docs"))
    assert again.image == built.image
    assert index.asked == []


def test_only_what_is_asked_for_is_installed(locked, home, built):
    plain = build_here(locked, home, os.environ)
    names = {member.name for made, _ in plain.layers for member in made.planned.members}
    assert {"linted", "documented"}.isdisjoint(names)
    done = deploy("build", locked, "--category", "dosc", home=home)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(
        "error: Pipfile.lock has no category `dosc`\n\n"
        "Beside the packages of `default` it has: `develop`, `docs`.\n\n"
        f"hint: choose one of these, or add the category to Pipfile and run `deploy lock {locked}`.\n"
    )


def test_locally_they_are_there_too(locked, home, built):
    """The app's own path file leads to the folder here; what tests need is installed."""
    script = (
        "import archived, byfile, compiled, gitdeep, gitlib, linted, local, plain, pure, ready, theapp;"
        "from importlib.metadata import version; print(version('theapp'), theapp.__file__)"
    )
    done = deploy("local", locked, "--", "python", "-c", script, home=home, cwd=home)
    assert (done.code, done.out) == (0, f"3.1 {locked}/theapp/__init__.py\n"), done.err


@pytest.mark.engine
def test_the_image_imports_all_of_them(locked, home, built, engine):
    script = (
        "import archived, byfile, compiled, gitdeep, gitlib, local, plain, pure, ready, theapp;"
        "from importlib.metadata import version; print(version('theapp'), theapp.__file__)"
    )
    env = {**os.environ, "DOCKER_HOST": engine}
    done = deploy("build", locked, "-q", "-t", "hard-shapes:1", "--to", "docker", home=home, env=env)
    assert done.code == 0, done.err
    try:
        ran = subprocess.run(
            # From another folder and without PYTHONPATH, so that only the path file can tell where the app is.
            ["docker", "run", "--rm", "-w", "/tmp", "hard-shapes:1", "env", "-u", "PYTHONPATH", "python", "-c", script],
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ran.returncode, ran.stdout) == (0, "3.1 /app/theapp/__init__.py\n"), ran.stderr
    finally:
        subprocess.run(["docker", "rmi", "-f", "hard-shapes:1"], env=env, check=False, capture_output=True)


# Entries that pipenv does not write by itself


def with_entry(folder: Path, name: str, entry: Mapping[str, object], *, pipfile: str = '"*"') -> Path:
    """The tiny app with one entry of any shape."""
    app = write_app(folder, {}, source="http://127.0.0.1:1/simple")
    (app / "Pipfile").write_text((app / "Pipfile").read_text() + f"{name} = {pipfile}\n")
    lock = json.loads((app / "Pipfile.lock").read_text())
    read = read_pipfile(app)
    assert read is not None
    lock["_meta"]["hash"]["sha256"] = pipfile_hashes(read)[0]
    lock["default"] = {name: entry}
    (app / "Pipfile.lock").write_text(json.dumps(lock, indent=4))
    return app


@pytest.fixture
def empty(built: BuiltImage, home: Path, tmp_path: Path) -> Path:
    """A store with nothing but the stack."""
    return with_stack(home, tmp_path / "home")


def refused(app: Path, home: Path, *arguments: str) -> Done:
    done = deploy("build", app, "-q", *arguments, home=home)
    assert done.out == ""
    assert "Traceback" not in done.err
    return done


def test_a_hash_in_the_address_is_a_hash(index, empty, tmp_path):
    filename, body = wheel("byurl")
    index.add("byurl", filename, body)
    address = f"{index.url.replace('/simple/', '/files/')}{filename}"
    good = with_entry(tmp_path / "good", "byurl", {"file": f"{address}#sha256={sha256(body)}"})
    bad = with_entry(tmp_path / "bad", "byurl", {"file": f"{address}#egg=byurl&sha256={sha256(b'other')}"})
    none = with_entry(tmp_path / "none", "byurl", {"file": f"{address}#egg=byurl"})

    names = [m.name for made, _ in build_here(good, empty, os.environ).layers for m in made.planned.members]

    assert names == ["byurl"]
    done = refused(bad, empty)
    assert done.code == 20
    assert done.err.startswith(f"error: {filename} is not the file that was locked\n")
    done = refused(none, empty)
    assert done.code == 10
    assert "byurl is a file from the network, without a hash: write `#sha256=...` behind its address" in done.err


def test_a_local_file_that_is_not_the_locked_one(locked, empty, tmp_path):
    app = Path(shutil.copytree(locked, tmp_path / "app"))
    for name in ("ready-1.0-py3-none-any.whl", "archived-1.0.tar.gz"):
        (app / "libs" / name).write_bytes((app / "libs" / name).read_bytes() + b"x")
    done = refused(app, empty)
    assert done.code == 20
    assert "error: ready-1.0-py3-none-any.whl is not the file that was locked\n" in done.err
    assert "error: archived-1.0.tar.gz is not the file that was locked\n" in done.err


def test_a_star_that_no_marker_rules_out_is_refused(empty, tmp_path):
    done = refused(with_entry(tmp_path / "app", "anything", {"version": "*"}), empty)
    assert done.code == 10
    assert "anything has no pinned version" in done.err


def test_a_platform_that_is_not_this_machines_is_refused_with_the_reason(index, empty, tmp_path):
    """A wheel is taken as it is; sources would have to be built on such a machine."""
    from tests.support.stand_in import make_stand_in

    other = ("arm64", "linux/arm64") if os.uname().machine == "x86_64" else ("amd64", "linux/amd64")
    stack = ("--stack", f"oci:{make_stand_in(architecture=other[0])}", "--platform", other[1])
    app = with_entry(tmp_path / "app", "local", {"path": "./libs/local"}, pipfile='{path = "./libs/local"}')
    write(app / "libs/local", sources("local"))
    done = refused(app, empty, *stack)
    assert done.code == 20
    assert done.err.startswith(
        "error: local cannot be built for the stack\n\nIt has no wheel, and a build here gives one for CPython "
    ), done.err
    filename, body = wheel("ready")
    app = with_entry(tmp_path / "wheel", "ready", {"path": f"./{filename}"}, pipfile=f'{{path = "./{filename}"}}')
    (app / filename).write_bytes(body)
    assert deploy("build", app, "-q", *stack, home=empty).code == 0


# Other stacks than this machine's own


def local_project(folder: Path, index: Index, *, compiled: bool = False, requires: str = "[]") -> Path:
    """The tiny app with sources of its own that need a package to be built."""
    app = with_entry(folder, "local", {"path": "./libs/local"}, pipfile='{path = "./libs/local"}')
    lock = app / "Pipfile.lock"
    lock.write_text(lock.read_text().replace("http://127.0.0.1:1/simple", index.url.rstrip("/")))
    (app / "Pipfile").unlink()
    files = sources("local", compiled=compiled)
    files["pyproject.toml"] = files["pyproject.toml"].replace("requires = []", f"requires = {requires}")
    write(app / "libs/local", files)
    return app


@pytest.mark.parametrize("compiled", [False, True], ids=["pure", "compiled"])
def test_sources_are_built_for_a_base_that_has_neither_headers_nor_venv(index, tmp_path, compiled):
    """By this machine's Python of the same series: a base is made for running."""
    from tests.support.stand_in import make_stand_in

    app = local_project(tmp_path / "app", index, compiled=compiled, requires='["plain"]')
    built = build_here(app, tmp_path / "home", os.environ, stack=f"oci:{make_stand_in()}")
    [member] = [member for made, _ in built.layers for member in made.planned.members]
    platform = f"cp311-cp311-linux_{os.uname().machine}" if compiled else "py3-none-any"
    assert member.filename == f"local-1.0-{platform}.whl"


def test_a_missing_compiler_is_reported(index, empty, tmp_path):
    app = local_project(tmp_path / "app", index, compiled=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").symlink_to(str(shutil.which("git")))
    done = deploy("build", app, "-q", home=empty, env={"PATH": f"{tmp_path}/bin"})
    assert (done.code, done.out) == (20, "")
    assert "error: local could not be built\n" in done.err
    assert "Missing: a C compiler" in done.err
