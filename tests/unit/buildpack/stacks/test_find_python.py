from __future__ import annotations

import os
import resource
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from buildpack.oci.store import Store
from buildpack.stacks.find_python import choose, find_candidates, list_pythons, probe, usable_versions

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
VERSION = ".".join(map(str, sys.version_info[:3]))
REAL = os.path.realpath(sys.executable)


def executable(path: Path, body: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)
    path.chmod(0o755)
    return path


def elf(path: Path) -> Path:
    return executable(path, b"\x7fELF" + str(path).encode())


def test_the_active_environment_comes_before_path_and_pyenv(tmp_path: Path) -> None:
    environ = {
        "VIRTUAL_ENV": str(tmp_path / "venv"),
        "PATH": f"{tmp_path}/path:relative",
        "PYENV_ROOT": str(tmp_path / "pyenv"),
    }
    expected = [
        elf(tmp_path / "venv/bin/python3.77"),
        elf(tmp_path / "own/python3.77"),
        elf(tmp_path / "path/python3.77"),
        elf(tmp_path / "pyenv/versions/3.77.10/bin/python3.77"),
        elf(tmp_path / "pyenv/versions/3.77.9/bin/python3.77"),
    ]
    assert find_candidates("3.77", environ=environ, own=f"{tmp_path}/own/python") == expected
    assert find_candidates("3.77.9", environ=environ, own=f"{tmp_path}/own/python") == expected


def test_an_unreadable_folder_counts_as_absent(tmp_path: Path) -> None:
    found = elf(tmp_path / "path/python3.77")
    too_long = f"/{'a' * 5000}"  # which even root cannot look at
    environ = {"PATH": f"{too_long}:{tmp_path}/path", "PYENV_ROOT": too_long, "VIRTUAL_ENV": too_long}
    assert find_candidates("3.77", environ=environ, own="") == [found]
    assert found in find_candidates(None, environ=environ, own="")


def test_a_folder_of_another_user_counts_as_absent() -> None:
    """The folders of a test are root's alone, so these are elsewhere."""
    with TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        found = elf(place / "path/python3.77")
        closed = place / "closed"
        for path in ("python3.77", "bin/python3.77", "versions/3.77.1/bin/python3.77"):
            elf(closed / path)
        closed.chmod(0)
        environ = {"PATH": f"{closed}:{place}/path", "PYENV_ROOT": str(closed), "VIRTUAL_ENV": str(closed)}
        user = os.geteuid()
        try:
            if user == 0:  # root may read all
                os.seteuid(65534)
            assert find_candidates("3.77", environ=environ, own=f"{closed}/python3.77") == [found]
            assert found in find_candidates(None, environ=environ, own="")
        finally:
            os.seteuid(user)
            closed.chmod(0o755)


def test_pyenv_is_found_in_home(tmp_path: Path) -> None:
    found = elf(tmp_path / ".pyenv/versions/3.77.0/bin/python3.77")
    assert find_candidates("3.77", environ={"HOME": str(tmp_path)}, own="") == [found]


def test_a_shim_does_not_count(tmp_path: Path) -> None:
    executable(tmp_path / "shims/python3.77", b"#!/bin/sh\nexec python3.77\n")
    assert find_candidates("3.77", environ={"PATH": str(tmp_path / "shims")}, own="") == []


def test_one_file_under_two_names_is_one_candidate(tmp_path: Path) -> None:
    first = elf(tmp_path / "a/python3.77")
    (tmp_path / "b").mkdir()
    (tmp_path / "b/python3.77").symlink_to(first)
    assert find_candidates("3.77", environ={"PATH": f"{tmp_path}/a:{tmp_path}/b"}, own="") == [first]


def test_without_a_version_every_series_counts(tmp_path: Path) -> None:
    newer, older = elf(tmp_path / "python3.77"), elf(tmp_path / "python3.9")
    elf(tmp_path / "python3-config")
    found = find_candidates(None, environ={"PATH": str(tmp_path)}, own="")
    assert found[:2] == [newer, older]


def test_an_interpreter_names_its_version() -> None:
    found = probe(Path(sys.executable), {})
    assert found is not None
    assert found.version == VERSION
    assert found.series == HERE
    assert found.executable == Path(os.path.realpath(getattr(sys, "_base_executable", REAL)))
    assert found.stdlib == Path(os.__file__).parent
    assert found.cache_tag == sys.implementation.cache_tag


def test_a_program_that_does_not_run_does_not_count(tmp_path: Path) -> None:
    assert probe(elf(tmp_path / "python3.77"), {}) is None
    assert probe(tmp_path / "absent", {}) is None
    assert probe(Path(shutil.which("true") or "/bin/true"), {}) is None


def test_a_broken_candidate_is_passed_over(tmp_path: Path) -> None:
    found = choose(HERE, [elf(tmp_path / "python"), Path(sys.executable)], {})
    assert found is not None
    assert found.version == VERSION


def test_another_patch_level_is_better_than_none() -> None:
    found = choose(f"{HERE}.99", [Path(sys.executable)], {})
    assert found is not None
    assert found.version == VERSION


def test_another_series_is_none() -> None:
    assert choose("3.77", [Path(sys.executable)], {}) is None


def test_the_environment_of_the_caller_does_not_reach_it() -> None:
    """`PYTHONHOME` would break it, and `PYTHONPATH` could change its answer."""
    found = list_pythons(environ={"PYTHONHOME": "/nowhere", "PYTHONPATH": "/nowhere"}, own=sys.executable)
    assert (VERSION, os.path.realpath(getattr(sys, "_base_executable", REAL))) in found


def without_ssl(prefix: Path) -> Path:
    """Make a copy of the running interpreter whose standard library lacks `ssl`."""
    stdlib = prefix / "lib" / f"python{HERE}"
    (stdlib / "lib-dynload").mkdir(parents=True)
    for each in Path(os.__file__).parent.iterdir():
        if each.name != "lib-dynload":
            (stdlib / each.name).symlink_to(each)
    found = probe(Path(sys.executable), {})
    assert found is not None
    assert found.dynload is not None
    for each in found.dynload.iterdir():
        if not each.name.startswith("_ssl."):
            (stdlib / "lib-dynload" / each.name).symlink_to(each)
    (prefix / "bin").mkdir()
    return Path(shutil.copy(found.executable, prefix / "bin" / f"python{HERE}"))


def test_the_newest_that_can_run_a_server(tmp_path: Path) -> None:
    elf(tmp_path / "python3.77")
    (tmp_path / f"python{HERE}").symlink_to(REAL)
    (tmp_path / "python3.78").symlink_to(REAL)  # its name is not its version
    environ = {"PATH": str(tmp_path)}
    found = list(usable_versions(environ=environ, own=""))
    assert HERE in found
    assert not {"3.77", "3.78"} & set(found)
    assert found == sorted(found, key=lambda version: -int(version.split(".")[1]))


def test_an_interpreter_without_ssl_cannot_run_a_server(tmp_path: Path) -> None:
    lacking = without_ssl(tmp_path / "lacking")
    found = probe(lacking, {})
    assert found is not None
    assert found.lacking == ("ssl",)
    assert HERE not in usable_versions(environ={}, own=str(lacking))


def test_an_answer_is_remembered_until_the_standard_library_changes(tmp_path: Path) -> None:
    lacking, store = without_ssl(tmp_path / "lacking"), Store(tmp_path / "s")
    first = probe(lacking, {}, store)
    assert first is not None
    assert first.lacking == ("ssl",)
    assert first.dynload is not None
    (first.dynload / "_ssl.so").touch()
    again = probe(lacking, {}, store)
    assert again is not None
    assert again.lacking == ()


def test_an_interpreter_is_asked_once(tmp_path: Path) -> None:
    def ask() -> tuple[list[str], int]:
        """Return the versions, and how much was used by processes that were started for them."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
        found = list(usable_versions(environ={"PATH": str(tmp_path)}, own=sys.executable, store=Store(tmp_path / "s")))
        return found, resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before

    first, used = ask()
    assert HERE in first
    assert used > 0
    assert ask() == (first, 0)
