"""The cause of a failed build, as its output shows it."""

from __future__ import annotations

import pytest

from buildpack.python.build_failure import missing_parts, remedies, telling_lines


@pytest.mark.parametrize(
    ("output", "missing"),
    [
        (
            "psycopg/psycopg.h:35:10: fatal error: libpq-fe.h: No such file or directory",
            ["the header libpq-fe.h, of PostgreSQL's client library (libpq-dev)"],
        ),
        (
            "x.c:1:10: fatal error: 'Python.h' file not found",
            ["the header Python.h, of Python's own headers (python3-dev)"],
        ),
        ("x.c:1:10: fatal error: own/thing.h: No such file or directory", ["the header own/thing.h"]),
        ("Error: pg_config executable not found.", ["pg_config, of libpq-dev"]),
        ("/bin/sh: 1: mysql_config: not found", ["mysql_config, of default-libmysqlclient-dev"]),
        (
            "error: command 'x86_64-linux-gnu-gcc' failed: No such file or directory",
            ["a C compiler (x86_64-linux-gnu-gcc; on Debian, build-essential)"],
        ),
        ("unable to execute 'gcc': No such file or directory", ["a C compiler (gcc; on Debian, build-essential)"]),
        (
            "FileNotFoundError: [Errno 2] No such file or directory: '/usr/bin/cc'",
            ["a C compiler (cc; on Debian, build-essential)"],
        ),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'README.md'", []),
        ("error: can't find Rust compiler", ["a Rust compiler (rustc and cargo)"]),
        ("Cargo, the Rust package manager, is not installed or is not on PATH.", ["a Rust compiler (rustc and cargo)"]),
        ("/usr/bin/ld: cannot find -lssl: No such file or directory", ["the library ssl"]),
        ("No package 'libffi' found", ["the library libffi"]),
        ("Package libxml-2.0 was not found in the pkg-config search path.", ["the library libxml-2.0"]),
        (
            "ModuleNotFoundError: No module named 'numpy.distutils'",
            ["the Python module numpy, which the package does not declare for its build"],
        ),
        ("make: cmake: command not found\nmake: cmake: command not found", ["cmake"]),
        ("error: subprocess-exited-with-error", []),
    ],
)
def test_what_a_build_lacked(output: str, missing: list[str]) -> None:
    assert missing_parts(f"running build_ext\n{output}\nerror: failed") == missing


def test_the_lines_that_are_shown() -> None:
    few = [f"line {number}" for number in range(15)]
    assert telling_lines("\n\n".join(few)) == few
    assert telling_lines("\n".join(few * 3)) == few


@pytest.mark.parametrize(
    "error",
    [
        "x.c:1:10: fatal error: jpeglib.h: No such file or directory",
        "src/x.c:3:5: error: unknown type name 'Py_UNICODE'",
        "error[E0433]: failed to resolve: use of undeclared crate",
        "CMake Error at CMakeLists.txt:3 (find_package):",
        "x.o: undefined reference to `jpeg_start'",
        "configure: error: no acceptable C compiler found",
        "RuntimeError: Cannot install on Python version 3.12",
        "setuptools.errors.PlatformError: no",
    ],
)
def test_the_first_error_is_shown_with_the_lines_around_it(error: str) -> None:
    before, after = [f"-Werror before {n}" for n in range(50)], [f"after {n}" for n in range(50)]
    lines = telling_lines("\n".join([*before, error, *after, "error: command 'gcc' failed"]))
    assert lines == [*before[-3:], error, *after[:5], "...", *after[-4:], "error: command 'gcc' failed"]


def test_an_error_near_the_end_is_shown_with_all_that_follows() -> None:
    before = [f"before {n}" for n in range(50)]
    assert telling_lines("\n".join([*before, "x.c:1:2: error: no", "end"])) == [
        *before[-3:], "x.c:1:2: error: no", "end",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("output", "remedy"),
    [
        (
            "LookupError: setuptools-scm was unable to detect version for /build.",
            "name its version with `--build-env SETUPTOOLS_SCM_PRETEND_VERSION_FOR_SOME_THING=VERSION`",
        ),
        (
            "Exception: Versioning for this project requires either an sdist tarball, or access to git.",
            "name its version with `--build-env PBR_VERSION=VERSION`",
        ),
        (
            "ModuleNotFoundError: No module named 'pkg_resources'",
            "build it with an older setuptools: write `setuptools<81` to a file, and set PIP_CONSTRAINT to its path",
        ),
    ],
)
def test_what_can_be_set_for_a_build(output: str, remedy: str) -> None:
    assert remedies(output, "some-thing") == [remedy]
    assert remedies("error: failed", "some-thing") == []
