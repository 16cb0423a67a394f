"""The names in a new app: of its package, and of its author."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from deployer.errors import scaffold as errors

_BROUGHT = frozenset(
    ("flask", "gunicorn", "werkzeug", "jinja2", "markupsafe", "itsdangerous", "blinker", "click", "packaging")
) | frozenset(("pytest", "pluggy", "iniconfig", "pygments", "pip", "setuptools", "pkg_resources", "wheel"))
"""Modules of what a new app depends on; a package of such a name would hide them."""
_TAKEN = frozenset(("src", "tests"))
"""Folders that mean something else in the layout."""


def package_name(folder: str, *, told: str | None = None) -> str:
    """Make a package's name from a folder's (``my-app`` gives ``my_app``), unless it is `told`; raises UsageError."""
    name = told if told is not None else re.sub(r"[-. ]+", "_", folder).strip("_").lower()
    if not (name.isascii() and name.isidentifier()):
        raise errors.no_package_name(told or folder, asked=told is not None)
    if keyword.iskeyword(name) or keyword.issoftkeyword(name):
        raise errors.package_name_taken(name, "is a word of Python's own")
    if name in sys.stdlib_module_names:
        raise errors.package_name_taken(name, "is a module of Python's standard library, which it would hide")
    if name in _BROUGHT:
        raise errors.package_name_taken(name, "is a package that the app depends on, which it would hide")
    if name in _TAKEN:
        raise errors.package_name_taken(name, "is a folder with a meaning of its own")
    return name


def author_name(folder: Path, environ: Mapping[str, str]) -> str:
    """Return the name that git is configured with for an existing folder; "the authors" if there is none."""
    from buildpack.app.git import ask, git_for

    if name := environ.get("GIT_AUTHOR_NAME"):
        return name
    git = git_for(str(folder), environ)
    if git is None:
        return "the authors"
    _, printed = ask(git, folder, ["config", "user.name"], environ).answer()
    return printed.decode(errors="replace").strip() or "the authors"
