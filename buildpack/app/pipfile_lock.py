"""Read Pipfile.lock (pipfile-spec 6).

Reading validates every entry, and reports all faults at once. It imports neither `packaging` nor another slow module,
unless an entry is unusual.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from buildpack.app.indexes import check_variables, parse_sources
from buildpack.app.lockfile import Lock, LockedPackage, canonical_name
from buildpack.app.pipfile import Pipfile, Wanted, is_marker, is_version, join_markers
from buildpack.app.textfile import decode, parse_json, read_bytes
from buildpack.bounded import parse_url
from buildpack.errors import lock as errors
from buildpack.errors import show

NAME = "Pipfile.lock"
_PROJECT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_FRAGMENT = re.compile(r"#(?:[^#]*&)?sha256=([0-9A-Fa-f]{64})(?:&|$)")
"""The hash in a file's address, as on a page of an index; it counts if the entry has none."""
_OTHER_VCS = ("hg", "svn", "bzr")
_TEXTS = ("version", "index", "markers", "git", "ref", "subdirectory", "path", "file")


def read_lock(folder: Path, pipfile: Pipfile | None, categories: Sequence[str] = ()) -> Lock | None:
    """Read the app's Pipfile.lock; None if there is none. Raises as `parse_lock` does."""
    raw = read_bytes(folder, NAME)
    if raw is None:
        return None
    sha256 = hashlib.sha256(raw).hexdigest()
    return parse_lock(decode(raw, NAME), pipfile=pipfile, sha256=sha256, categories=categories)


def parse_lock(text: str, *, pipfile: Pipfile | None = None, sha256: str = "", categories: Sequence[str] = ()) -> Lock:
    """Parse a lock; `pipfile` gives the lines for messages, and markers for entries that lack them.

    The packages of `categories` are installed beside ``default``: ``develop``, or pipenv's named ones. Raises AppError
    that lists every unusable entry, UsageError for a category that the lock lacks.
    """
    document = parse_json(text, NAME, hint="run `deploy lock` to make it again, and commit it.")
    if not isinstance(document, dict):
        raise errors.no_lock(f"it holds a {_kind(document)} where an object is expected")
    meta = document.get("_meta")
    if not isinstance(meta, dict):
        raise errors.no_lock("it has no `_meta` object")
    specification = meta.get("pipfile-spec")
    if specification != 6:
        raise errors.other_specification(json.dumps(specification)[:40])
    bad: list[str] = []
    sources, warnings = parse_sources(meta.get("sources"), bad)
    names = frozenset(source.name for source in sources)
    lines = _lock_lines(text)
    asked = [_section(category, document) for category in categories]
    sections = {
        section: _parse_section(document.get(section), section, lines=lines, sources=names, pipfile=pipfile, bad=bad)
        for section in dict.fromkeys(("default", *asked, "develop"))
    }
    # If several sections hold a package, `default` decides, as with pipenv, and then the category that comes first.
    merged = {package.name: package for section in (*asked[::-1], "default") for package in sections[section]}
    requires = _table(meta.get("requires"), "_meta.requires", bad)
    hashes = _table(meta.get("hash"), "_meta.hash", bad)
    if bad:
        raise errors.bad_entries(bad)
    packages = [package for section in sections.values() for package in section]
    check_variables(
        {f"the source `{source.name}`": source.url for source in sources},
        {f"{package.name} ({package.place})": package.git or package.file or "" for package in packages},
        file=NAME,
    )
    return Lock(
        packages=tuple(merged[name] for name in sorted(merged)),
        develop=sections["develop"],
        sources=sources,
        python_version=_text(requires.get("python_version")),
        python_full_version=_text(requires.get("python_full_version")),
        input_hash=_text(hashes.get("sha256")) or "",
        sha256=sha256,
        warnings=tuple(warnings),
    )


def _section(category: str, document: Mapping[str, Any]) -> str:
    """Return the lock's section for a category, which may be named as in Pipfile."""
    section = {"packages": "default", "dev-packages": "develop"}.get(category, category)
    known = [name for name, value in document.items() if name != "_meta" and isinstance(value, dict)]
    if section not in {"default", "develop", *known}:
        raise errors.unknown_category(category, sorted({"develop", *known} - {"default"}))
    return section


_HEADER = re.compile(r'^( {4}| {8})"([^"\\]+)": \{', re.MULTILINE)


def _lock_lines(text: str) -> Mapping[tuple[str, str], int]:
    """Find the line of each package, by section and name, in pipenv's own layout."""
    lines: dict[tuple[str, str], int] = {}
    section, line, at = "", 1, 0
    for found in _HEADER.finditer(text):
        line += text.count("\n", at, found.start())
        at = found.start()
        if len(found[1]) == 4:
            section = found[2]
        else:
            lines[section, found[2]] = line
    return lines


def _table(value: object, name: str, bad: list[str]) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        bad.append(f"{NAME}: `{name}` is a {_kind(value)}, not an object")
        return {}
    return value


def _text(value: object) -> str | None:
    # The reader of versions reports a version that is a number (3.10 is 3.1).
    return None if value is None else value if isinstance(value, str) else json.dumps(value)


def _kind(value: object) -> str:
    return {dict: "table", list: "list", str: "string", bool: "boolean"}.get(type(value), "number")


def _parse_section(
    value: object,
    section: str,
    *,
    lines: Mapping[tuple[str, str], int],
    sources: Collection[str],
    pipfile: Pipfile | None,
    bad: list[str],
) -> tuple[LockedPackage, ...]:
    """Parse a section into packages sorted by name; faults are appended to `bad`."""
    if value is None:
        return ()
    if not isinstance(value, dict):
        bad.append(f"{NAME}: `{section}` is not an object")
        return ()
    wanted = {one.name: one for one in pipfile.wanted(section)} if pipfile else {}
    names = {canonical_name(name) for name in value}
    misnamed = [
        one for one in wanted.values() if one.name not in names and ("path" in one.table or "file" in one.table)
    ]
    found: dict[str, LockedPackage] = {}
    for written, entry in value.items():
        line = lines.get((section, written), 0)
        place = f"{NAME}:{line}: {show(written)}" if line else f"{NAME}: {section}: {show(written)}"
        try:
            package = _parse_entry(
                written, entry, line=line, sources=sources, wanted=wanted.get(canonical_name(written))
            )
        except ValueError as error:
            # Pipenv forgets where a package comes from if Pipfile does not call it by its own name.
            guess = misnamed[0] if misnamed and canonical_name(written) not in wanted else None
            bad.append(f"{place} {error}{errors.misnamed(guess.name, guess.line, written) if guess else ''}")
            continue
        if package.name in found:
            bad.append(f"{place} is there twice, once in another spelling")
        found[package.name] = package
    return tuple(found[name] for name in sorted(found))


def _parse_entry(
    written: str, entry: object, *, line: int, sources: Collection[str], wanted: Wanted | None
) -> LockedPackage:
    """Parse an entry; raises ValueError with a message that follows the package's name."""
    if not _PROJECT.fullmatch(written):
        raise ValueError("is not a package name")
    if not isinstance(entry, dict):
        raise ValueError("is not an object")  # noqa: TRY004 - a value of the file, not of a caller
    texts = {key: _entry_text(entry, key) for key in _TEXTS}
    if other := next((key for key in _OTHER_VCS if key in entry), None):
        raise ValueError(f"comes from {other}; only git is supported")
    index = texts["index"]
    if index is not None and index not in sources:
        known = ", ".join(f"`{show(one)}`" for one in sources)
        raise ValueError(f"comes from the index `{show(index)}`, which is not among the sources: {known}")
    markers = join_markers(entry, ("markers", "marker")) or (wanted.markers if wanted else None)
    if markers is not None and not is_marker(markers):
        raise ValueError(f"has markers that cannot be read: {show(markers)}")
    requested = wanted is not None and wanted.line > 0
    lock_place = f"{NAME}:{line}" if line else NAME
    return LockedPackage(
        name=canonical_name(written),
        markers=markers,
        extras=tuple(_strings(entry, "extras")),
        index=index,
        editable=entry.get("editable") is True,
        place=f"Pipfile:{wanted.line}" if wanted is not None and requested else lock_place,
        requested=requested,
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
        # Pipenv locks the hash of a file; a folder has none.
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
        # Pipenv locks a package for another platform like this. It may stay if its markers can rule it out.
        if has_markers and not hashes:
            return {}
        raise ValueError("has no pinned version")
    number = version.lstrip("=") if version else ""
    if version not in (f"=={number}", f"==={number}") or not is_version(number):
        raise ValueError(f"has no pinned version: `{show(version or '')}`")
    if not hashes:
        raise ValueError("has no hashes")
    return {"version": number, "hashes": hashes}


def _entry_text(entry: Mapping[str, Any], key: str) -> str | None:
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"has a `{key}` that is not a string")
    return value


def _strings(entry: Mapping[str, Any], key: str) -> list[str]:
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError(f"has `{key}` that are not a list of strings")
    return value
