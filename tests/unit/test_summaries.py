"""What is said of wheels that import `pkg_resources`, with no setuptools in the lock, or one that has given it up."""

from __future__ import annotations

import pytest

from buildpack.python.files import WheelFile
from buildpack.summaries import forgotten, outgrown

GUNICORN = frozenset({"gunicorn"})


def wheels(**versions: str) -> list[WheelFile]:
    return [
        WheelFile(
            name=name,
            version=version,
            filename=f"{name}-{version}-py3-none-any.whl",
            url="https://pypi.org/x",
            sha256="0" * 64,
            size=1,
            source="pypi",
        )
        for name, version in versions.items()
    ]


def test_setuptools_is_added_where_the_lock_has_none():
    locked = wheels(flask="3.0", gunicorn="20.0.4")
    [told] = forgotten(locked, GUNICORN, "80.9.0")
    assert told == (
        "gunicorn 20.0.4 imports pkg_resources, and nothing in Pipfile.lock provides it: setuptools 80.9.0 was added. "
        'Add `setuptools = "<81"` to Pipfile and run `deploy lock`.'
    )
    assert forgotten(locked, frozenset(), "80.9.0") == []
    assert forgotten(wheels(gunicorn="20.0.4", setuptools="84.2.1"), GUNICORN, "80.9.0") == []


def test_a_setuptools_that_has_given_it_up_is_told_of():
    """The lock decides what is installed, so it stays."""
    [told] = outgrown(wheels(gunicorn="20.0.4", setuptools="84.2.1"), GUNICORN)
    assert told == (
        "gunicorn 20.0.4 imports pkg_resources, which setuptools 84.2.1 of Pipfile.lock no longer has: unless it can "
        'do without, it dies as it starts. Add `setuptools = "<81"` to Pipfile and run `deploy lock`.'
    )
    assert outgrown(wheels(gunicorn="20.0.4", setuptools="84.2.1"), frozenset()) == []
    assert outgrown(wheels(gunicorn="20.0.4"), GUNICORN) == []


@pytest.mark.parametrize(("version", "told"), [("81.0.0", 0), ("82.0.0", 1), ("82.0.0rc1", 1), ("59.8.0", 0), ("x", 0)])
def test_series(version: str, told: int) -> None:
    assert len(outgrown(wheels(gunicorn="20.0.4", setuptools=version), GUNICORN)) == told
