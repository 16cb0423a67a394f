"""This machine's interpreters. The first process of a test run asks them once, and the others inherit the answer."""

from __future__ import annotations

import functools
import json
import os
import sys
from pathlib import Path

from buildpack.stacks.find_python import HostPython, list_pythons, probe, series_of

_VARIABLE = "DEPLOY_TEST_PYTHONS"


def all_pythons() -> list[tuple[str, str]]:
    """Return version and path of each interpreter, the preferred first: those on PATH, then pyenv's."""
    if _VARIABLE not in os.environ:
        os.environ[_VARIABLE] = json.dumps(list_pythons(environ=os.environ, own=sys.executable))
    found = json.loads(os.environ[_VARIABLE])
    return [(version, path) for version, path in found]


def one_of_each() -> dict[str, tuple[str, str]]:
    """Return the first interpreter of each series (``3.11``), with version and path."""
    found: dict[str, tuple[str, str]] = {}
    for version, path in all_pythons():
        found.setdefault(series_of(version), (version, path))
    return found


@functools.cache
def known_python(path: str) -> HostPython:
    """Return what an interpreter reports about itself."""
    found = probe(Path(path), {})
    assert found is not None
    return found
