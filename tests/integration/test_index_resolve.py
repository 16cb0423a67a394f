"""From a lock's hashes to wheels: real HTTP, real files, both kinds of index."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildpack.app.indexes import Source
from buildpack.app.lockfile import LockedPackage
from buildpack.errors import BuildpackError, DependencyError, Problems
from buildpack.python.fetch import fetch_file
from buildpack.python.files import Sdist, WheelFile
from buildpack.python.find_wheels import JOBS, resolve_wheels
from buildpack.python.http import ATTEMPTS, Client
from buildpack.python.index import Resolver
from buildpack.python.target import Target
from tests.support.index import Index, Served, make_wheel, serving, sha256

TARGET = Target(version="3.11.7", machine="x86_64", libc=("glibc", 2, 36))


class Memory:
    """A memory that keeps its values as JSON, as the store does."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def recall(self, kind: str, key: str) -> Any:
        value = self.kept.get((kind, key))
        return json.loads(value) if value is not None else None

    def remember(self, kind: str, key: str, value: Any) -> None:
        self.kept[kind, key] = json.dumps(value)


@pytest.fixture(params=["html", "json"])
def index(request: pytest.FixtureRequest) -> Iterator[Index]:
    with serving(style=request.param) as served:
        yield served


def locked(
    name: str, *files: Served, version: str | None = "1.0", place: str = "Pipfile.lock:9", **options: Any
) -> LockedPackage:
    hashes = tuple(sorted(f"sha256:{sha256(file.content)}" for file in files))
    return LockedPackage(name=name, version=version, place=place, **{"hashes": hashes, **options})


def add(index: Index, name: str, *tags: str, version: str = "1.0", **options: Any) -> list[Served]:
    return [
        index.add(name, *make_wheel(name, version, tag=tag, body=f"{tag}{version}".encode()), **options) for tag in tags
    ]


def resolve(
    index: Index | list[Index],
    packages: list[LockedPackage],
    folder: Path,
    *,
    memory: Memory | None = None,
    sources: list[Source] | None = None,
    environ: dict[str, str] | None = None,
    **options: Any,
) -> list[WheelFile]:
    indexes = index if isinstance(index, list) else [index]
    found = sources or [Source(name=f"index-{number}", url=each.url) for number, each in enumerate(indexes)]
    memory = memory or Memory()
    with Client(found, environ or {}, sleep=lambda _: None) as client:
        resolver = Resolver(
            target=TARGET,
            client=client,
            folder=folder,
            recall=memory.recall,
            remember=memory.remember,
            **options,
        )
        return resolve_wheels(packages, resolver)


def failing(*args: Any, **options: Any) -> BuildpackError:
    with pytest.raises(BuildpackError) as error:
        resolve(*args, **options)
    return error.value


def never(package: LockedPackage, _sdist: Sdist | None) -> WheelFile:
    raise AssertionError(f"{package.name} is built")


def test_the_best_locked_wheel_is_taken(index: Index, tmp_path: Path) -> None:
    files = add(index, "numpy", "cp311-cp311-manylinux_2_28_x86_64", "cp311-cp311-manylinux2014_x86_64", "py3-none-any")
    add(index, "numpy", "cp311-cp311-manylinux_2_36_x86_64")  # fits better, and its hash is not locked

    (wheel,) = resolve(index, [locked("numpy", *files)], tmp_path)

    assert wheel == WheelFile(
        name="numpy",
        version="1.0",
        filename="numpy-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
        url=index.url.replace("simple/", "files/numpy-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"),
        sha256=sha256(files[0].content),
        size=len(files[0].content),
        source="index-0",
    )
    assert WheelFile.parse(json.loads(json.dumps(wheel.render()))) == wheel
    assert index.asked[0].accept.startswith("application/vnd.pypi.simple.v1+json, ")
    # JSON says the size; HTML does not, so the file's headers are asked.
    assert len(index.paths("HEAD")) == (0 if index.style == "json" else 1)
    assert index.paths() == ["/simple/numpy/"]


def test_wheels_come_in_the_packages_order_and_are_reported_as_they_are_found(index: Index, tmp_path: Path) -> None:
    packages = [locked(f"p-{number}", *add(index, f"p-{number}", "py3-none-any")) for number in range(30)]
    told: list[str] = []

    wheels = resolve(index, packages, tmp_path, resolved=lambda wheel: told.append(wheel.name))

    assert [wheel.name for wheel in wheels] == [package.name for package in packages]
    assert sorted(told) == sorted(package.name for package in packages)


def test_what_was_found_once_is_not_asked_for_again(index: Index, tmp_path: Path) -> None:
    memory = Memory()
    packages = [locked("flask", *add(index, "flask", "py3-none-any"))]
    first = resolve(index, packages, tmp_path, memory=memory)
    index.asked.clear()

    told: list[WheelFile] = []
    assert resolve(index, packages, tmp_path, memory=memory, resolved=told.append) == first == told
    assert index.asked == []
    changed = [locked("flask", *add(index, "flask", "py3-none-any", version="1.1"), version="1.1")]
    assert resolve(index, changed, tmp_path, memory=memory)[0].version == "1.1"


def test_damaged_memories_are_ignored(index: Index, tmp_path: Path) -> None:
    memory = Memory()
    packages = [locked("flask", *add(index, "flask", "py3-none-any"))]
    first = resolve(index, packages, tmp_path, memory=memory)
    for value in (None, "x", {"name": "flask"}, [1]):
        memory.kept = dict.fromkeys(memory.kept, json.dumps(value))
        assert resolve(index, packages, tmp_path, memory=memory) == first


def test_yanked_files_still_serve_those_who_locked_them(index: Index, tmp_path: Path) -> None:
    (wheel,) = resolve(index, [locked("flask", *add(index, "flask", "py3-none-any", yanked="broken"))], tmp_path)

    assert wheel.yanked == "broken"


# Several indexes


def test_the_index_key_decides_and_else_the_first_that_has_a_locked_file(tmp_path: Path) -> None:
    with serving() as first, serving(style="json") as second:
        (there,) = add(first, "flask", "py3-none-any")
        (here,) = add(second, "flask", "py3-none-any", version="1.0")
        here.content += b"another upload"
        (only_second,) = add(second, "private", "py3-none-any")
        add(first, "private", "py3-none-any", version="9.9")  # an impostor: its hash is not locked
        packages = [
            locked("flask", there, here),
            locked("flask", there, here, index="index-1"),
            locked("private", only_second),
        ]

        wheels = [resolve([first, second], [package], tmp_path)[0] for package in packages]

        assert [wheel.source for wheel in wheels] == ["index-0", "index-1", "index-1"]
        assert len([path for path in first.paths() if "flask" in path]) == 1


def test_a_wheel_on_the_second_index_wins_over_an_sdist_on_the_first(tmp_path: Path) -> None:
    with serving() as first, serving() as second:
        sdist = first.add("lxml", "lxml-1.0.tar.gz", b"sources")
        (wheel,) = add(second, "lxml", "cp311-cp311-manylinux2014_x86_64")

        (found,) = resolve([first, second], [locked("lxml", sdist, wheel)], tmp_path)

        assert found.source == "index-1"


def test_an_index_that_is_not_defined(index: Index, tmp_path: Path) -> None:
    package = locked("flask", *add(index, "flask", "py3-none-any"), index="corp", place="Pipfile:4", requested=True)

    assert str(failing(index, [package], tmp_path)) == (
        "flask comes from an index that Pipfile.lock does not define\n\n"
        "Its entry (Pipfile:4) names the index 'corp'; the lock's sources are index-0.\n\n"
        "hint: add a [[source]] with name = 'corp' to Pipfile, run `deploy lock`, and build again."
    )


# Hashes


@pytest.mark.parametrize("algorithm", ["", "md5", "sha512"])
def test_an_index_without_useful_hashes_is_verified_by_downloading(
    index: Index, tmp_path: Path, algorithm: str
) -> None:
    best, good = add(
        index, "numpy", "cp311-cp311-manylinux_2_28_x86_64", "cp311-cp311-manylinux2014_x86_64", algorithm=algorithm
    )
    add(index, "numpy", "py3-none-any", version="2.0", algorithm=algorithm)

    (wheel,) = resolve(index, [locked("numpy", good)], tmp_path)

    assert (wheel.filename, wheel.sha256, wheel.size) == (good.filename, sha256(good.content), len(good.content))
    assert [path for path in index.paths() if "files" in path] == [f"/files/{best.filename}", f"/files/{good.filename}"]
    assert [path.name for path in tmp_path.iterdir()] == [wheel.sha256]
    index.asked.clear()
    with Client([], {}) as client:
        fetch_file(wheel, client, tmp_path)
    assert index.asked == []


def test_a_lock_of_sha512_hashes(tmp_path: Path) -> None:
    with serving(style="json") as index:
        (file,) = add(index, "flask", "py3-none-any", algorithm="sha512")
        package = locked("flask", hashes=(f"sha512:{file.hash()}",))

        (wheel,) = resolve(index, [package], tmp_path)

        assert wheel.sha256 == sha256(file.content)


@pytest.mark.parametrize(
    ("hashes", "has"),
    [((), "no hash"), (("md5:" + "0" * 32,), "only md5 hashes, which can be forged")],
)
def test_without_a_strong_hash_nothing_is_fetched(index: Index, tmp_path: Path, hashes: tuple[str], has: str) -> None:
    add(index, "flask", "py3-none-any")

    error = failing(index, [locked("flask", hashes=hashes)], tmp_path)

    assert error.exit_code == 20
    assert str(error) == (
        "flask 1.0 cannot be verified\n\n"
        f"Its entry (Pipfile.lock:9) has {has}, so any file that an index serves would be installed.\n\n"
        "hint: run `deploy lock`, commit Pipfile.lock, and build again."
    )
    assert index.asked == []


# Packages that are not available


def test_no_file_fits_and_each_reason_is_reported(index: Index, tmp_path: Path) -> None:
    files = add(
        index,
        "pandas",
        *(f"cp3{minor}-cp3{minor}-manylinux2014_x86_64" for minor in (8, 9, 10, 12, 13)),
        "cp311-cp311-win_amd64",
        "cp311-cp311-macosx_11_0_arm64",
        "cp311-cp311-musllinux_1_2_x86_64",
    )
    error = failing(index, [locked("pandas", *files)], tmp_path)

    assert error.exit_code == 20
    assert str(error) == (
        "no file of pandas 1.0 fits the stack\n\n"
        "The stack is CPython 3.11.7 on x86_64 with glibc 2.36. "
        "The files of pandas 1.0 (Pipfile.lock:9) are not for it:\n"
        "  for another libc (musl): pandas-1.0-cp311-cp311-musllinux_1_2_x86_64.whl\n"
        "  for another Python: pandas-1.0-cp310-cp310-manylinux2014_x86_64.whl, "
        "pandas-1.0-cp312-cp312-manylinux2014_x86_64.whl, pandas-1.0-cp313-cp313-manylinux2014_x86_64.whl, "
        "pandas-1.0-cp38-cp38-manylinux2014_x86_64.whl and 1 more\n"
        "  for another machine or system: pandas-1.0-cp311-cp311-macosx_11_0_arm64.whl, "
        "pandas-1.0-cp311-cp311-win_amd64.whl\n\n"
        "hint: lock a version that has a wheel for this stack (`deploy lock`), or choose another stack or Python."
    )


def test_a_fitting_file_that_is_not_locked_is_named(index: Index, tmp_path: Path) -> None:
    files = add(index, "pandas", "cp312-cp312-manylinux2014_x86_64")
    add(index, "pandas", "cp311-cp311-manylinux2014_x86_64")

    assert str(failing(index, [locked("pandas", *files)], tmp_path)) == (
        "no file of pandas 1.0 fits the stack\n\n"
        "The stack is CPython 3.11.7 on x86_64 with glibc 2.36. "
        "The files of pandas 1.0 (Pipfile.lock:9) are not for it:\n"
        "  for another Python: pandas-1.0-cp312-cp312-manylinux2014_x86_64.whl\n"
        "The index has a file that fits, but its hash is not locked: "
        "pandas-1.0-cp311-cp311-manylinux2014_x86_64.whl.\n\n"
        "hint: run `deploy lock`, commit Pipfile.lock, and build again."
    )


def test_none_of_the_hashes_is_known(index: Index, tmp_path: Path) -> None:
    add(index, "flask", "py3-none-any")
    add(index, "flask", "py3-none-any", version="2.0")
    package = locked("flask", hashes=("sha256:" + "0" * 64,))

    assert str(failing(index, [package], tmp_path)) == (
        "flask 1.0 on the index is not what was locked\n\n"
        "Pipfile.lock:9 asks for it, and Pipfile.lock has no hash of its files on the index: "
        "flask-1.0-py3-none-any.whl.\n\n"
        "hint: if the release was uploaded again, run `deploy lock`, commit Pipfile.lock, and build again."
    )


def test_the_packages_own_reason_is_reported_with_the_nearest_version_that_would_do(
    index: Index, tmp_path: Path
) -> None:
    old = {"requires_python": ">=3.7,<3.10"}
    files = [
        *add(index, "numpy", "cp39-cp39-manylinux2014_x86_64", "cp38-cp38-manylinux2014_x86_64", **old),
        index.add("numpy", "numpy-1.0.tar.gz", b"sources", **old),
    ]
    for version, python in (
        ("1.1", "cp39"),
        ("1.10", "cp311"),
        ("1.2", "cp311"),
        ("0.9", "cp311"),
        ("1.2rc1", "cp311"),
    ):
        add(index, "numpy", f"{python}-{python}-manylinux2014_x86_64", version=version)
    for package in (locked("numpy", *files), locked("numpy", hashes=("sha256:" + "0" * 64,))):
        assert str(failing(index, [package], tmp_path, build=never)) == (
            "no file of numpy 1.0 fits the stack\n\n"
            "The stack is CPython 3.11.7 on x86_64 with glibc 2.36. "
            "The files of numpy 1.0 (Pipfile.lock:9) are not for it:\n"
            "  needs Python >=3.7,<3.10: numpy-1.0-cp38-cp38-manylinux2014_x86_64.whl, "
            "numpy-1.0-cp39-cp39-manylinux2014_x86_64.whl, numpy-1.0.tar.gz\n"
            "The nearest version with a wheel for the stack is numpy 1.2.\n\n"
            "hint: ask for numpy 1.2 in Pipfile, run `deploy lock`, and build again, or choose another Python."
        )


@pytest.mark.parametrize(
    ("tags", "system", "name"),
    [(("cp311-cp311-win_amd64", "cp311-cp311-win32"), "win32", "Windows"),
     (("cp311-cp311-macosx_11_0_arm64",), "darwin", "macOS")],
)  # fmt: skip
def test_a_package_of_another_system(
    index: Index, tmp_path: Path, tags: tuple[str, ...], system: str, name: str
) -> None:
    error = failing(index, [locked("pywin32", *add(index, "pywin32", *tags))], tmp_path)
    assert error.why.endswith(f"\nIt works only on {name}, and the lock asks for it on every system.")
    assert error.hint == (
        f'write pywin32 = {{version = "*", markers = "sys_platform == \'{system}\'"}} into Pipfile, run '
        "`deploy lock`, and build again."
    )
    both = locked("both", *add(index, "both", *tags, "cp312-cp312-manylinux2014_x86_64"))
    assert "works only" not in failing(index, [both], tmp_path).why


def test_a_version_that_the_index_does_not_have(index: Index, tmp_path: Path) -> None:
    add(index, "flask", "py3-none-any", version="0.9")
    assert str(failing(index, [locked("flask", hashes=("sha256:" + "0" * 64,))], tmp_path)) == (
        "no index has flask 1.0\n\n"
        "Pipfile.lock:9 asks for it, and the index has only other versions. "
        "The nearest version with a wheel for the stack is flask 0.9.\n\n"
        "hint: ask for flask 0.9 in Pipfile, run `deploy lock`, and build again."
    )


def test_nothing_is_built_for_a_lock_that_cannot_be_installed(index: Index, tmp_path: Path) -> None:
    sdist = index.add("aaa", "aaa-1.0.tar.gz", b"sources")
    unfit = add(index, "pandas", "cp312-cp312-manylinux2014_x86_64")
    folder = LockedPackage(name="local", path="lib", place="Pipfile.lock:3")
    packages = [folder, locked("aaa", sdist), locked("pandas", *unfit), locked("gone", *unfit)]
    error = failing(index, packages, tmp_path, build=never)
    assert isinstance(error, Problems)
    assert [each.what for each in error.problems] == ["no file of pandas 1.0 fits the stack", "no index has gone"]


def test_hashes_of_another_version(index: Index, tmp_path: Path) -> None:
    files = [*add(index, "flask", "py3-none-any", version="1.9"), *add(index, "flask", "py3-none-any", version="1.10")]
    add(index, "flask", "py3-none-any", version="1.0")

    # Among the hashes of two versions, as a merge may leave them, the locked one's count.
    (wheel,) = resolve(index, [locked("flask", *files, version="1.10")], tmp_path)
    assert wheel.version == "1.10"
    assert str(failing(index, [locked("flask", *files)], tmp_path)) == (
        "the hashes of flask 1.0 in Pipfile.lock belong to another version\n\n"
        "Pipfile.lock:9 names the version, and its hashes are those of "
        "flask-1.10-py3-none-any.whl, flask-1.9-py3-none-any.whl.\n\n"
        "hint: run `deploy lock`, commit Pipfile.lock, and build again."
    )


@pytest.mark.parametrize(
    ("offered", "asked"), [("1.0+cpu", "1.0"), ("1.0", "1"), ("1.0", "1.0.0"), ("1.0.post2", "1.0-2")]
)
def test_versions_written_otherwise(tmp_path: Path, offered: str, asked: str) -> None:
    with serving() as served:
        files = add(served, "torch", "py3-none-any", version=offered)
        (wheel,) = resolve(served, [locked("torch", *files, version=asked)], tmp_path)
    assert wheel.filename == f"torch-{offered}-py3-none-any.whl"


def test_nobody_knows_the_project(tmp_path: Path) -> None:
    with serving() as first, serving() as second:
        package = locked("inhouse", hashes=("sha256:" + "0" * 64,))

        assert str(failing([first, second], [package], tmp_path)) == (
            "no index has inhouse\n\n"
            f"Pipfile.lock:9 asks for it; not found: {first.url}inhouse/, {second.url}inhouse/.\n\n"
            "hint: if it is on a private index, add that to Pipfile as a [[source]], run `deploy lock`, and build "
            "again."
        )


def test_an_address_at_which_there_is_no_package_at_all(index: Index, tmp_path: Path) -> None:
    names = ["alpha", "bravo", "charlie", "delta", "echo"]
    packages = [locked(name, hashes=("sha256:" + "0" * 64,)) for name in names]
    wrong = Source(name="wrong", url=index.url.replace("simple/", ""))

    assert str(failing(index, packages, tmp_path, sources=[wrong])) == (
        "no index has any of the 5 packages: alpha, bravo, charlie, delta and 1 more\n\n"
        f"The sources of Pipfile.lock do not have them; not found: {wrong.url}alpha/ and the pages of the others.\n\n"
        "hint: check the URLs of the sources in Pipfile: most end in /simple. Then run `deploy lock`, and build "
        "again."
    )


def test_all_missing_packages_are_reported_at_once(index: Index, tmp_path: Path) -> None:
    good = locked("flask", *add(index, "flask", "py3-none-any"))
    names = ["b-gone", "a-gone", "c-gone"]
    bad = [locked(name, hashes=("sha256:" + "0" * 64,)) for name in names]

    error = failing(index, [bad[0], good, *bad[1:]], tmp_path)

    assert isinstance(error, Problems)
    assert error.exit_code == 20
    assert [problem.what for problem in error.problems] == [f"no index has {name}" for name in names]


def test_a_page_that_is_none(index: Index, tmp_path: Path) -> None:
    index.pages["/simple/flask/"] = ("application/json", b'{"detail": "welcome"}')

    assert str(failing(index, [locked("flask", hashes=("sha256:" + "0" * 64,))], tmp_path)) == (
        f"{index.url.split('/')[2]} is not a package index\n\n"
        f"{index.url}flask/ is not a page as PEP 503 or PEP 691 describe it: "
        "not a project's page: it has no list of files.\n\n"
        "hint: check the URL of the source in Pipfile: most end in /simple."
    )


def test_a_dead_index_is_reported_once_and_soon(tmp_path: Path) -> None:
    packages = [locked(f"p-{number}", hashes=("sha256:" + "0" * 64,)) for number in range(50)]
    slept: list[float] = []
    own, together = threading.local(), threading.Barrier(JOBS)
    source = Source(name="dead", url="http://127.0.0.1:1/simple")

    def sleep(seconds: float) -> None:
        if not hasattr(own, "began"):
            own.began = True
            together.wait(60)  # so that all look-ups have begun when the first one fails
        slept.append(seconds)

    with Client([source], {}, sleep=sleep) as client, pytest.raises(DependencyError, match="cannot be reached"):
        resolve_wheels(packages, Resolver(target=TARGET, client=client, folder=tmp_path))

    assert len(slept) == JOBS * (ATTEMPTS - 1), "only what was begun at the first failure"


# Private indexes


def private(index: Index) -> Source:
    index.login = "robot:hunter2"
    return Source(name="corp", url=index.url.replace("http://", "http://${USER}:${TOKEN}@"))


def test_a_private_index_and_no_trace_of_its_password(
    index: Index, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = private(index)
    packages = [locked("inhouse", *add(index, "inhouse", "py3-none-any"))]
    memory = Memory()
    environ = {"USER": "robot", "TOKEN": "hunter2"}

    with Client([source], environ) as client:
        folder, recall, remember = tmp_path / "wheels", memory.recall, memory.remember
        resolver = Resolver(target=TARGET, client=client, folder=folder, recall=recall, remember=remember)
        (wheel,) = resolve_wheels(packages, resolver)
        path = fetch_file(wheel, client, folder)
        assert "hunter2" in {secret.reveal() for secret in client.secrets}
        shown = [repr(wheel), repr(client.sources), repr(client.secrets), repr(source), repr(memory.kept), str(path)]

    (tmp_path / "memory").write_text(repr(memory.kept))
    shown += [capfd.readouterr().out, capfd.readouterr().err]
    for file in tmp_path.rglob("*"):
        shown += [str(file), file.read_bytes().decode("latin-1") if file.is_file() else ""]
    assert not [text for text in shown if "hunter2" in text]


def test_a_wrong_password_and_none(index: Index, tmp_path: Path) -> None:
    source = private(index)
    host = index.url.split("/")[2]
    packages = [locked("inhouse", *add(index, "inhouse", "py3-none-any"))]
    hint = (
        f"hint: put ${{USER}}:${{PASSWORD}}@ into the URL of the source 'corp' in Pipfile and set both variables, "
        f"or add {host} to ~/.netrc."
    )

    wrong = failing(index, packages, tmp_path, sources=[source], environ={"USER": "robot", "TOKEN": "not-it"})
    none = failing(index, packages, tmp_path, sources=[Source(name="corp", url=index.url)])

    assert str(wrong) == (
        f"{host} denies access to inhouse\n\n"
        f"{index.url}inhouse/ answered HTTP 401 to the login that was sent.\n\n{hint}"
    )
    assert str(none) == (
        f"{host} denies access to inhouse\n\n"
        f"{index.url}inhouse/ answered HTTP 401, and deploy has no login for it.\n\n{hint}"
    )
    assert (wrong.exit_code, none.exit_code) == (20, 20)


def test_an_index_that_lets_nobody_in_does_not_hide_one_that_does(tmp_path: Path) -> None:
    with serving(login="a:b") as closed, serving() as open_one:
        packages = [locked("flask", *add(open_one, "flask", "py3-none-any"))]

        assert resolve([closed, open_one], packages, tmp_path)[0].source == "index-1"


def test_signed_links_are_used_and_never_remembered(index: Index, tmp_path: Path) -> None:
    index.signature = "X-Signature=5ecret"
    memory = Memory()
    packages = [locked("flask", *add(index, "flask", "py3-none-any"))]
    source = Source(name="main", url=index.url)

    def fetch() -> Path:
        with Client([source], {}) as client:
            resolver = Resolver(
                target=TARGET, client=client, folder=tmp_path, recall=memory.recall, remember=memory.remember
            )
            (wheel,) = resolve_wheels(packages, resolver)
            assert "5ecret" not in repr(wheel)
            return fetch_file(wheel, client, tmp_path)

    first = fetch()
    shutil.rmtree(first.parent)
    index.signature = "X-Signature=an0ther"
    assert fetch() == first
    assert "5ecret" not in repr(memory.kept)
    assert "an0ther" not in repr(memory.kept)


def test_an_index_whose_files_answer_no_head(index: Index, tmp_path: Path) -> None:
    index.without_head = True
    (wheel,) = resolve(index, [locked("flask", *add(index, "flask", "py3-none-any"))], tmp_path)

    assert wheel.size == len(index.projects["flask"][0].content)


def test_files_on_another_host_get_no_login(tmp_path: Path) -> None:
    with serving() as files, serving(files_at=files.url.replace("/simple/", "/files/")) as pages:
        source = private(pages)
        (file,) = add(files, "inhouse", "py3-none-any")
        pages.projects["inhouse"] = [file]
        with Client([source], {"USER": "robot", "TOKEN": "hunter2"}) as client:
            (wheel,) = resolve_wheels(
                [locked("inhouse", file)], Resolver(target=TARGET, client=client, folder=tmp_path)
            )
            fetch_file(wheel, client, tmp_path)

        assert {each.authorization for each in files.asked} == {""}


# Private authorities


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that is trusted only if it is named."""
    folder = tmp_path_factory.mktemp("authority")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "ca.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    (folder / "both.pem").write_text((folder / "key.pem").read_text() + (folder / "ca.pem").read_text())
    return folder


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "PIP_CERT"])
def test_a_private_authority(authority: Path, tmp_path: Path, variable: str) -> None:
    with serving(certificate=str(authority / "both.pem")) as index:
        packages = [locked("flask", *add(index, "flask", "py3-none-any"))]

        wheels = resolve(index, packages, tmp_path, environ={variable: str(authority / "ca.pem")})

        assert [wheel.name for wheel in wheels] == ["flask"]


def test_an_authority_that_is_not_trusted(authority: Path, tmp_path: Path) -> None:
    with serving(certificate=str(authority / "both.pem")) as index:
        packages = [locked("flask", *add(index, "flask", "py3-none-any"))]

        error = failing(index, packages, tmp_path)

        assert error.exit_code == 20
        assert str(error) == (
            f"the certificate of {index.url.split('/')[2]} is not trusted\n\n"
            f"{index.url}flask/: self-signed certificate.\n\n"
            "hint: if a company's own authority signs certificates, name its file in REQUESTS_CA_BUNDLE."
        )
        assert index.asked == []


def test_verify_ssl_false_is_honoured_for_that_source_alone(authority: Path, tmp_path: Path) -> None:
    certificate = str(authority / "both.pem")
    with serving(certificate=certificate) as unverified, serving(certificate=certificate) as verified:
        flask, click = add(unverified, "flask", "py3-none-any"), add(verified, "click", "py3-none-any")
        sources = [
            Source(name="lax", url=unverified.url, verify_ssl=False),
            Source(name="strict", url=verified.url),
        ]

        (wheel,) = resolve([], [locked("flask", *flask, index="lax")], tmp_path, sources=sources)
        error = failing([], [locked("click", *click, index="strict")], tmp_path, sources=sources)

        assert wheel.name == "flask"
        assert error.exit_code == 20
        assert "is not trusted" in str(error)
