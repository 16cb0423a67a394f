"""Warnings about wheels that import `pkg_resources`, and about wheels that ship the same paths."""

from __future__ import annotations

import dataclasses
import posixpath

import pytest

from buildpack.python.about import About
from buildpack.python.files import WheelFile
from buildpack.python.wheel_scan import Summary, find_roots
from buildpack.steps.wheel_conflicts import (
    Overlaps,
    find_overlaps,
    may_overlap,
    setuptools_missing,
    setuptools_too_new,
)


def wheels(importing: str = "gunicorn", **versions: str) -> list[WheelFile]:
    return [
        WheelFile(
            name=name,
            version=version,
            filename=f"{name}-{version}-py3-none-any.whl",
            url="https://pypi.org/x",
            sha256="0" * 64,
            size=1,
            source="pypi",
            pkg_resources=name == importing,
        )
        for name, version in versions.items()
    ]


def test_setuptools_is_added_if_the_lock_has_none():
    locked = wheels(flask="3.0", gunicorn="20.0.4")
    [expected] = setuptools_missing(locked, "80.9.0")
    assert expected == (
        "gunicorn 20.0.4 imports pkg_resources, and no package of Pipfile.lock has it: setuptools 80.9.0 was added. "
        'Add `setuptools = "<81"` to Pipfile and run `deploy lock`.'
    )
    assert setuptools_missing(wheels("", flask="3.0", gunicorn="20.0.4"), "80.9.0") == []
    assert setuptools_missing(wheels(gunicorn="20.0.4", setuptools="84.2.1"), "80.9.0") == []


def test_a_setuptools_without_pkg_resources_gives_a_warning():
    """The lock decides what is installed, so it stays."""
    [expected] = setuptools_too_new(wheels(gunicorn="20.0.4", setuptools="84.2.1"))
    assert expected == (
        "gunicorn 20.0.4 imports pkg_resources, which setuptools 84.2.1 of Pipfile.lock no longer has: if it needs "
        'that, it fails when it starts. Add `setuptools = "<81"` to Pipfile and run `deploy lock`.'
    )
    assert setuptools_too_new(wheels("", gunicorn="20.0.4", setuptools="84.2.1")) == []
    assert setuptools_too_new(wheels(gunicorn="20.0.4")) == []


@pytest.mark.parametrize(
    ("version", "expected"), [("81.0.0", 0), ("82.0.0", 1), ("82.0.0rc1", 1), ("59.8.0", 0), ("x", 0)]
)
def test_the_series_of_setuptools_decides(version: str, expected: int) -> None:
    assert len(setuptools_too_new(wheels(gunicorn="20.0.4", setuptools=version))) == expected


def shipping(requires: tuple[str, ...] = (), **paths: str) -> Summary:
    return Summary(
        name="x",
        version="1",
        size=1,
        needed=(),
        provided=(),
        requires=requires,
        paths=tuple(f"opt/venv/lib/python3.12/site-packages/{path.replace('__', '/')}" for path in paths),
        contents=tuple(paths.values()),
        roots=(),
        pkg_resources=False,
        about=About(),
        warnings=(),
    )


def overlaps(**summaries: Summary) -> Overlaps:
    return find_overlaps([*zip(wheels(**dict.fromkeys(summaries, "1.0")), summaries.values(), strict=True)])


def test_the_warning_names_the_package_to_drop_and_why():
    one, two = shipping(cv2__a="1"), shipping(cv2__a="2")
    asks = {"app": shipping(requires=("Alpha>=1; python_version > '3'", "zeta ; extra == 'x'"))}
    both = {"app": shipping(requires=("alpha", "zeta<3"))}
    expected = [
        overlaps(**more, alpha=one, zeta=two).warnings[0].partition("are used. ")[2] for more in ({}, asks, both)
    ]
    assert expected == [
        "Remove alpha from Pipfile: its files are replaced, and no other package requires it.",
        "Remove zeta from Pipfile: app requires alpha, and no other package requires zeta.",
        "app requires alpha, and app requires zeta: lock versions that agree.",
    ]


def test_three_packages_with_one_path():
    found = overlaps(a=shipping(x="1"), b=shipping(x="2"), c=shipping(x="2"))
    assert found.names == {"a", "c"}
    assert len(found.warnings) == 1


def test_equal_files_and_strays():
    found = overlaps(a=shipping(same="1", tests__x="1"), b=shipping(same="1", tests__x="2"))
    assert (found.names, found.warnings) == ({"a", "b"}, ())
    site = "/opt/venv/lib/python3.12/site-packages"
    assert found.notes == (f"a and b ship different files as {site}/tests/x; b's files are used. No app imports them.",)


def test_modules_that_only_declare_a_namespace_make_no_difference():
    """As of backports.csv and backports.tarfile, of which neither is to be dropped."""
    path = "opt/venv/lib/python3.12/site-packages/acme/__init__.py"
    declared, other = (
        dataclasses.replace(shipping(x=mark), paths=(path,)) for mark in ("41 aa 1a4 namespace", "50 bb 1a4 namespace")
    )
    empty, real = (dataclasses.replace(shipping(x=mark), paths=(path,)) for mark in ("0 0 1a4", "9 cc 1a4"))
    expected = f"a and b ship different files as /{path}; b's files are used. Each only declares the namespace."
    for pair in ((declared, other), (empty, declared)):
        found = overlaps(a=pair[0], b=pair[1])
        assert (found.names, found.warnings, found.notes) == ({"a", "b"}, (), (expected,))
    assert overlaps(a=declared, b=real).warnings
    assert overlaps(a=shipping(acme="0 0 1a4"), b=shipping(acme="9 cc 1a4")).warnings


SITE = "opt/venv/lib/python3.12/site-packages"


@pytest.mark.parametrize(
    ("paths", "roots"),
    [
        (["flask/__init__.py", "flask/json/tag.py", "flask-3.1.dist-info/METADATA"], ("flask",)),
        (["six.py"], ("six.py",)),
        (["google/cloud/storage/__init__.py", "google/cloud/storage/_http/x.py"], ("google/cloud/storage",)),
        (["google/__init__.py", "google/cloud/storage/__init__.py"], ("google",)),
        (["a/b/one.py", "a/c/two.py", "tests/x.py"], ("a/b", "a/c", "tests")),
        (["../../../bin/flask", "../../../share/man/man1/flask.1"], ("/bin/flask", "/share/man/man1")),
        (["only-1.dist-info/METADATA"], ()),
        ([f"module{number}.py" for number in range(51)], ("",)),
    ],
)
def test_the_roots_of_a_wheel(paths: list[str], roots: tuple[str, ...]) -> None:
    installed = [posixpath.normpath(f"{SITE}/{path}") for path in paths]
    assert find_roots(installed, "opt/venv") == roots


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("flask", "flask", True),
        ("flask", "flask_login", False),
        ("google", "google/cloud/storage", True),
        ("google/cloud/storage", "google/cloud/pubsub", False),
        ("", "anything", True),
        ("six.py", "six", False),
    ],
)
def test_wheels_may_overlap_if_a_root_contains_another(one: str, other: str, *, expected: bool) -> None:
    assert may_overlap(["x", one], [other, "y"]) is expected
    assert may_overlap([other], [one]) is expected
    assert not may_overlap([one], [])
