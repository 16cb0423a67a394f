"""The hot paths import few modules: a build takes 0.15 s, and a third of that goes into imports.

The numbers may fall, and should not rise. A module that must be imported early costs every build of every user.
"""

from __future__ import annotations

import sys

import pytest

from tests.support.tiny import with_stack
from tests.support.unchanged import build, make_app

pytestmark = pytest.mark.engine

OWN = {"nothing changed": 23, "one changed line": 141}
"""Modules of buildpack and deployer."""
OTHERS = {"nothing changed": 97, "one changed line": 146}
"""Modules of the standard library and of other packages, on Python 3.11."""
BETWEEN_VERSIONS = 12
"""So many modules more may another version of Python import for the same."""


def test_the_hot_paths_import_no_more_than_they_did(engine, seed, tmp_path):
    app, home, found = make_app(tmp_path / "app"), with_stack(seed, tmp_path / "home"), {}
    to_engine = ("-q", "--to", "docker")
    for _ in range(2):  # the first one looks for interpreters, and remembers them
        build(app, *to_engine, home=home)
    answer = build(app, *to_engine, home=home)
    assert answer.recorded
    found["nothing changed"] = answer.imported
    (app / "server.py").write_text("GREETING = 'good day'\n")
    found["one changed line"] = build(app, *to_engine, home=home).imported
    for path, modules in found.items():
        own = {name for name in modules if name.partition(".")[0] in {"buildpack", "deployer"}}
        assert len(own) <= OWN[path], (path, sorted(own))
        leeway = 0 if sys.version_info[:2] == (3, 11) else BETWEEN_VERSIONS
        assert len(modules - own) <= OTHERS[path] + leeway, (path, sorted(modules - own))
