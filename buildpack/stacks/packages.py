"""The operating system's packages whose files the host stack holds, as scanners for vulnerabilities read them.

Reads dpkg's own database, so that no process is started. A machine without dpkg has no packages here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from buildpack.dataclass import dataclass

__all__ = ["SystemPackage", "list_packages", "package_urls", "read_packages", "render_status"]

_FIELDS = (
    *("Package", "Status", "Priority", "Section", "Maintainer", "Architecture", "Multi-Arch", "Source", "Version"),
    *("Homepage", "Description"),
)
"""Fields that follow from the package alone. Dependencies are left out: the image need not hold them."""
_FIELD = re.compile(r"^([A-Za-z-]+):[ \t]*(.*)$", re.MULTILINE)
_RELEASE = re.compile(r"""^(ID|VERSION_ID)=["']?([A-Za-z0-9._-]+)["']?$""", re.MULTILINE)
_INSTALLED = " ok installed"
_SYSTEM = re.compile(r"[a-z0-9._-]{1,40}(?:/[\w.-]{1,40})?", re.ASCII)
_LISTED = re.compile(r"([a-z0-9.+-]{1,120}):([a-z0-9-]{1,40})=([\w.+~:-]{1,200})", re.ASCII)
_MOST = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemPackage:
    """One installed package; `fields` are those of its status, by name."""

    fields: Mapping[str, str]

    @property
    def sort_key(self) -> tuple[str, str]:
        """Name and architecture, of which one machine has a package once."""
        return self.fields["Package"], self.fields["Architecture"]


def list_packages(packages: Iterable[SystemPackage], release: str) -> str:
    """Return the packages in few bytes, ``debian/12 libc6:amd64=2.36-9``; `release` is the content of os-release.

    Every push sends this. `package_urls` reads it.
    """
    told = dict(_RELEASE.findall(release))
    system = "/".join(filter(None, (told.get("ID", "debian"), told.get("VERSION_ID"))))
    rows = (f"{one.fields['Package']}:{one.fields['Architecture']}={one.fields['Version']}" for one in packages)
    return " ".join((system, *rows))


def package_urls(listed: str) -> tuple[str, ...]:
    """Return the sorted package URLs (purl-spec, "deb") of such a list; malformed rows are left out."""
    from urllib.parse import quote

    system, *rows = listed.split(" ")[: _MOST + 1]
    if not _SYSTEM.fullmatch(system):
        return ()
    name, _, number = system.partition("/")
    distro = f"&distro={name}-{number}" if number else ""
    found = [row.groups() for row in map(_LISTED.fullmatch, rows) if row]
    urls = {f"pkg:deb/{name}/{quote(one)}@{quote(version)}?arch={arch}{distro}" for one, arch, version in found}
    return tuple(sorted(urls))


def read_packages(files: Iterable[str], *, database: Path) -> tuple[SystemPackage, ...]:
    """Return the packages that own one of `files`, sorted by name; an empty tuple if there is no database.

    `files` are absolute paths without links. `database` is dpkg's folder, ``/var/lib/dpkg``.
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
        SystemPackage(fields={**fields, "Status": "install ok installed"})
        for fields in stanzas
        if {"Package", "Version", "Architecture"} <= fields.keys()
        and fields.get("Status", "").endswith(_INSTALLED)
        and not owners.isdisjoint((fields["Package"], f"{fields['Package']}:{fields['Architecture']}"))
    ]
    return tuple(sorted(found, key=lambda package: package.sort_key))


def render_status(packages: Iterable[SystemPackage]) -> bytes:
    """Return the packages as ``/var/lib/dpkg/status`` has them."""
    stanzas = (
        "".join(f"{name}: {package.fields[name]}\n" for name in _FIELDS if package.fields.get(name))
        for package in packages
    )
    return "\n".join(stanzas).encode()


def _spellings(path: str) -> tuple[str, ...]:
    """Return how dpkg may list a real path: before /bin, /sbin and /lib* became links, it had no /usr in front."""
    return (path, path.removeprefix("/usr")) if path.startswith(("/usr/bin/", "/usr/sbin/", "/usr/lib")) else (path,)


def _read_diversions(database: Path) -> dict[str, tuple[str, str]]:
    """Return the paths that a package moved aside: where to, and the package that did."""
    try:
        lines = (database / "diversions").read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return {}
    return {path: (to, owner) for path, to, owner in zip(lines[::3], lines[1::3], lines[2::3], strict=False)}


def _place(path: str, package: str, moved: Mapping[str, tuple[str, str]]) -> str:
    """Return where a path that this package lists is."""
    to, owner = moved.get(path, (path, package))
    return path if owner == package else to
