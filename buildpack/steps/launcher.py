"""The launcher that every image has under ``/opt/deploy``: the runner of `deploy`, and honcho.

Their text is read as data. Nothing of them is imported, so the library does not depend on the command.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from buildpack.options import Launcher

HONCHO = (
    "__init__.py",
    "_version.py",
    "colour.py",
    "compat.py",
    "environ.py",
    "printer.py",
)
"""The modules of honcho that the runner uses. Its command line, its exporters and its own loop are left out."""

MAIN = b"""\
import sys

from deployer.runner.launcher import main

sys.exit(main(sys.argv[1:]))
"""


def read_launcher() -> Launcher:
    """Read the runner and honcho from their installed packages."""
    runner = _folder("deployer") / "runner"
    honcho = _folder("honcho")
    files = {"__main__.py": MAIN, "deployer/__init__.py": b""}
    for path in sorted(runner.glob("*.py")):
        files[f"deployer/runner/{path.name}"] = path.read_bytes()
    for name in HONCHO:
        files[f"honcho/{name}"] = (honcho / name).read_bytes()
    return Launcher(files=files)


def _folder(package: str) -> Path:
    # Finding a package does not import it: a build needs only the text, and honcho's modules are slow to import.
    spec = find_spec(package)
    assert spec is not None, package
    assert spec.submodule_search_locations, package
    return Path(spec.submodule_search_locations[0])
