"""Turns a wheel file into entries of an image, straight from its zip: nothing is installed on disk.

The places of files follow the binary distribution format and, if that leaves a choice, pip. So `/opt/venv` gets the
files that `pipenv sync` would install.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.app.lockfile import canonical_name
from buildpack.dataclass import dataclass
from buildpack.errors.wheels import member_refused, wheel_refused
from buildpack.oci.content import reader
from buildpack.oci.entry import Entry, Inline, file
from buildpack.python.about import About, read_about
from buildpack.python.venv import (
    Row,
    VenvLayout,
    entry_point_scripts,
    parse_record,
    record_row,
    render_record,
    shebang,
    venv_entries,
)
from buildpack.python.wheel_zip import ZipMember, file_and_folder, read_members, read_text, read_whole, unsafe

if TYPE_CHECKING:
    from email.message import Message

INSTALLER = b"deploy\n"

_OURS = ("RECORD", "INSTALLER", "REQUESTED")
"""Files of `.dist-info` that the installer writes. A wheel's own are left out."""
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")
"""Files that RECORD does not list (binary distribution format, "Signed wheel files")."""

MAX_SOURCE = 4 << 20
"""Bytes of the largest module that is compiled: the compiler takes 170 times as much memory. No larger one is known."""

_IMPORTING = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelContents:
    """The files that a wheel puts into the environment, and its metadata.

    `entries` are sorted by path; `sources` are those to byte-compile. `requires_dist` has the lines of METADATA.
    `about` lacks the required packages, which depend on the target.
    """

    name: str
    version: str
    entries: tuple[Entry, ...]
    sources: tuple[Entry, ...]
    requires_dist: tuple[str, ...]
    about: About
    warnings: tuple[str, ...]


def read_wheel(path: Path, *, layout: VenvLayout) -> WheelContents:
    """Read the directory and metadata of a wheel that was verified, and decide where its files go.

    Raises DependencyError for a wheel that is unsafe, contradicts itself, or that no installer supports.
    """
    _import_installer()
    members = {member.name: member for member in read_members(path)}
    dist_info = _dist_info(path, members)
    metadata = _read_metadata(path, members, dist_info)
    plan = _Placement(path=path, layout=layout, name=canonical_name(metadata["Name"]))
    placed, warnings = _place(plan, members, dist_info)
    root = f"{layout.site_packages}/"
    return WheelContents(
        name=plan.name,
        version=metadata["Version"],
        entries=placed,
        sources=tuple(
            entry
            for entry in placed
            if entry.path.startswith(root)
            and entry.path.endswith(".py")
            and not in_tests(entry.path[len(root) :])
            and entry.content is not None
            and entry.content.size <= MAX_SOURCE
        ),
        requires_dist=tuple(metadata.get_all("Requires-Dist") or ()),
        about=read_about(metadata),
        warnings=warnings,
    )


def read_requires(path: Path) -> tuple[str, ...]:
    """Return only the ``Requires-Dist`` lines of a wheel; raises DependencyError as `read_wheel` does."""
    _import_installer()
    members = {member.name: member for member in read_members(path)}
    metadata = _read_metadata(path, members, _dist_info(path, members))
    return tuple(metadata.get_all("Requires-Dist") or ())


def in_tests(path: str) -> bool:
    """Return True for a module in a `tests` or `test` folder, which no app imports when it serves."""
    return not {"tests", "test"}.isdisjoint(path.split("/")[:-1])


def _import_installer() -> None:
    """Import installer in one thread: its modules import each other, so two threads could see half of one."""
    with _IMPORTING:
        import installer.records
        import installer.scripts
        import installer.utils  # noqa: F401


def _dist_info(path: Path, members: Mapping[str, ZipMember]) -> str:
    """Return the name of the only `.dist-info` folder, which must belong to the file's name."""
    from installer.utils import parse_wheel_filename

    try:
        distribution = parse_wheel_filename(path.name).distribution
    except ValueError:
        raise wheel_refused(
            path.name, "its name is not that of a wheel, name-version-python-abi-platform.whl"
        ) from None
    tops = {name.partition("/")[0] for name in members if "/" in name}
    found = sorted(top for top in tops if top.endswith(".dist-info"))
    if len(found) != 1:
        listed = f"these: {', '.join(found)}" if found else "none"
        raise wheel_refused(path.name, f"it must hold one .dist-info folder, and there are {listed}")
    if canonical_name(found[0].removesuffix(".dist-info").rpartition("-")[0]) != canonical_name(distribution):
        raise wheel_refused(path.name, f"its folder {found[0]} belongs to another distribution")
    return found[0]


def _read_metadata(path: Path, members: Mapping[str, ZipMember], dist_info: str) -> Message:
    """Check that WHEEL names a format that is known, and return the headers of METADATA."""
    for required in ("WHEEL", "METADATA", "RECORD"):
        if f"{dist_info}/{required}" not in members:
            raise wheel_refused(path.name, f"it lacks {dist_info}/{required}")
    version = _headers(members[f"{dist_info}/WHEEL"])["Wheel-Version"] or "missing"
    if not version.startswith("1."):
        raise wheel_refused(path.name, f"its Wheel-Version is {version}, and only 1.x is known")
    metadata = _headers(members[f"{dist_info}/METADATA"])
    if not (metadata["Name"] and metadata["Version"]):
        raise wheel_refused(path.name, f"its {dist_info}/METADATA lacks a name or a version")
    if canonical_name(metadata["Name"]) != canonical_name(dist_info.removesuffix(".dist-info").rpartition("-")[0]):
        raise wheel_refused(path.name, f"its {dist_info}/METADATA belongs to {metadata['Name']}")
    return metadata


def _headers(member: ZipMember) -> Message:
    from installer.utils import parse_metadata_file

    # Only up to the first empty line: the description after it can be long and is not needed.
    return parse_metadata_file(re.split(r"\r?\n\r?\n", read_text(member), maxsplit=1)[0] + "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placement:
    """Decides where a member goes, and the path of that place in RECORD."""

    path: Path
    layout: VenvLayout
    name: str

    def target(self, member: str) -> str:
        """Return a member's path in the image."""
        top, _, rest = member.partition("/")
        if not (rest and top.endswith(".data")):
            return f"{self.layout.site_packages}/{member}"
        scheme, _, inner = rest.partition("/")
        folders = {
            "purelib": self.layout.site_packages,
            "platlib": self.layout.site_packages,
            "scripts": self.layout.scripts,
            "headers": self.layout.headers(self.name),
            "data": self.layout.root,
        }
        if scheme not in folders or not inner:
            raise member_refused(self.path.name, member, "is in no known scheme of .data")
        if scheme == "data" and inner.startswith("lib64/"):
            inner = f"lib/{inner[6:]}"  # lib64 is a link to lib
        return f"{folders[scheme]}/{inner}"

    def row_path(self, target: str) -> str:
        """Return a path of the image relative to site-packages, as RECORD has it."""
        inside = f"{self.layout.site_packages}/"
        if target.startswith(inside):
            return target[len(inside) :]
        return f"../../../{target[len(self.layout.root) + 1 :]}"


def _place(
    plan: _Placement, members: Mapping[str, ZipMember], dist_info: str
) -> tuple[tuple[Entry, ...], tuple[str, ...]]:
    """Turn the members into entries and add scripts, INSTALLER and RECORD; return them with warnings."""
    try:
        listed = parse_record(read_text(members[f"{dist_info}/RECORD"]))
    except ValueError as error:
        raise wheel_refused(plan.path.name, f"its {dist_info}/RECORD does not parse: {error}") from error
    placed: dict[str, Entry] = {}
    rows: dict[str, Row] = {}
    for member in _installable(members.values(), dist_info):
        entry = _entry(plan, member)
        placed[entry.path] = entry
        row_path = plan.row_path(entry.path)
        known = listed.get(member.name, ("", "", ""))
        rows[entry.path] = (
            record_row(row_path, entry.content.body) if isinstance(entry.content, Inline) else (row_path, *known[1:])
        )
    for entry in _generated(plan, members, dist_info):
        assert isinstance(entry.content, Inline)
        placed[entry.path] = entry
        rows[entry.path] = record_row(plan.row_path(entry.path), entry.content.body)
    record = f"{plan.layout.site_packages}/{dist_info}/RECORD"
    rows[record] = (f"{dist_info}/RECORD", "", "")
    placed[record] = file(record, render_record(rows.values()))
    _check_targets(plan, placed)
    return tuple(placed[path] for path in sorted(placed)), _record_warnings(plan.path, members, listed, dist_info)


def _installable(members: Iterable[ZipMember], dist_info: str) -> Iterator[ZipMember]:
    """Leave out the files that the installer writes itself, and shipped byte code, whose source nobody sees."""
    ours = {f"{dist_info}/{name}" for name in _OURS}
    usual = (m for m in members if m.name not in ours and "__pycache__" not in m.name.split("/")[:-1])
    # Of two members for one place the one from .data counts, as with pip.
    yield from sorted(usual, key=lambda member: member.name.partition("/")[0].endswith(".data"))


def _entry(plan: _Placement, member: ZipMember) -> Entry:
    target = plan.target(member.name)
    top, scheme = (*member.name.split("/"), "")[:2]
    if not (top.endswith(".data") and scheme == "scripts"):
        return file(target, member.content, executable=member.executable)
    try:
        rewritten = _rewritten(plan, member)
    except ValueError as error:
        raise member_refused(plan.path.name, member.name, f"cannot be read: {error}") from error
    # Executable even if the zip says otherwise: it may come from Windows.
    return file(target, member.content if rewritten is None else rewritten, executable=True)


def _rewritten(plan: _Placement, member: ZipMember) -> bytes | None:
    """Return a script with the interpreter's path in place of ``#!python`` or ``#!pythonw``; None for any other script.

    (binary distribution format, "Recommended installer features")
    """
    with reader(member.content) as read_at:
        if read_at(0, 8) != b"#!python":
            return None
    return shebang(plan.layout.interpreter) + read_whole(member).partition(b"\n")[2]


def _generated(plan: _Placement, members: Mapping[str, ZipMember], dist_info: str) -> Iterator[Entry]:
    yield file(f"{plan.layout.site_packages}/{dist_info}/INSTALLER", INSTALLER)
    points = members.get(f"{dist_info}/entry_points.txt")
    if points is None:
        return
    try:
        scripts = entry_point_scripts(read_text(points), plan.layout.interpreter)
    except ValueError as error:
        raise wheel_refused(plan.path.name, f"its {error}") from error
    for name, body in scripts.items():
        if unsafe(name) or "/" in name:
            raise wheel_refused(plan.path.name, f"its entry point {name!r} is not a plain file name")
        yield file(f"{plan.layout.scripts}/{name}", body, executable=True)


def _check_targets(plan: _Placement, placed: Mapping[str, Entry]) -> None:
    """Refuse a wheel that would replace the environment itself."""
    reserved = {entry.path for entry in venv_entries(plan.layout)}
    if taken := sorted(reserved & placed.keys()):
        raise wheel_refused(plan.path.name, f"it would replace /{taken[0]}")
    if clash := file_and_folder({*placed, *reserved}):
        raise wheel_refused(plan.path.name, f"its /{clash} would be a file and a directory")


def _record_warnings(
    path: Path, members: Mapping[str, ZipMember], listed: Mapping[str, Row], dist_info: str
) -> tuple[str, ...]:
    """Return a warning for each difference between RECORD and the archive.

    The format calls that an error, pip does not check it, and PyPI refuses such uploads only since 2026. The lock's
    hash proves the bytes, so a warning is enough.
    """
    signatures = {f"{dist_info}/{name}" for name in (*_SIGNATURES, "RECORD")}
    unlisted = sorted(members.keys() - listed.keys() - signatures)
    absent = sorted(listed.keys() - members.keys())
    made = []
    if unlisted:
        made.append(f"{path.name}: RECORD does not list {_some(unlisted)}")
    if absent:
        made.append(f"{path.name}: RECORD lists {_some(absent)}, which the wheel lacks")
    return tuple(made)


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
