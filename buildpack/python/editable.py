"""The app as a package of its own: a lock's ``path = "."`` becomes a wheel that leads to the app's folder.

As pip's editable installs do (PEP 660), but nothing is built: name, version and entry points are read from what the
folder declares, so that a changed line of code changes the app's layer and nothing else. No backend is asked, and so
a version or entry points that a `setup.py` computes are not known; the app's own code needs neither.
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
from buildpack.python.files import WheelFile
from buildpack.python.install_files import record_row, render_record
from buildpack.system.temporary import create_temporary, make_folder

if TYPE_CHECKING:
    from configparser import ConfigParser

    from buildpack.app.lockfile import LockedPackage

_UNKNOWN = "0"
"""The version where none is declared, as setuptools has it."""
_NOT_IN_NAMES = re.compile(r"[-_.]+")
_GROUPS = {"scripts": "console_scripts", "gui-scripts": "gui_scripts"}
_WHEEL = b"Wheel-Version: 1.0\nGenerator: deploy\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def is_app(package: LockedPackage, app: Path) -> bool:
    """Tell whether a locked path is the app's own folder, as pipenv writes it for ``pipenv install -e .``."""
    if not package.path or package.subdirectory:
        return False
    return package.path.rstrip("/") in {".", ""} or (app / package.path).resolve() == app.resolve()


def link_app(package: LockedPackage, *, app: Path, place: str, folder: Path) -> WheelFile:
    """Make the wheel of the app in the folder `app`, whose code will lie at `place`; put it into the store's `folder`.

    Raises AppError where what the folder declares cannot be read.
    """
    from hashlib import sha256

    declared = _declared(app)
    version, points = _version(declared), _entry_points(declared)
    roots = [f"{place}/src"] if (app / "src").is_dir() and not (app / "src/__init__.py").exists() else []
    stem = f"{_NOT_IN_NAMES.sub('_', package.name)}-{version}"
    content = _pack(package.name, version, stem, points, [*roots, place])
    filename, digest = f"{stem}-py3-none-any.whl", sha256(content).hexdigest()
    _keep(content, folder / digest / filename, folder)
    return WheelFile(
        name=package.name, version=version, filename=filename, url="", sha256=digest, size=len(content), source=""
    )


def _declared(app: Path) -> tuple[Mapping[str, Any], ConfigParser]:
    """Read pyproject.toml and setup.cfg; what is absent is empty."""
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
    """Render the wheel: stored, in a fixed order, at the oldest time that a zip can hold."""
    from zipfile import ZipFile, ZipInfo

    info = f"{stem}.dist-info"
    files = {
        f"{_NOT_IN_NAMES.sub('_', name)}.pth": "".join(f"{root}\n" for root in roots).encode(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": _WHEEL,
        # PEP 610: tools that list what is installed tell an editable install by it.
        f"{info}/direct_url.json": json.dumps({"dir_info": {"editable": True}, "url": f"file://{roots[-1]}"}).encode(),
    }
    if points:
        lines = [
            line for group in sorted(points)
            for line in (f"[{group}]", *(f"{key} = {points[group][key]}" for key in sorted(points[group])), "")
        ]  # fmt: skip
        files[f"{info}/entry_points.txt"] = "\n".join(lines).encode()
    rows = [record_row(path, body) for path, body in files.items()]
    files[f"{info}/RECORD"] = render_record([*rows, (f"{info}/RECORD", "", "")])
    packed = io.BytesIO()
    with ZipFile(packed, "w") as archive:
        for path, body in files.items():
            archive.writestr(ZipInfo(path), body)
    return packed.getvalue()


def _keep(content: bytes, place: Path, folder: Path) -> None:
    """Put the wheel in its place, unless it is there."""
    import os

    from buildpack.errors import python as index_errors

    if place.is_file() and place.stat().st_size == len(content):
        return
    try:
        make_folder(place.parent)
        descriptor, temporary = create_temporary(folder)
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            temporary.replace(place)
    except OSError as error:
        raise index_errors.unwritable(str(place), error.strerror or "it cannot be written") from None
