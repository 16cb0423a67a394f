"""Packages without wheels: built from archives, commits and folders by a real interpreter, git and compiler."""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from buildpack.app.indexes import Source
from buildpack.app.lockfile import LockedPackage
from buildpack.app.read import read_app
from buildpack.errors import BuildpackError
from buildpack.python.build_settings import NO_SETTINGS, BuildSettings, read_constraints, read_settings
from buildpack.python.files import WheelFile, stored_path
from buildpack.python.find_wheels import resolve_wheels
from buildpack.python.http import Client
from buildpack.python.index import Resolver
from buildpack.python.isolation import inspect
from buildpack.python.sdist import Workbench, build_wheel
from buildpack.python.target import Target
from tests.support.index import Index, make_wheel, serving, sha256
from tests.support.tiny import write_app

PYTHON = (sys.executable,)
HERE = Target(version=platform.python_version(), machine=platform.machine(), libc=inspect(PYTHON, os.environ).libc)

PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
BACKEND = '''
import os, time, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    """A build backend in one function: packs one module, and says what it was given."""
{before}
    filename = "{name}-1.0-{tag}.whl"
    moment = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
    info = "{name}-1.0.dist-info"
    files = {{
        "{name}.py": open("{name}.py").read(),
        "environment.txt": "\\n".join(sorted(os.environ)),
        info + "/METADATA": "Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n",
        info + "/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: {tag}\\n",
        info + "/RECORD": "",
    }}
    with zipfile.ZipFile(os.path.join(folder, filename), "w") as wheel:
        for path, content in files.items():
            wheel.writestr(zipfile.ZipInfo(path, moment), content)
    return filename
'''


def files_of(
    name: str, *, before: str = "", tag: str = "py3-none-any", requires: str = "[]", after: str = ""
) -> dict[str, str]:
    indented = "".join(f"    {line}\n" for line in before.splitlines())
    return {
        "pyproject.toml": PYPROJECT.replace("[]", requires, 1),
        "backend.py": BACKEND.format(name=name, tag=tag, before=indented) + after,
        f"{name}.py": "ANSWER = 42\n",
    }


def sdist_of(name: str, **options: str) -> tuple[str, bytes]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, content in files_of(name, **options).items():
            member = tarfile.TarInfo(f"{name}-1.0/{path}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content.encode()))
    return f"{name}-1.0.tar.gz", out.getvalue()


@pytest.fixture
def index() -> Iterator[Index]:
    with serving() as served:
        yield served


class Memory(dict[tuple[str, str], str]):
    def recall(self, kind: str, key: str) -> Any:
        return json.loads(self.get((kind, key), "null"))

    def remember(self, kind: str, key: str, value: Any) -> None:
        self[kind, key] = json.dumps(value)


def make(
    package: LockedPackage,
    folder: Path,
    *,
    index: Index | None = None,
    target: Target = HERE,
    memory: Memory | None = None,
    environ: dict[str, str] | None = None,
    source: str = "",
    argv: tuple[str, ...] = PYTHON,
    settings: BuildSettings = NO_SETTINGS,
) -> WheelFile:
    memory = memory if memory is not None else Memory()
    sources = [Source(name="main", url=source or (index.url if index else "http://127.0.0.1:1/simple"))]
    environ = {"PATH": os.environ["PATH"], **(environ or {})}
    with Client(sources, environ, sleep=lambda _: None) as client:
        bench = Workbench(
            target=target,
            python=lambda _package: argv,
            client=client,
            folder=folder / "wheels",
            app=folder,
            environ=environ,
            settings=settings,
            recall=memory.recall,
            remember=memory.remember,
        )
        resolver = Resolver(
            target=target,
            client=client,
            folder=folder / "wheels",
            recall=memory.recall,
            remember=memory.remember,
            build=partial(build_wheel, bench=bench),
        )
        (wheel,) = resolve_wheels([package], resolver)
    return wheel


def failing(*args: Any, **options: Any) -> BuildpackError:
    with pytest.raises(BuildpackError) as error:
        make(*args, **options)
    assert error.value.exit_code == 20
    return error.value


def locked_sdist(index: Index, name: str, **options: str) -> LockedPackage:
    filename, content = sdist_of(name, **options)
    index.add(name, filename, content)
    return LockedPackage(name=name, version="1.0", hashes=(f"sha256:{sha256(content)}",), place="Pipfile.lock:5")


def test_a_build_that_gives_another_version_than_the_locked_one(index: Index, tmp_path: Path) -> None:
    other = 'path = "pure-2.0-py3-none-any.whl"\nzipfile.ZipFile(os.path.join(folder, path), "w").close()\nreturn path'
    error = failing(locked_sdist(index, "pure", before=other), tmp_path, index=index)
    assert error.what == "the build of pure 1.0 made an unexpected wheel"
    assert error.why == f"The result is pure-2.0-py3-none-any.whl, which cannot be installed as pure 1.0 on {HERE}."


def opened(wheel: WheelFile, folder: Path) -> zipfile.ZipFile:
    path = stored_path(folder / "wheels", wheel)
    assert path is not None
    return zipfile.ZipFile(path)


def test_an_sdist_becomes_a_wheel_once(index: Index, tmp_path: Path) -> None:
    package, memory = locked_sdist(index, "pure"), Memory()

    wheel = make(package, tmp_path, index=index, memory=memory)
    asked = len(index.asked)
    again = make(package, tmp_path, index=index, memory=memory)

    assert wheel == again
    assert (wheel.name, wheel.version, wheel.filename, wheel.url) == ("pure", "1.0", "pure-1.0-py3-none-any.whl", "")
    assert len(index.asked) == asked
    with opened(wheel, tmp_path) as archive:
        assert archive.read("pure.py") == b"ANSWER = 42\n"
    left = [path.name for path in (tmp_path / "wheels").iterdir()]
    assert sorted(left) == sorted([wheel.sha256, package.hashes[0].removeprefix("sha256:")])


def test_the_same_bits_in_another_folder_at_another_time(index: Index, tmp_path: Path) -> None:
    package = locked_sdist(index, "pure")

    wheels = {make(package, tmp_path / name, index=index).sha256 for name in ("one", "another")}

    assert len(wheels) == 1


def test_a_wheel_that_was_removed_is_built_again(index: Index, tmp_path: Path) -> None:
    package, memory = locked_sdist(index, "pure"), Memory()
    wheel = make(package, tmp_path, index=index, memory=memory)
    (tmp_path / "wheels" / wheel.sha256 / wheel.filename).unlink()

    assert make(package, tmp_path, index=index, memory=memory) == wheel


def test_a_build_sees_no_secret(index: Index, tmp_path: Path) -> None:
    environ = {"AWS_SECRET_ACCESS_KEY": "hunter2", "PIP_INDEX_URL": "x", "PYTHONPATH": "/x", "CFLAGS": "-O2"}

    wheel = make(locked_sdist(index, "pure"), tmp_path, index=index, environ=environ)

    with opened(wheel, tmp_path) as archive:
        names = archive.read("environment.txt").decode().split()
    assert not {"AWS_SECRET_ACCESS_KEY", "PIP_INDEX_URL", "PYTHONPATH"} & set(names)
    assert {"CFLAGS", "SOURCE_DATE_EPOCH", "PYTHONHASHSEED", "HOME"} <= set(names)


def test_a_backend_s_warnings_are_not_ours(index: Index, tmp_path: Path) -> None:
    # Warnings are errors in these tests, and for users who set PYTHONWARNINGS.
    package = locked_sdist(index, "pure", before="import warnings\nwarnings.warn('still beta')")

    assert make(package, tmp_path, index=index).filename == "pure-1.0-py3-none-any.whl"


def test_what_the_build_requires_comes_from_the_locks_index(index: Index, tmp_path: Path) -> None:
    index.login = "robot:hunter2"
    index.add("tool", *make_wheel("tool", "3.0"))
    package = locked_sdist(index, "pure", requires='["tool>=2"]', before="import tool\nassert tool.X == 1")

    wheel = make(package, tmp_path, source=index.url.replace("http://", "http://robot:hunter2@"))

    with opened(wheel, tmp_path) as archive:
        assert "PIP_INDEX_URL" not in archive.read("environment.txt").decode().split()
    assert "/simple/tool/" in index.paths()


def test_the_code_of_what_a_build_requires_sees_no_login(index: Index, tmp_path: Path) -> None:
    """It has no wheel, so it is built as well: all hooks of a build are strangers' code."""
    index.login = "robot:hunter2"
    watch = "assert 'hunter2' not in repr(dict(os.environ)), 'the login is here'\n"
    index.add("helper", *sdist_of("helper", before=watch))
    index.add("tool", *sdist_of("tool", before=watch + "import helper", requires='["helper"]'))
    index.add("late", *make_wheel("late", "1.0"))
    asks = "def get_requires_for_build_wheel(config_settings=None):\n    " + watch + "    return ['late', 'tool']\n"
    filename, content = sdist_of("pure", before=watch + "import tool, late", requires='["tool"]', after=asks)
    index.add("pure", filename, content)
    package = LockedPackage(name="pure", version="1.0", hashes=(f"sha256:{sha256(content)}",), place="Pipfile.lock:5")

    wheel = make(package, tmp_path, source=index.url.replace("http://", "http://robot:hunter2@"))

    assert wheel.filename == "pure-1.0-py3-none-any.whl"


def test_what_a_build_says_is_read_before_its_code_runs_and_never_again(index: Index, tmp_path: Path) -> None:
    """Root would read through a link what the project's code may not, or wait at a pipe for ever."""
    (tmp_path / "private").write_text("not TOML")
    index.add("late", *make_wheel("late", "1.0"))
    asks = (
        "def get_requires_for_build_wheel(config_settings=None):\n"
        f"    os.unlink('pyproject.toml'); os.symlink({str(tmp_path / 'private')!r}, 'pyproject.toml')\n"
        "    return ['late']\n"
    )
    package = locked_sdist(index, "pure", before="import late", after=asks)

    assert make(package, tmp_path, index=index).filename == "pure-1.0-py3-none-any.whl"


def test_a_file_that_is_not_what_the_index_promises_is_not_unpacked_for_a_build(index: Index, tmp_path: Path) -> None:
    index.add("tool", *make_wheel("tool", "3.0"))
    index.instead["tool-3.0-py3-none-any.whl"] = make_wheel("tool", "3.0", body=b"X = 2\n")[1]

    error = failing(locked_sdist(index, "pure", requires='["tool"]'), tmp_path, index=index)

    assert "tool-3.0-py3-none-any.whl" in str(error)


@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        ("tool", "2.0"),
        ("tool>=1,!=2.0", "1.0"),
        ("tool==3.0", "3.0"),  # yanked, and named exactly
        ("tool>=3a", "3.5rc1"),
        ("tool[extra]", "2.0"),
        ("tool; python_version > '3'", "2.0"),
        ("user", "1.0"),
    ],
)
def test_which_version_a_build_gets(wanted: str, version: str, index: Index, tmp_path: Path) -> None:
    """As pip chooses: the newest that fits, with what it requires in turn; nothing yanked, no pre-release."""
    for each in ("1.0", "2.0", "3.0", "3.5rc1"):
        filename, content = make_wheel(
            "tool", each, requires=("more; extra == 'extra'",), body=f"X = {each!r}\n".encode()
        )
        index.add("tool", filename, content).yanked = "broken" if each == "3.0" else None
    index.add("more", *make_wheel("more", "1.0"))
    index.add("user", *make_wheel("user", "1.0", requires=("tool<2",)))
    before = f"import tool\nassert tool.X == {version!r}, tool.X" + ("\nimport more" if "[" in wanted else "")

    make(locked_sdist(index, "pure", requires=f'["{wanted}"]', before=before), tmp_path, index=index)


def test_versions_that_do_not_agree_are_reported(index: Index, tmp_path: Path) -> None:
    for each in ("1.0", "2.0"):
        index.add("tool", *make_wheel("tool", each))
    index.add("user", *make_wheel("user", "1.0", requires=("tool<2",)))

    error = failing(locked_sdist(index, "pure", requires='["tool>=2", "user"]'), tmp_path, index=index)

    assert "  no version on the lock's indexes fits tool<2 (for user) and tool>=2\n" in str(error)


def test_a_build_takes_what_the_lock_pins_and_is_made_again_for_another_pin(index: Index, tmp_path: Path) -> None:
    hashes = {}
    for each in ("1.0", "2.0", "3.0"):
        filename, content = make_wheel("tool", each, body=f"X = {each!r}\n".encode())
        index.add("tool", filename, content)
        hashes[each] = (f"sha256:{sha256(content)}",)
    before = "import tool\nopen('pure.py', 'w').write(f'TOOL = {tool.X!r}')"
    package, memory = locked_sdist(index, "pure", requires='["tool"]', before=before), Memory()

    def built(version: str, **options: Any) -> bytes:
        pin = LockedPackage(name="tool", version=version, hashes=hashes[options.get("hashes_of", version)])
        wheel = make(package, tmp_path, index=index, memory=memory, settings=BuildSettings(pins={"tool": pin}))
        with opened(wheel, tmp_path) as archive:
            return archive.read("pure.py")

    assert [built("1.0"), built("2.0"), built("1.0")] == [b"TOOL = '1.0'", b"TOOL = '2.0'", b"TOOL = '1.0'"]
    # A file with another hash is not the one that was locked.
    assert built("1.0", hashes_of="3.0") == b"TOOL = '3.0'"


def test_a_pin_matters_to_what_is_built_with_what_it_built(index: Index, tmp_path: Path) -> None:
    hashes = {}
    for each in ("1.0", "2.0"):
        filename, content = make_wheel("deep", each, body=f"X = {each!r}\n".encode())
        index.add("deep", filename, content)
        hashes[each] = (f"sha256:{sha256(content)}",)
    locked_sdist(index, "tool", requires='["deep"]', before="import deep\nopen('tool.py', 'w').write(f'X = {deep.X}')")
    before = "import tool\nopen('pure.py', 'w').write(f'TOOL = {tool.X}')"
    package, memory = locked_sdist(index, "pure", requires='["tool"]', before=before), Memory()
    for version in ("1.0", "2.0"):
        pins = {"deep": LockedPackage(name="deep", version=version, hashes=hashes[version])}
        wheel = make(package, tmp_path, index=index, memory=memory, settings=BuildSettings(pins=pins))
        assert wheel.required.startswith("deep tool pins:")
        with opened(wheel, tmp_path) as archive:
            assert archive.read("pure.py") == f"TOOL = {version}".encode()


def test_constraints_that_cannot_be_used_matter_to_builds_of_packages_alone(index: Index, tmp_path: Path) -> None:
    app = read_app(write_app(tmp_path / "app", {}), environ={}, today=date(2026, 1, 1))

    settings = read_settings(app, {"PIP_CONSTRAINT": "https://example.com/constraints.txt"})

    assert settings.key
    assert str(failing(locked_sdist(index, "pure"), tmp_path, index=index, settings=settings)) == str(settings.problem)


@pytest.mark.parametrize("variable", ["PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT"])
def test_constraints_narrow_what_a_build_gets(variable: str, index: Index, tmp_path: Path) -> None:
    for each in ("1.0", "2.0"):
        index.add("tool", *make_wheel("tool", each, body=f"X = {each!r}\n".encode()))
    (tmp_path / "more.txt").write_text("tool<2  # the second one is slow\nother==5\n")
    (tmp_path / "constraints.txt").write_text("# of this machine\n-c more.txt\ntool!=1.5; python_version > '3'\n")
    environ = {variable: str(tmp_path / "constraints.txt")}
    constraints, files = read_constraints(environ)
    settings = BuildSettings(constraints=constraints)
    package = locked_sdist(index, "pure", requires='["tool"]', before="import tool\nassert tool.X == '1.0'")

    assert make(package, tmp_path, index=index, settings=settings).name == "pure"
    assert settings.key
    assert files == (str(tmp_path / "constraints.txt"), str(tmp_path / "more.txt"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "there is no such file"),
        ("tool @ https://example.com/tool.whl", "'tool @ https://example.com/tool.whl' names an address"),
        ("--no-index", "'--no-index' is not a requirement"),
        ("-c constraints.txt", "it is larger than 1 MB, or includes itself"),
    ],
)
def test_constraints_that_cannot_be_used(text: str | None, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "constraints.txt"
    if text is not None:
        path.write_text(text)

    with pytest.raises(BuildpackError) as error:
        read_constraints({"PIP_CONSTRAINT": str(path)})

    assert str(error.value).startswith("PIP_CONSTRAINT names constraints that cannot be used\n\n")
    assert reason in str(error.value)


def test_variables_for_builds_reach_them_and_make_another_wheel(index: Index, tmp_path: Path) -> None:
    before = "open('pure.py', 'w').write(f'MODE = {os.environ.get(\"MODE\")!r}')"
    package, memory = locked_sdist(index, "pure", before=before), Memory()

    def built(**variables: str) -> bytes:
        settings = BuildSettings(variables=variables, given=frozenset(variables))
        with opened(make(package, tmp_path, index=index, memory=memory, settings=settings), tmp_path) as archive:
            return archive.read("pure.py")

    assert [built(), built(MODE="fast"), built(MODE="safe"), built()] == [
        *(b"MODE = None", b"MODE = 'fast'", b"MODE = 'safe'", b"MODE = None")
    ]
    assert "fast" not in json.dumps(list(memory.values()))


def test_the_value_of_a_variable_is_not_in_the_message_of_a_failed_build(index: Index, tmp_path: Path) -> None:
    package = locked_sdist(index, "pure", before="raise SystemExit(os.environ['TOKEN'])")
    settings = BuildSettings(variables={"TOKEN": "hunter2-token"}, given=frozenset({"TOKEN"}))

    error = failing(package, tmp_path, index=index, settings=settings)

    assert "[redacted]" in str(error)
    assert "hunter2" not in str(error)


def test_a_wheel_that_leads_out_of_the_build_is_not_taken(index: Index, tmp_path: Path) -> None:
    """As root such a link would be read with root's rights."""
    (tmp_path / "secret").write_text("secret")
    leading_out = "pure-1.0-py3-none-any.whl"
    before = f"os.symlink({str(tmp_path / 'secret')!r}, f'{{folder}}/{leading_out}')\nreturn {leading_out!r}"

    error = failing(locked_sdist(index, "pure", before=before), tmp_path, index=index)

    assert "Too many levels of symbolic links" in str(error)
    assert not list((tmp_path / "wheels").rglob("*.whl"))


def test_a_missing_header_is_named_and_so_is_the_version_that_has_a_wheel(index: Index, tmp_path: Path) -> None:
    compile_it = (
        "import subprocess\nopen('x.c', 'w').write('#include <libpq-fe.h>\\n')\n"
        "subprocess.run(['cc', '-nostdinc', '-I.', '-c', 'x.c'], check=True)"
    )
    package = locked_sdist(index, "driver", before=compile_it)
    for version in ("0.9", "1.1", "2.0"):
        index.add("driver", *make_wheel("driver", version))

    message = str(failing(package, tmp_path, index=index))

    first, rest = message.split("From its output:\n")
    assert first == (
        "driver 1.0 could not be built\n\n"
        "It has no wheel for the stack, so it was built from driver-1.0.tar.gz, and that failed. "
        "Missing: the header libpq-fe.h, of PostgreSQL's client library (libpq-dev). "
    )
    assert "fatal error: libpq-fe.h" in rest
    assert rest.endswith(
        "\n\nhint: ask for driver 1.1 in Pipfile, which has a wheel, and run `deploy lock`; or install the missing "
        "parts on this machine, and on the stack those that the package needs to run."
    )
    assert not list((tmp_path / "wheels").glob(".build-*"))


def test_what_a_build_requires_is_not_called_a_package_of_pipfile(index: Index, tmp_path: Path) -> None:
    index.add("tool", *sdist_of("tool", before="raise SystemExit('no luck')"))
    index.add("pure", *make_wheel("pure", "1.1"))

    error = failing(locked_sdist(index, "pure", requires='["tool==1.0"]'), tmp_path, index=index)

    assert str(error) == (
        "pure 1.0 could not be built\n\n"
        "It has no wheel for the stack, so it must be built from pure-1.0.tar.gz. "
        "That build requires another package, and tool 1.0 could not be built:\n"
        "It has no wheel for the stack, so it was built from tool-1.0.tar.gz, and that failed. From its output:\n"
        f"  no luck\nThe whole log, which -v prints: {tmp_path}/logs/tool-1.0.log\n\n"
        "hint: ask for pure 1.1 in Pipfile, which has a wheel, and run `deploy lock`."
    )


def test_psycopg2_has_a_twin_with_wheels(index: Index, tmp_path: Path) -> None:
    package = locked_sdist(index, "psycopg2", before="raise SystemExit('Error: pg_config executable not found.')")

    message = str(failing(package, tmp_path, index=index))

    assert "Missing: pg_config, of libpq-dev." in message
    assert "hint: ask for psycopg2-binary in Pipfile, which has a wheel, and run `deploy lock`; or " in message


def test_the_output_of_a_failed_build_holds_no_credential(index: Index, tmp_path: Path) -> None:
    index.login = "robot:hunter2"
    package = locked_sdist(index, "pure", before="raise SystemExit('http://robot:hunter2@host/ and hunter2')")

    message = str(failing(package, tmp_path, source=index.url.replace("http://", "http://robot:hunter2@")))

    assert message == (
        "pure 1.0 could not be built\n\n"
        "It has no wheel for the stack, so it was built from pure-1.0.tar.gz, and that failed. From its output:\n"
        "  http://[redacted]@host/ and [redacted]\n"
        f"The whole log, which -v prints: {tmp_path}/logs/pure-1.0.log\n\n"
        "hint: lock a version that has a wheel, or ask the package's authors with these lines."
    )
    assert (tmp_path / "logs" / "pure-1.0.log").read_text() == "http://[redacted]@host/ and [redacted]\n"


def test_a_failed_compile_shows_its_first_error_and_keeps_the_whole_log(index: Index, tmp_path: Path) -> None:
    """As setuptools prints it: the cause is far from the end."""
    before = (
        'for number in range(3000): print("copying", number)\n'
        'print("x.c: In function main:\\nx.c:3:5: error: unknown type name Py_UNICODE\\n    3 |     Py_UNICODE *x;")\n'
        'for number in range(3000): print("x.c:9:1: note: number", number)\n'
        'raise SystemExit("error: command gcc failed with exit code 1")'
    )
    error = failing(locked_sdist(index, "fast", before=before), tmp_path, index=index)
    assert error.why.partition("From its output:\n")[2].splitlines() == [
        "  copying 2998",
        "  copying 2999",
        "  x.c: In function main:",
        "  x.c:3:5: error: unknown type name Py_UNICODE",
        "      3 |     Py_UNICODE *x;",
        *(f"  x.c:9:1: note: number {number}" for number in range(4)),
        "  ...",
        *(f"  x.c:9:1: note: number {number}" for number in range(2996, 3000)),
        "  error: command gcc failed with exit code 1",
        f"The whole log, which -v prints: {tmp_path}/logs/fast-1.0.log",
    ]
    assert len((tmp_path / "logs" / "fast-1.0.log").read_text().splitlines()) == 6004


def test_another_platform_is_refused_before_anything_is_fetched(index: Index, tmp_path: Path) -> None:
    elsewhere = Target(version=HERE.version, machine="s390x", libc=HERE.libc)
    package = locked_sdist(index, "pure")

    message = str(failing(package, tmp_path, index=index, target=elsewhere))

    assert message == (
        "pure 1.0 cannot be built for the stack\n\n"
        f"It has no wheel, and a build here gives one for {HERE}; the stack is {elsewhere}.\n\n"
        "hint: lock a version that has a wheel for the stack, or build on a machine like it."
    )
    assert not [path for path in index.paths() if "files" in path]


def test_what_is_compiled_here_needs_this_machines_libc(index: Index, tmp_path: Path) -> None:
    older = Target(version=HERE.version, machine=HERE.machine, libc=("glibc", 2, 17))
    major, minor = sys.version_info[:2]
    compiled = locked_sdist(index, "fast", tag=f"cp{major}{minor}-cp{major}{minor}-linux_{HERE.machine}")
    pure = locked_sdist(index, "pure")

    message = str(failing(compiled, tmp_path, index=index, target=older))

    assert message == (
        "fast 1.0 cannot be built for the stack\n\n"
        f"It has no wheel, and code that is compiled here, with glibc {HERE.libc[1]}.{HERE.libc[2]}, "
        "does not run on the stack's glibc 2.17.\n\n"
        "hint: lock a version that has a wheel, choose a newer stack, or build on an older machine."
    )
    assert make(pure, tmp_path, index=index, target=older).filename == "pure-1.0-py3-none-any.whl"


def test_a_build_that_makes_something_else(index: Index, tmp_path: Path) -> None:
    _, content = sdist_of("other")
    index.add("pure", "pure-1.0.tar.gz", content)
    package = LockedPackage(name="pure", version="1.0", hashes=(f"sha256:{sha256(content)}",), place="Pipfile.lock:5")

    assert str(failing(package, tmp_path, index=index)) == (
        "the build of pure 1.0 made an unexpected wheel\n\n"
        f"The result is other-1.0-py3-none-any.whl, which cannot be installed as pure 1.0 on {HERE}.\n\n"
        "hint: check the entry in Pipfile, and lock a version that has a wheel."
    )


# Commits, folders and files


def repository(folder: Path, name: str, under: str = "", **options: str) -> tuple[str, str]:
    """Make a git repository; return its URL and the hash of a commit that is not the newest, one after a tag."""
    for path, content in files_of(name, **options).items():
        (folder / under / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / under / path).write_text(content)

    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(folder), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    git("tag", "v1.0")
    git("commit", "-q", "--allow-empty", "-m", "one and a half")
    commit = git("rev-parse", "HEAD")
    (folder / under / f"{name}.py").write_text("ANSWER = 43\n")
    git("commit", "-q", "-a", "-m", "two")
    return folder.as_uri(), commit


@pytest.mark.parametrize("under", ["", "python/lib"])
def test_a_commit_is_built_and_remembered(tmp_path: Path, under: str) -> None:
    url, commit = repository(tmp_path / "upstream", "lib", under)
    package = LockedPackage(name="lib", git=url, ref=commit, subdirectory=under or None, place="Pipfile.lock:5")
    memory = Memory()

    wheel = make(package, tmp_path, memory=memory)

    with opened(wheel, tmp_path) as archive:
        assert archive.read("lib.py") == b"ANSWER = 42\n"
    (tmp_path / "upstream").rename(tmp_path / "gone")
    assert make(package, tmp_path, memory=memory) == wheel


@pytest.mark.parametrize("mention", ["[tool.setuptools_scm]", 'check_output(["git", "describe", "--tags"])'])
def test_a_version_that_comes_from_tags_has_them(tmp_path: Path, mention: str) -> None:
    """As setuptools-scm, or a setup.py of its own, asks for them, as the user of the build and in its own copy."""
    before = (
        "import subprocess\n"
        "asked = subprocess.run(['git', 'describe', '--tags', '--long'], capture_output=True, text=True)\n"
        "open('lib.py', 'w').write(asked.stdout.strip() or asked.stderr)"
    )
    url, commit = repository(tmp_path / "upstream", "lib", before=before, requires=f"[]\n# {mention}")
    package = LockedPackage(name="lib", git=url, ref=commit, place="Pipfile.lock:5")

    with opened(make(package, tmp_path), tmp_path) as archive:
        assert archive.read("lib.py") == f"v1.0-1-g{commit[:7]}".encode()


def test_a_commit_that_is_not_there(tmp_path: Path) -> None:
    url, _ = repository(tmp_path / "upstream", "lib")
    package = LockedPackage(name="lib", git=url, ref="0" * 40, place="Pipfile.lock:5")

    message = str(failing(package, tmp_path))

    assert message.startswith(f"the locked commit of lib cannot be fetched\n\ngit asked {url} for {'0' * 40}:\n  ")
    assert message.endswith(
        "\n\nhint: check the address, the commit and your access to it; private repositories take ${USER}:${TOKEN}@ "
        "in the URL, or git's own credential helpers."
    )


def test_a_private_repository_and_no_trace_of_its_token(index: Index, tmp_path: Path) -> None:
    index.login = "robot:hunter2"
    url = index.url.replace("http://", "http://robot:${TOKEN}@") + "lib.git"
    package = LockedPackage(name="lib", git=url, ref="0" * 40, place="Pipfile.lock:5")

    message = str(failing(package, tmp_path, environ={"TOKEN": "hunter2"}))

    # The server is not a git server, but it got a request with the token.
    assert {each.authorization for each in index.asked} == {"Basic cm9ib3Q6aHVudGVyMg=="}
    assert "hunter2" not in message
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]


def test_git_is_not_installed(tmp_path: Path) -> None:
    package = LockedPackage(name="lib", git="https://example.invalid/lib.git", ref="0" * 40, place="Pipfile.lock:5")

    assert str(failing(package, tmp_path, environ={"PATH": str(tmp_path)})) == (
        "lib cannot be fetched\n\n"
        "Pipfile.lock takes it from a git repository, and git is not installed here.\n\n"
        "hint: install git, or lock a release from an index."
    )


def test_a_local_folder_is_built_again_when_it_changed(tmp_path: Path) -> None:
    for path, content in files_of("lib").items():
        (tmp_path / "libs/lib").mkdir(parents=True, exist_ok=True)
        (tmp_path / "libs/lib" / path).write_text(content)
    package, memory = LockedPackage(name="lib", path="./libs/lib", editable=True, place="Pipfile.lock:5"), Memory()

    first = make(package, tmp_path, memory=memory)
    same = make(package, tmp_path, memory=memory)
    (tmp_path / "libs/lib/lib.py").write_text("ANSWER = 44\n")
    changed = make(package, tmp_path, memory=memory)

    assert first == same != changed
    with opened(changed, tmp_path) as archive:
        assert archive.read("lib.py") == b"ANSWER = 44\n"


def test_local_archives_and_wheels(tmp_path: Path) -> None:
    for filename, content in (sdist_of("lib"), make_wheel("ready", "2.0")):
        (tmp_path / filename).write_bytes(content)

    built = make(LockedPackage(name="lib", path="lib-1.0.tar.gz", place="Pipfile.lock:5"), tmp_path)
    taken = make(LockedPackage(name="ready", path="ready-2.0-py3-none-any.whl", place="Pipfile.lock:5"), tmp_path)

    assert (built.filename, taken.filename) == ("lib-1.0-py3-none-any.whl", "ready-2.0-py3-none-any.whl")
    assert taken.version == "2.0"


def test_a_sibling_in_the_work_tree_is_built(tmp_path: Path) -> None:
    repository(tmp_path, "lib", "shared-lib")
    (tmp_path / "services/app").mkdir(parents=True)

    wheel = make(LockedPackage(name="lib", path="../../shared-lib", place="Pipfile.lock:5"), tmp_path / "services/app")

    with opened(wheel, tmp_path / "services/app") as archive:
        assert archive.read("lib.py") == b"ANSWER = 43\n"


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    package = LockedPackage(name="lib", path="./libs/lib", place="Pipfile:8", requested=True)

    assert str(failing(package, tmp_path)) == (
        "the sources of lib are missing\n\n"
        "Pipfile:8 names the path './libs/lib', relative to the app's folder, and it does not exist.\n\n"
        "hint: put the sources there, or fix the path in Pipfile and run `deploy lock`."
    )


def test_files_by_address(index: Index, tmp_path: Path) -> None:
    def at(name: str, filename: str, content: bytes, locked: bytes) -> LockedPackage:
        index.add(name, filename, content)
        address = index.url.replace("/simple/", f"/files/{filename}")
        return LockedPackage(name=name, file=address, hashes=(f"sha256:{sha256(locked)}",), place="Pipfile.lock:5")

    wheel, sdist = make_wheel("ready", "2.0"), sdist_of("lib")

    taken = make(at("ready", *wheel, wheel[1]), tmp_path, index=index)
    built = make(at("lib", *sdist, sdist[1]), tmp_path, index=index)
    error = failing(at("evil", "evil-1-py3-none-any.whl", b"evil", b"good"), tmp_path, index=index)

    assert (taken.version, taken.sha256) == ("2.0", sha256(wheel[1]))
    assert built.filename == "lib-1.0-py3-none-any.whl"
    assert str(error).startswith("evil-1-py3-none-any.whl is not the file that was locked\n\n")
