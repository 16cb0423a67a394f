"""Pipfile: what the app asks for. Read to see whether the lock is current, and for the lines that messages name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from buildpack.app.lockfile import canonical_name
from buildpack.app.textfile import parse_toml, read_text
from buildpack.bounded import parse_version
from buildpack.dataclass import dataclass
from buildpack.errors import BuildpackError, show
from buildpack.errors import lock as errors

NAME = "Pipfile"
_SECTIONS = {"default": "packages", "develop": "dev-packages"}
_NOT_CATEGORIES = frozenset(
    {"source", "packages", "dev-packages", "requires", "scripts", "pipfile", "pipenv", "default", "develop"}
)
_DEFAULT_SOURCE = [{"name": "pypi", "url": "https://pypi.org/simple", "verify_ssl": True}]
MARKER_NAMES = (
    *("os_name", "sys_platform", "platform_machine", "platform_python_implementation", "platform_release"),
    *("platform_system", "platform_version", "python_version", "python_full_version"),
    *("implementation_name", "implementation_version"),
)
"""The environment markers of PEP 508, except ``extra``, which no lock uses."""

_OPERAND = rf"(?:{'|'.join(MARKER_NAMES)}|extra|'[^'\"]*'|\"[^'\"]*\")"
_COMPARISON = re.compile(rf"{_OPERAND}\s*(?:===|[=!<>~]=|[<>]|\bnot\s+in\b|\bin\b)\s*{_OPERAND}")
_JOINED = re.compile(r"\(\s*@\s*\)|@\s+(?:and|or)\s+@")
_VERSION = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,9}(?:(?:a|b|rc)\d{1,9})?(?:\.post\d{1,9})?(?:\.dev\d{1,9})?")
_LONGEST_MARKER = 4096


def join_markers(table: Mapping[str, Any], keys: Sequence[str], *more: str) -> str | None:
    """Join the markers in these `keys`, in keys such as ``sys_platform`` (``"== 'win32'"``), and `more`."""
    found = [value for key in keys if isinstance(value := table.get(key), str) and value.strip()]
    found += [f"{key} {table[key]}" for key in MARKER_NAMES if isinstance(table.get(key), str)]
    found += filter(None, more)
    if len(found) < 2:
        return found[0] if found else None
    return " and ".join(f"({one})" for one in found)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """An entry of Pipfile; `table` is its value, with ``{"version": ...}`` for a plain version.

    `line` is its line in Pipfile; 0 is unknown.
    """

    name: str
    table: Mapping[str, Any]
    line: int

    @property
    def specifier(self) -> str:
        """The version specifier; empty if any version is right."""
        version = self._version.partition(";")[0].strip()
        return "" if version == "*" else version

    @property
    def markers(self) -> str | None:
        """The markers of the key ``markers``, of the version, and of keys such as ``sys_platform = "== 'win32'"``."""
        return join_markers(self.table, ("markers",), self._version.partition(";")[2].strip())

    @property
    def _version(self) -> str:
        """The version in Pipfile, perhaps with markers, as pipenv accepts them: ``"==1.0; python_version > '3'"``."""
        version = self.table.get("version", "")
        return version if isinstance(version, str) else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipfile:
    """Pipfile's TOML `document`, and the line of each entry, by section and key."""

    document: Mapping[str, Any]
    lines: Mapping[tuple[str, str], int]

    def wanted(self, section: str) -> tuple[Wanted, ...]:
        """List the entries for a section of the lock: ``default``, ``develop``, or a category."""
        table = _SECTIONS.get(section, section)
        entries = self.document.get(table, {})
        return tuple(
            Wanted(
                name=canonical_name(key.partition("[")[0].strip()),
                table=value if isinstance(value, dict) else {"version": value},
                line=self.lines.get((table, key), 0),
            )
            for key, value in (entries.items() if isinstance(entries, dict) else ())
        )

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories of packages beside ``default``, by their names in the lock."""
        own = [key for key, value in self.document.items() if key not in _NOT_CATEGORIES and isinstance(value, dict)]
        return ("develop", *own)

    def requires(self, key: str) -> tuple[str | None, int]:
        """Return a value of ``[requires]`` and its line."""
        value = self.document.get("requires", {}).get(key)
        return (value if isinstance(value, str) else None), self.lines.get(("requires", key), 0)


def read_pipfile(folder: Path) -> Pipfile | None:
    """Read the app's Pipfile; None if there is none. Raises AppError as `parse_pipfile` does."""
    text = read_text(folder, NAME)
    return None if text is None else parse_pipfile(text)


def parse_pipfile(text: str) -> Pipfile:
    """Parse a Pipfile; raises AppError with every entry that is neither a version nor a table."""
    document = parse_toml(text, NAME)
    lines = _lines(text)
    bad = []
    for section in ("packages", "dev-packages", "requires"):
        table = document.get(section, {})
        if not isinstance(table, dict):
            bad.append(f"{NAME}: `{section}` is not a table")
            continue
        bad.extend(
            f"{NAME}:{lines[section, key]}: {shown}" if (section, key) in lines else f"{NAME}: {shown}"
            for key, value in table.items()
            if section != "requires" and not isinstance(value, str | dict)
            for shown in [f"{show(key)} is neither a version nor a table"]
        )
    if bad:
        raise errors.bad_pipfile(bad)
    return Pipfile(document=document, lines=lines)


def pipfile_hashes(pipfile: Pipfile) -> tuple[str, ...]:
    """Compute ``_meta.hash`` as pipenv did before 2026.4, and as it does now, with canonical names (pipenv#6664).

    This follows `plette.Pipfile.get_hash` and pipenv's `calculate_hash`. Empty if JSON cannot hold a value.
    """
    try:
        return tuple(_hash(pipfile.document, canonical_names=canonical_names) for canonical_names in (False, True))
    except (TypeError, ValueError, AttributeError, RecursionError):
        return ()


def _hash(document: Mapping[str, Any], *, canonical_names: bool) -> str:
    import hashlib
    import json

    def section(table: Any) -> Any:
        return {canonical_name(key): value for key, value in table.items()} if canonical_names else table

    content = {
        "_meta": {"sources": document.get("source", _DEFAULT_SOURCE), "requires": document.get("requires", {})},
        "default": section(document.get("packages", {})),
        "develop": section(document.get("dev-packages", {})),
    }
    content |= {key: section(value) for key, value in document.items() if key not in _NOT_CATEGORIES}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


_HEADER = re.compile(r"\s*\[([^\[\]]+)\]")
_KEY = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*[.=]""")


def _lines(text: str) -> dict[tuple[str, str], int]:
    """Find the line of each key, by table and key, in TOML as people write it."""
    lines: dict[tuple[str, str], int] = {}
    section = ""
    for number, line in enumerate(text.split("\n"), start=1):
        if header := _HEADER.match(line):
            section, _, key = header[1].replace('"', "").replace("'", "").partition(".")
            if key:
                lines.setdefault((section.strip(), key.strip()), number)
        elif found := _KEY.match(line):
            lines.setdefault((section, found[1] or found[2] or found[3] or ""), number)
    return lines


def read_scripts(folder: Path) -> Mapping[str, str]:
    """Read Pipfile's ``[scripts]``; empty if the file cannot be read, which another reader reports."""
    try:
        pipfile = read_pipfile(folder)
    except BuildpackError:
        return {}
    table = pipfile.document.get("scripts") if pipfile is not None else None
    scripts = table.items() if isinstance(table, dict) else ()
    return {name: script for name, script in scripts if isinstance(script, str)}


def is_marker(text: str) -> bool:
    """Return True if `text` is an environment marker (PEP 508). This imports `packaging` only for unusual ones."""
    if len(text) > _LONGEST_MARKER:
        return False
    rest = _COMPARISON.sub("@", text) if "@" not in text else ""
    changed = True
    while changed and rest.strip() != "@":
        rest, count = _JOINED.subn("@", rest)
        changed = bool(count)
    if rest.strip() == "@":
        return True
    from packaging.markers import InvalidMarker, Marker

    try:
        Marker(text)
    except (InvalidMarker, RecursionError):
        return False
    return True


def is_version(text: str) -> bool:
    """Return True if `text` is a version (PEP 440)."""
    if _VERSION.fullmatch(text):
        return True
    return parse_version(text) is not None
