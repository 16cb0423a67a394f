"""Finds the operating system's packages whose files the host stack has, and lists them for vulnerability scanners.

They come from dpkg's own database, so no process is started. A machine without dpkg has none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from buildpack.dataclass import dataclass

_FIELDS = (
    *("Package", "Status", "Priority", "Section", "Maintainer", "Architecture", "Multi-Arch", "Source", "Version"),
    *("Homepage", "Description"),
)
"""Fields of the package itself. Dependencies are left out, because the image may lack them."""
_FIELD = re.compile(r"^([A-Za-z-]+):[ \t]*(.*)$", re.MULTILINE)
_RELEASE = re.compile(r"""^(ID|VERSION_ID)=["']?([A-Za-z0-9._-]+)["']?$""", re.MULTILINE)
_INSTALLED = " ok installed"
_SYSTEM = re.compile(r"[a-z0-9._-]{1,40}(?:/[\w.-]{1,40})?", re.ASCII)
_LISTED = re.compile(
    r"([a-z0-9.+-]{1,120}):([a-z0-9-]{1,40})=([\w.+~:-]{1,200})(?:;([\w.+-]+(?:,[\w.+-]+){0,29}))?", re.ASCII
)
_MOST = 2000
_MACHINE_READABLE = b"Format:"
_LICENCE = re.compile(rb"^License:[ \t]*(\S.*)$", re.MULTILINE)
_COMMON = re.compile(rb"/usr/share/common-licenses/([A-Za-z0-9.+-]*[A-Za-z0-9+])")
_NAME = re.compile(rb"(?:^|, *| or | and )([A-Za-z0-9][A-Za-z0-9.+-]{0,39})(?![^ ,])")
"""A name at the beginning or after a separator: ``GPL-2+ with OpenSSL exception`` has one."""
_MOST_NAMES = 30
_LARGEST = 1 << 20
"""Bytes of a copyright file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemPackage:
    """One installed package; `fields` are those of its status by name, `copyright` is its copyright file."""

    fields: Mapping[str, str]
    copyright: bytes = b""

    @property
    def licences(self) -> tuple[str, ...]:
        """The sorted names of the licences in the copyright file.

        They come from its ``License`` fields (Debian's machine-readable format 1.0), else from the common licences to
        which the text refers.
        """
        if self.copyright.startswith(_MACHINE_READABLE):
            found = {name for line in _LICENCE.findall(self.copyright) for name in _NAME.findall(line)}
        else:
            found = set(_COMMON.findall(self.copyright))
        return tuple(sorted(name.decode() for name in found))[:_MOST_NAMES]


def list_packages(packages: Iterable[SystemPackage], release: str) -> str:
    """Return packages and licences in few bytes, because each push sends them; `parse_packages` reads them.

    An example is ``debian/12 libc6:amd64=2.36-9;GPL-2,LGPL-2.1``. `release` is the content of os-release.
    """
    fields = dict(_RELEASE.findall(release))
    system = "/".join(filter(None, (fields.get("ID", "debian"), fields.get("VERSION_ID"))))
    return " ".join((system, *map(_row, packages)))


def _row(package: SystemPackage) -> str:
    fields, licences = package.fields, ",".join(package.licences)
    return f"{fields['Package']}:{fields['Architecture']}={fields['Version']}{f';{licences}' if licences else ''}"


def parse_packages(listed: str) -> dict[str, tuple[str, ...]]:
    """Return package URLs (purl-spec, "deb"), sorted, each with its licences; malformed rows are left out."""
    from urllib.parse import quote

    system, *rows = listed.split(" ")[: _MOST + 1]
    if not _SYSTEM.fullmatch(system):
        return {}
    name, _, number = system.partition("/")
    distro = f"&distro={name}-{number}" if number else ""
    found = {}
    for row in filter(None, map(_LISTED.fullmatch, rows)):
        package, arch, version, licences = row.groups()
        url = f"pkg:deb/{name}/{quote(package)}@{quote(version)}?arch={arch}{distro}"
        found[url] = tuple(licences.split(",")) if licences else ()
    return dict(sorted(found.items()))


def read_packages(files: Iterable[str], *, database: Path, documents: Path) -> tuple[SystemPackage, ...]:
    """Return the packages that own one of `files`, sorted by name; an empty tuple if there is no database.

    `files` are absolute paths without links. `database` is dpkg's folder, ``/var/lib/dpkg``; `documents` has a folder
    for each package, ``/usr/share/doc``.
    """
    try:
        status = (database / "status").read_text("utf-8", "replace")
        lists = sorted((database / "info").glob("*.list"))
    except OSError:
        return ()
    held = {spelling for path in files for spelling in _spellings(path)}
    moved = _read_diversions(database)
    wanted = held | {path for path, (to, _) in moved.items() if to in held}
    owners = set()
    for listed in lists:
        try:
            hits = wanted.intersection(listed.read_text("utf-8", "surrogateescape").split("\n"))
        except OSError:
            continue
        owner = listed.name.removesuffix(".list")
        name = owner.partition(":")[0]
        if any(_place(path, name, moved) in held for path in hits):
            owners.add(owner)
    stanzas = (dict(_FIELD.findall(stanza)) for stanza in status.split("\n\n"))
    found = [
        SystemPackage(
            fields={**fields, "Status": "install ok installed"},
            copyright=_read_copyright(documents / fields["Package"] / "copyright"),
        )
        for fields in stanzas
        if {"Package", "Version", "Architecture"} <= fields.keys()
        and fields.get("Status", "").endswith(_INSTALLED)
        and not owners.isdisjoint((fields["Package"], f"{fields['Package']}:{fields['Architecture']}"))
    ]
    return tuple(sorted(found, key=lambda package: (package.fields["Package"], package.fields["Architecture"])))


def render_status(packages: Iterable[SystemPackage]) -> bytes:
    """Return the packages as ``/var/lib/dpkg/status`` has them."""
    stanzas = (
        "".join(f"{name}: {package.fields[name]}\n" for name in _FIELDS if package.fields.get(name))
        for package in packages
    )
    return "\n".join(stanzas).encode()


def _read_copyright(path: Path) -> bytes:
    """Return the file's content; empty if it is missing or too large."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
    except OSError:
        return b""
    return content if len(content) <= _LARGEST else b""


def _spellings(path: str) -> tuple[str, ...]:
    """Return the paths under which dpkg may list a file: before /bin, /sbin and /lib* became links, it had no /usr."""
    return (path, path.removeprefix("/usr")) if path.startswith(("/usr/bin/", "/usr/sbin/", "/usr/lib")) else (path,)


def _read_diversions(database: Path) -> dict[str, tuple[str, str]]:
    """Return the paths that a package diverted, each with the new path and that package."""
    try:
        lines = (database / "diversions").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return {}
    return {path: (to, owner) for path, to, owner in zip(lines[::3], lines[1::3], lines[2::3], strict=False)}


def _place(path: str, package: str, moved: Mapping[str, tuple[str, str]]) -> str:
    """Return the real path of a file that this package lists."""
    to, owner = moved.get(path, (path, package))
    return path if owner == package else to
