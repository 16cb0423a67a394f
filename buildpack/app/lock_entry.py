"""One section of Pipfile.lock, entry by entry: what is wrong is collected, so that all of it is told at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from buildpack.app.lockfile import NAME, LockedPackage
from buildpack.app.markers import MARKER_NAMES, is_marker, is_version
from buildpack.app.pipfile import Pipfile, Wanted, canonical
from buildpack.bounded import parse_url
from buildpack.errors import lock as errors
from buildpack.errors.app import show

_PROJECT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_FRAGMENT = re.compile(r"#(?:[^#]*&)?sha256=([0-9A-Fa-f]{64})(?:&|$)")
"""The hash of a file by address stands in the entry, else in the address itself, as on a page of an index."""
_OTHER_VCS = ("hg", "svn", "bzr")
_TEXTS = ("version", "index", "markers", "git", "ref", "subdirectory", "path", "file")


def parse_section(
    value: object,
    section: str,
    *,
    lines: Mapping[tuple[str, str], int],
    sources: Collection[str],
    pipfile: Pipfile | None,
    bad: list[str],
) -> tuple[LockedPackage, ...]:
    """Parse a section into packages sorted by name; what is wrong is appended to `bad`."""
    if value is None:
        return ()
    if not isinstance(value, dict):
        bad.append(f"{NAME}: `{section}` is not an object")
        return ()
    wanted = {one.name: one for one in pipfile.wanted(section)} if pipfile else {}
    names = {canonical(name) for name in value}
    misnamed = [
        one for one in wanted.values() if one.name not in names and ("path" in one.table or "file" in one.table)
    ]
    found: dict[str, LockedPackage] = {}
    for written, entry in value.items():
        line = lines.get((section, written), 0)
        told = f"{NAME}:{line}: {show(written)}" if line else f"{NAME}: {section}: {show(written)}"
        try:
            package = _parse_entry(written, entry, line=line, sources=sources, wanted=wanted.get(canonical(written)))
        except ValueError as error:
            # Pipenv forgets where a package comes from if Pipfile does not call it by its own name.
            guess = misnamed[0] if misnamed and canonical(written) not in wanted else None
            bad.append(f"{told} {error}{errors.misnamed(guess.name, guess.line, written) if guess else ''}")
            continue
        if package.name in found:
            bad.append(f"{told} is there twice, once under another spelling")
        found[package.name] = package
    return tuple(found[name] for name in sorted(found))


def _parse_entry(
    written: str, entry: object, *, line: int, sources: Collection[str], wanted: Wanted | None
) -> LockedPackage:
    """Parse an entry; raises ValueError whose message follows the package's name."""
    if not _PROJECT.fullmatch(written):
        raise ValueError("is no package name")
    if not isinstance(entry, dict):
        raise ValueError("is not an object")  # noqa: TRY004 - a value of the file, not of a caller
    texts = {key: _text(entry, key) for key in _TEXTS}
    if other := next((key for key in _OTHER_VCS if key in entry), None):
        raise ValueError(f"comes from {other}; only git is supported")
    index = texts["index"]
    if index is not None and index not in sources:
        known = ", ".join(f"`{show(one)}`" for one in sources)
        raise ValueError(f"comes from the index `{show(index)}`, which is not among the sources: {known}")
    markers = _markers(entry) or (wanted.markers if wanted else None)
    if markers is not None and not is_marker(markers):
        raise ValueError(f"has markers that cannot be read: {show(markers)}")
    return LockedPackage(
        name=canonical(written),
        markers=markers,
        extras=tuple(_strings(entry, "extras")),
        index=index,
        editable=entry.get("editable") is True,
        line=line,
        pipfile_line=wanted.line if wanted else 0,
        subdirectory=texts["subdirectory"],
        **_origin(texts, tuple(_strings(entry, "hashes")), has_markers=markers is not None),
    )


def _origin(texts: Mapping[str, str | None], hashes: tuple[str, ...], *, has_markers: bool) -> dict[str, Any]:
    """Decide where the package comes from: a commit, a path, a file, or an index by version and hash."""
    if git := texts["git"]:
        if git.startswith("-"):
            raise ValueError("comes from git, and its address begins with a dash")
        ref = texts["ref"] or ""
        if not _COMMIT.fullmatch(ref):
            raise ValueError(f"comes from git, and `{show(ref)}` is not the full hash of a commit")
        return {"git": git, "ref": ref}
    file = texts["file"]
    local = texts["path"] or (local_path(file) if file and not file.startswith(("http://", "https://")) else None)
    if local:
        # Of a file pipenv locks the hash as well; a folder has none.
        return {"path": local, "hashes": tuple(one for one in hashes if _SHA256.fullmatch(one))}
    if file and not hashes and (found := _FRAGMENT.search(file)):
        hashes = (f"sha256:{found[1].lower()}",)
    usable = tuple(one for one in hashes if _SHA256.fullmatch(one))
    if hashes and not usable:
        raise ValueError("has no sha256 hash, only others")
    if file:
        if not usable:
            raise ValueError(
                "is a file from the network, without a hash: write `#sha256=...` behind its address in Pipfile"
            )
        return {"file": file, "hashes": usable}
    return _pinned(texts["version"], usable, has_markers=has_markers)


def local_path(file: str) -> str:
    """Return the path of a ``file://`` address; anything else as it is."""
    if not file.startswith("file://"):
        return file
    from urllib.parse import unquote

    parts = parse_url(file)
    return unquote(parts.path) if parts else file


def _pinned(version: str | None, hashes: tuple[str, ...], *, has_markers: bool) -> dict[str, Any]:
    if version in (None, "", "*"):
        # What pipenv makes of a package for another platform: it may stay if markers can rule it out.
        if has_markers and not hashes:
            return {}
        raise ValueError("has no pinned version")
    number = version.lstrip("=") if version else ""
    if version not in (f"=={number}", f"==={number}") or not is_version(number):
        raise ValueError(f"has no pinned version: `{show(version or '')}`")
    if not hashes:
        raise ValueError("has no hashes")
    return {"version": number, "hashes": hashes}


def _text(entry: Mapping[str, Any], key: str) -> str | None:
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"has a `{key}` that is not a string")
    return value


def _strings(entry: Mapping[str, Any], key: str) -> list[str]:
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"has `{key}` that are not a list of strings")
    return value


def _markers(entry: Mapping[str, Any]) -> str | None:
    """Join `markers` and the keys that old locks have in their place (``"sys_platform": "== 'win32'"``)."""
    parts = [value for key in ("markers", "marker") if isinstance(value := entry.get(key), str) and value.strip()]
    parts += [f"{key} {entry[key]}" for key in MARKER_NAMES if isinstance(entry.get(key), str)]
    if len(parts) < 2:
        return parts[0] if parts else None
    return " and ".join(f"({part})" for part in parts)
