"""The operating system's packages whose files the host stack holds, as scanners for vulnerabilities read them.

Reads dpkg's own database, so that no process is started. A machine without dpkg has no packages here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from buildpack.dataclass import dataclass

__all__ = ["SystemPackage", "read_packages", "render_status"]

_FIELDS = (
    *("Package", "Status", "Priority", "Section", "Maintainer", "Architecture", "Multi-Arch", "Source", "Version"),
    *("Homepage", "Description"),
)
"""Fields that follow from the package alone. Dependencies are left out: the image need not hold them."""
_FIELD = re.compile(r"^([A-Za-z-]+):[ \t]*(.*)$", re.MULTILINE)
_RELEASE = re.compile(r"""^(ID|VERSION_ID)=["']?([A-Za-z0-9._-]+)["']?$""", re.MULTILINE)
_INSTALLED = " ok installed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemPackage:
    """One installed package; `fields` are those of its status, by name."""

    fields: Mapping[str, str]

    @property
    def sort_key(self) -> tuple[str, str]:
        """Name and architecture, of which one machine has a package once."""
        return self.fields["Package"], self.fields["Architecture"]

    def purl(self, release: str) -> str:
        """Return the package URL (purl-spec, "deb"); `release` is the content of os-release."""
        from urllib.parse import quote

        told = dict(_RELEASE.findall(release))
        name, version, arch = (quote(self.fields[field], safe="") for field in ("Package", "Version", "Architecture"))
        system = told.get("ID", "debian")
        distro = f"&distro={system}-{told['VERSION_ID']}" if "VERSION_ID" in told else ""
        return f"pkg:deb/{system}/{name}@{version}?arch={arch}{distro}"


def read_packages(files: Iterable[str], *, database: Path) -> tuple[SystemPackage, ...]:
    """Return the packages that own one of `files`, real absolute paths, by name; none if there is no database.

    `database` is dpkg's folder, ``/var/lib/dpkg``.
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
