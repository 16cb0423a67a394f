"""The launcher as a value: what every image carries under ``/opt/deploy``."""

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
    """Read the runner and honcho from where they are installed."""
    runner = _folder("deployer.runner")
    honcho = _folder("honcho")
    files = {"__main__.py": MAIN, "deployer/__init__.py": b""}
    for path in sorted(runner.glob("*.py")):
        files[f"deployer/runner/{path.name}"] = path.read_bytes()
    for name in HONCHO:
        files[f"honcho/{name}"] = (honcho / name).read_bytes()
    return Launcher(files=files)


def _folder(package: str) -> Path:
    # Found without importing: honcho's modules take a while, and a build needs only their text.
    spec = find_spec(package)
    assert spec is not None, package
    assert spec.submodule_search_locations, package
    return Path(spec.submodule_search_locations[0])
