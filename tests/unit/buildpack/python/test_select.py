from __future__ import annotations

import pytest
from packaging.markers import Marker

from buildpack.app.lockfile import LockedPackage
from buildpack.errors import AppError, DependencyError
from buildpack.python.files import WheelFile
from buildpack.python.select import (
    missing_requirements,
    required_names,
    select_packages,
)
from buildpack.python.target import Target

PY_3_11_2 = Target(version="3.11.2", machine="x86_64", libc=("glibc", 2, 36))
PY_3_11_7 = Target(version="3.11.7", machine="x86_64", libc=("glibc", 2, 36))


def package(name: str, markers: str | None = None, **options: object) -> LockedPackage:
    given = {"version": "1.0", "hashes": ("sha256:" + "0" * 64,), "place": "Pipfile.lock:7", **options}
    return LockedPackage(name=name, markers=markers, **given)  # type: ignore[arg-type]


def test_keeps_what_the_stack_needs_in_the_locks_order() -> None:
    packages = [
        package("zope", None),
        package("colorama", "sys_platform == 'win32'"),
        package("async-timeout", "python_full_version < '3.11.3'"),
        package("greenlet", "platform_machine == 'x86_64' and python_version >= '3.8'"),
        package("amqp", "os_name == 'posix'"),
    ]

    assert [each.name for each in select_packages(packages, PY_3_11_7)] == ["zope", "greenlet", "amqp"]
    assert [each.name for each in select_packages(packages, PY_3_11_2)] == ["zope", "async-timeout", "greenlet", "amqp"]


@pytest.mark.parametrize(
    ("marker", "kept"),
    [
        ("extra == 'crypto'", True),
        ('extra == "crypto" and python_version >= "3.8"', True),
        ("'crypto' == extra and sys_platform == 'linux'", True),
        ("python_version < '3.8' and extra == 'crypto'", False),
        ("extra == 'a' and sys_platform == 'win32' or extra == 'b' and os_name == 'posix'", True),
        ("(extra=='a' or extra=='b') and platform_system != 'Linux'", False),
    ],
)
def test_the_extras_of_a_locked_entry_were_asked_for(marker: str, kept: bool) -> None:
    assert select_packages([package("cryptography", marker)], PY_3_11_7) == [package("cryptography", marker)] * kept


def test_a_marker_that_cannot_be_read() -> None:
    with pytest.raises(DependencyError) as error:
        select_packages([package("flask", "python_versio > '3'")], PY_3_11_7)

    assert error.value.exit_code == 20
    assert str(error.value) == (
        "the marker of flask cannot be read\n\n"
        "Pipfile.lock:7 holds \"python_versio > '3'\", which is not an environment marker (PEP 508).\n\n"
        "hint: fix the entry in Pipfile, run `deploy lock`, and build again."
    )


def test_a_package_locked_by_name_only_may_be_left_out_but_not_installed() -> None:
    bare = package("pywin32", "sys_platform == 'linux'", version=None, hashes=(), place="Pipfile:12", requested=True)
    other = package("pywin32", "sys_platform == 'win32'", version=None, hashes=())

    assert select_packages([other], PY_3_11_7) == []
    with pytest.raises(AppError) as error:
        select_packages([bare], PY_3_11_7)
    assert str(error.value) == (
        "pywin32 is locked without a version and a hash\n\n"
        "Pipfile:12 asks for it if sys_platform == 'linux', which is true for CPython 3.11.7 on x86_64 with glibc "
        "2.36. Pipenv locks a package this way if the locking machine does not need it.\n\n"
        "hint: run `deploy lock` on a machine like the stack, commit Pipfile.lock, and build again."
    )


REDIS = ('async-timeout>=4.0.2; python_full_version < "3.11.3"', "hiredis; extra == 'hiredis'")


def warnings(
    requires: dict[str, tuple[str, ...]], target: Target, extras: dict[str, tuple[str, ...]] | None = None
) -> list[str]:
    """Warn of what wheels, each given as ``NAME VERSION`` with its requirements, lack."""
    split = {wheel.partition(" ")[0]: (wheel.partition(" ")[2], lines) for wheel, lines in requires.items()}
    wheels = [
        WheelFile(name=name, version=version, filename="", url="", sha256="", size=0, source="")
        for name, (version, _) in split.items()
    ]
    return missing_requirements(wheels, {name: lines for name, (_, lines) in split.items()}, extras or {}, target)


def test_a_lock_from_another_patch_level_lacks_what_only_this_one_needs() -> None:
    assert warnings({"redis 5.0.1": REDIS}, PY_3_11_2) == [
        (
            'redis 5.0.1 needs async-timeout>=4.0.2 on Python 3.11.2 (python_full_version < "3.11.3"), and '
            "Pipfile.lock lacks it: it was made with another patch level of Python. Lock with 3.11.2, or set "
            "python_full_version in Pipfile."
        )
    ]
    assert warnings({"redis 5.0.1": REDIS}, PY_3_11_7) == []


def test_extras_count_if_the_lock_or_another_wheel_asks_for_them() -> None:
    celery = {"celery 5.4": ("redis[hiredis]>=4",)}
    redis = {"redis 5.0.1": REDIS}
    lacking = [
        (
            'redis 5.0.1 needs hiredis on CPython 3.11.7 on x86_64 with glibc 2.36 (extra == "hiredis"), and '
            "Pipfile.lock lacks it. Add it to Pipfile and run `deploy lock`."
        )
    ]

    assert warnings({**celery, **redis}, PY_3_11_7) == lacking
    assert warnings({**redis, **celery}, PY_3_11_7) == lacking
    assert warnings(redis, PY_3_11_7, {"redis": ("hiredis",)}) == lacking


def test_a_version_that_does_not_satisfy_and_one_that_does() -> None:
    flask = ("Werkzeug>=3.0.0", "click<8.2.dev0", "not a requirement!")

    assert warnings({"flask 3.0": flask, "werkzeug 2.3.1": (), "click 8.1.0rc1": ()}, PY_3_11_7) == [
        "flask 3.0 needs Werkzeug>=3.0.0, and Pipfile.lock pins 2.3.1."
    ]


def test_required_names_are_those_whose_markers_hold_on_the_target() -> None:
    lines = (
        "Click >=8",
        "Typing.Extensions ; python_version < '3.12'",
        "colorama ; sys_platform == 'win32'",
        "redis[Hiredis,a_b] ; extra == 'Cache' or extra == \"all\"",
        "uvloop ; extra == 'fast' and sys_platform == 'win32'",
        "x ; python_version ~= 'nonsense'",
        "not a requirement!",
        "y @ https://example.org/y.whl",
    )
    assert required_names(lines, PY_3_11_7) == (
        "click",
        "typing-extensions",
        "y",
        "all:redis[a-b,hiredis]",
        "cache:redis[a-b,hiredis]",
    )
    assert required_names(REDIS, PY_3_11_2) == ("async-timeout", "hiredis:hiredis")
    assert required_names(REDIS, PY_3_11_7) == ("hiredis:hiredis",)


def test_a_marker_that_cannot_be_compared_asks_for_nothing() -> None:
    assert warnings({"odd 1": ("x ; python_version ~= 'nonsense'",)}, PY_3_11_7) == []


def test_a_plain_gap() -> None:
    gunicorn = ("setuptools>=3.0", "colorama; sys_platform == 'linux'")

    colorama, setuptools = warnings({"gunicorn 20.1": gunicorn}, PY_3_11_7)

    assert colorama == (
        'gunicorn 20.1 needs colorama on CPython 3.11.7 on x86_64 with glibc 2.36 (sys_platform == "linux"), and '
        "Pipfile.lock lacks it. Add it to Pipfile and run `deploy lock`."
    )
    assert setuptools == (
        "gunicorn 20.1 needs setuptools>=3.0, and Pipfile.lock lacks it. Add it to Pipfile and run `deploy lock`."
    )


@pytest.mark.parametrize("version", ["3.9.1", "3.10.4", "3.11.2", "3.14.0", "3.14.0rc1"])
def test_the_usual_markers_mean_what_packaging_says(version: str) -> None:
    target = Target(version=version, machine="x86_64", libc=("glibc", 2, 36))
    versions = ("2.7", "3.9", "3.10", "3.11", "3.9.0", "3.9.1", "3.10.4", "3.11.2", "3.14.0", "3.014", "3.14.0rc1")
    single = [
        f"{name} {operator} '{value}'"
        for name in ("python_version", "python_full_version")
        for operator in (">=", "<=", "<", ">", "==", "!=", "~=")
        for value in versions
    ]
    markers = [*single, *(f"{one} and {other}" for one, other in zip(single, single[7:], strict=False))]
    expected = [marker for marker in markers if Marker(marker).evaluate(dict(target.environment))]
    chosen = select_packages([package(marker, marker) for marker in markers], target)
    assert [each.name for each in chosen] == expected
