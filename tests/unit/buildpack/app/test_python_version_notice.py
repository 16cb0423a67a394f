"""The notice that a lock was made for another Python: its place is told once."""

from __future__ import annotations

import pytest

from buildpack.errors.lock import lock_of_another_python

REST = (
    "asks for Python 3.11, and Pipfile.lock was made for 3.10: what a lock holds depends on the version; "
    'write `python_version = "3.11"` into Pipfile\'s [requires] and run `deploy lock`.'
)


@pytest.mark.parametrize(
    ("origin", "begin"), [(".python-version:1", ".python-version:1: this"), ("runtime.txt", "runtime.txt")]
)
def test_the_place_is_told_once(origin: str, begin: str) -> None:
    assert str(lock_of_another_python("3.11", origin, "3.10")) == f"{begin} {REST}"
