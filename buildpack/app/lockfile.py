"""Pipfile.lock: what is to be installed, byte for byte (pipfile-spec 6).

Reading validates every entry and reports all that are wrong at once. It imports neither `packaging` nor anything else
that is slow, unless an entry is out of the ordinary.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from buildpack.app.indexes import Source, check_variables, parse_sources
from buildpack.app.jsonfile import parse_json
from buildpack.app.pipfile import Pipfile
from buildpack.app.textfile import decode, read_bytes
from buildpack.dataclass import dataclass
from buildpack.errors import lock as errors

NAME = "Pipfile.lock"


@dataclass(frozen=True, kw_only=True, slots=True)
class LockedPackage:
    """One entry of the lock.

    `name` is canonical (PEP 503); `version` has no ``==`` and is None for commits and paths. `hashes` are
    ``sha256:<hex>``, never empty unless the entry is a commit (`git` and `ref`), a local `path` (a folder has none), or
    one that pipenv locks only by its `markers` for another platform: such a one has neither version nor hash. `git` and
    `file` may hold ``${VAR}``. `line` is where it stands in Pipfile.lock, `pipfile_line` where Pipfile asks for it; 0
    is unknown.
    """

    name: str
    version: str | None = None
    hashes: tuple[str, ...] = ()
    markers: str | None = None
    extras: tuple[str, ...] = ()
    index: str | None = None
    git: str | None = None
    ref: str | None = None
    subdirectory: str | None = None
    path: str | None = None
    file: str | None = None
    editable: bool = False
    line: int = 0
    pipfile_line: int = 0

    @property
    def place(self) -> str:
        """Where to mend it: the line of Pipfile that asks for it, else the one of Pipfile.lock."""
        if self.pipfile_line:
            return f"Pipfile:{self.pipfile_line}"
        return f"{NAME}:{self.line}" if self.line else NAME


@dataclass(frozen=True, kw_only=True, slots=True)
class Lock:
    """Pipfile.lock: `packages` are those of ``default`` and of other categories that were asked for, by name.

    `develop` are those that only tests need, asked for or not.
    `pipfile_hash` is ``_meta.hash``; `sha256` is of the file's own bytes, in hexadecimal.
    """

    packages: tuple[LockedPackage, ...]
    develop: tuple[LockedPackage, ...] = ()
    sources: tuple[Source, ...]
    python_version: str | None = None
    python_full_version: str | None = None
    pipfile_hash: str = ""
    sha256: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def only_develop(self) -> tuple[LockedPackage, ...]:
        """The packages that only tests need; of one in two sections ``default`` decides, as with pipenv."""
        return tuple(package for package in self.develop if not self.has(package.name))

    def has(self, name: str) -> bool:
        """Say whether ``default`` holds the package of this canonical name."""
        return any(package.name == name for package in self.packages)


def read_lock(folder: Path, pipfile: Pipfile | None, categories: Sequence[str] = ()) -> Lock | None:
    """Read the app's Pipfile.lock; None where there is none. Raises as `parse_lock` does."""
    raw = read_bytes(folder, NAME)
    if raw is None:
        return None
    sha256 = hashlib.sha256(raw).hexdigest()
    return parse_lock(decode(raw, NAME), pipfile=pipfile, sha256=sha256, categories=categories)


def parse_lock(text: str, *, pipfile: Pipfile | None = None, sha256: str = "", categories: Sequence[str] = ()) -> Lock:
    """Parse a lock; `pipfile` gives the lines for messages, and markers for entries that lack them.

    `categories` are to be installed beside ``default``: ``develop``, or pipenv's named ones. Raises AppError that lists
    every entry which cannot be used, UsageError for a category that is not there.
    """
    from buildpack.app.lock_entry import parse_section

    document = parse_json(text, NAME, hint="run `deploy lock` to make it anew, and commit it.")
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
    lines = lock_lines(text)
    asked = [_section(category, document) for category in categories]
    sections = {
        section: parse_section(document.get(section), section, lines=lines, sources=names, pipfile=pipfile, bad=bad)
        for section in dict.fromkeys(("default", *asked, "develop"))
    }
    # Of two sections that hold one package `default` decides, as with pipenv, and then the one asked for first.
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
        pipfile_hash=_text(hashes.get("sha256")) or "",
        sha256=sha256,
        warnings=tuple(warnings),
    )


def _section(category: str, document: Mapping[str, Any]) -> str:
    """Return the lock's section for a category, which may go by its name in Pipfile."""
    section = {"packages": "default", "dev-packages": "develop"}.get(category, category)
    known = [name for name, value in document.items() if name != "_meta" and isinstance(value, dict)]
    if section not in {"default", "develop", *known}:
        raise errors.unknown_category(category, sorted({"develop", *known} - {"default"}))
    return section


_HEADER = re.compile(r'^( {4}| {8})"([^"\\]+)": \{', re.MULTILINE)


def lock_lines(text: str) -> Mapping[tuple[str, str], int]:
    """Find on which line each package stands: by section and name. Knows pipenv's own layout only."""
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
    # A version that is a number (3.10 is 3.1) is told apart where the version is read.
    return None if value is None else value if isinstance(value, str) else json.dumps(value)


def _kind(value: object) -> str:
    return {dict: "table", list: "list", str: "string", bool: "boolean"}.get(type(value), "number")
