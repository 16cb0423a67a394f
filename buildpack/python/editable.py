"""Makes a wheel of the app itself, for a lock with ``path = "."``: it leads to the app's folder.

It is what pip's editable installs are (PEP 660), but nothing is built: name, version and entry points come from
pyproject.toml and setup.cfg, so that a changed line of code changes the app's layer and nothing else. A version or
entry points that a `setup.py` computes stay unknown; the app's own code needs neither.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildpack.app.textfile import parse_toml, read_text
from buildpack.bounded import parse_version
from buildpack.errors import wheels as errors
from buildpack.errors.oci import store_failed
from buildpack.python.files import WheelFile, store_file
from buildpack.python.venv import write_wheel

if TYPE_CHECKING:
    from configparser import ConfigParser

    from buildpack.app.lockfile import LockedPackage

_UNKNOWN = "0"
"""The version if none is declared, as setuptools has it."""
_NOT_IN_NAMES = re.compile(r"[-_.]+")
_GROUPS = {"scripts": "console_scripts", "gui-scripts": "gui_scripts"}
_WHEEL = b"Wheel-Version: 1.0\nGenerator: deploy\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def is_app(package: LockedPackage, app: Path) -> bool:
    """Tell whether a locked path is the app's own folder, as pipenv writes it for ``pipenv install -e .``."""
    if not package.path or package.subdirectory:
        return False
    return package.path.rstrip("/") in {".", ""} or (app / package.path).resolve() == app.resolve()


def link_app(package: LockedPackage, *, app: Path, place: str, folder: Path) -> WheelFile:
    """Make the wheel of the app in the folder `app` and put it into the store's `folder`.

    `place` is where the app's code will be. Raises AppError if setup.cfg or pyproject.toml cannot be read.
    """
    declared = _declared(app)
    version, points = _version(declared), _entry_points(declared)
    roots = [f"{place}/src"] if (app / "src").is_dir() and not (app / "src/__init__.py").exists() else []
    stem = f"{_NOT_IN_NAMES.sub('_', package.name)}-{version}"
    content = _pack(package.name, version, stem, points, [*roots, place])
    filename = f"{stem}-py3-none-any.whl"
    try:
        sha256, size = store_file(io.BytesIO(content), filename, folder)
    except OSError as error:
        raise store_failed(folder.parent, error) from None
    return WheelFile(name=package.name, version=version, filename=filename, sha256=sha256, size=size)


def _declared(app: Path) -> tuple[Mapping[str, Any], ConfigParser]:
    """Read pyproject.toml and setup.cfg; both are empty if the file is missing."""
    from configparser import ConfigParser, Error

    text = read_text(app, "pyproject.toml")
    settings = ConfigParser(interpolation=None, strict=False)
    try:
        settings.read_string(read_text(app, "setup.cfg") or "")
    except Error as error:
        raise errors.bad_setup_cfg(str(error).splitlines()[0]) from None
    return ({} if text is None else parse_toml(text, "pyproject.toml")), settings


def _table(value: object, *keys: str) -> Mapping[str, Any]:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _version(declared: tuple[Mapping[str, Any], ConfigParser]) -> str:
    document, settings = declared
    found = [
        _table(document, "project").get("version"),
        _table(document, "tool", "poetry").get("version"),
        settings.get("metadata", "version", fallback=""),
    ]
    for version in found:
        # It may be absent, or `attr: package.__version__`.
        if isinstance(version, str) and (parsed := parse_version(version)):
            return str(parsed)
    return _UNKNOWN


def _entry_points(declared: tuple[Mapping[str, Any], ConfigParser]) -> dict[str, dict[str, str]]:
    """Collect entry points by group: PEP 621's, poetry's, setuptools'."""
    document, settings = declared
    project = _table(document, "project")
    groups: dict[str, dict[str, str]] = {}

    def add(group: str, points: Mapping[str, Any]) -> None:
        named = {name: target for name, target in points.items() if isinstance(target, str) and "\n" not in target}
        if named:
            groups.setdefault(group, {}).update(named)

    for group in settings.options("options.entry_points") if settings.has_section("options.entry_points") else ():
        lines = settings.get("options.entry_points", group, fallback="") or ""
        pairs = (line.partition("=") for line in lines.splitlines() if "=" in line)
        add(group, {name.strip(): target.strip() for name, _, target in pairs})
    add("console_scripts", _table(document, "tool", "poetry", "scripts"))
    for key, group in _GROUPS.items():
        add(group, _table(project, key))
    for group in _table(project, "entry-points"):
        add(group, _table(project, "entry-points", group))
    return groups


def _pack(name: str, version: str, stem: str, points: Mapping[str, Mapping[str, str]], roots: list[str]) -> bytes:
    """Render the wheel."""
    info = f"{stem}.dist-info"
    files = {
        f"{_NOT_IN_NAMES.sub('_', name)}.pth": "".join(f"{root}\n" for root in roots).encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": _WHEEL,
        # PEP 610: by this file other tools recognise an editable install.
        f"{info}/direct_url.json": json.dumps({"dir_info": {"editable": True}, "url": f"file://{roots[-1]}"}).encode(),
    }
    if points:
        lines = [
            line for group in sorted(points)
            for line in (f"[{group}]", *(f"{key} = {points[group][key]}" for key in sorted(points[group])), "")
        ]  # fmt: skip
        files[f"{info}/entry_points.txt"] = "\n".join(lines).encode()
    packed = io.BytesIO()
    write_wheel(packed, ((path, body, 0) for path, body in files.items()), f"{info}/RECORD")
    return packed.getvalue()
