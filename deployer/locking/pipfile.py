"""Edits the text of a Pipfile for `deploy add` and `deploy remove`; comments and order stay."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from buildpack.app.lockfile import canonical_name
from buildpack.app.pipfile import parse_pipfile
from deployer.errors.files import not_a_requirement, not_in_pipfile

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_LONE = re.compile(r"(?<!\r)\n")
_ORIGINS = {"git", "hg", "svn", "bzr", "ref", "subdirectory", "editable", "path", "file"}
"""Keys of an entry whose package is not taken from an index."""


def add_packages(text: str, packages: Sequence[str], *, dev: bool) -> str:
    """Return Pipfile with these requirements; their versions, extras and markers replace those of existing entries."""
    import tomlkit
    from packaging.requirements import InvalidRequirement, Requirement

    parse_pipfile(text)
    document: Any = tomlkit.parse(text)
    section = "dev-packages" if dev else "packages"
    if section not in document:
        document[section] = tomlkit.table()
    table = document[section]
    keys = {canonical_name(key): key for key in table}
    for package in packages:
        try:
            asked = Requirement(package)
        except InvalidRequirement as error:
            raise not_a_requirement(package) from error
        if asked.url:
            raise not_a_requirement(package)
        key = keys.setdefault(canonical_name(asked.name), asked.name)
        _put(table, key, asked)
    changed = tomlkit.dumps(document)
    # tomlkit ends new lines in LF.
    return _LONE.sub("\r\n", changed) if "\r\n" in text and not _LONE.search(text) else changed


def _put(table: Any, key: str, asked: Requirement) -> None:
    import tomlkit

    present = key in table
    version = str(asked.specifier)
    wanted = {
        name: value
        for name, value in (
            ("version", version),
            ("extras", sorted(asked.extras)),
            ("markers", str(asked.marker) if asked.marker else ""),
        )
        if value
    }
    if present and isinstance(table[key], dict):
        if version:  # a version is for a package of an index, so the other origins end
            for name in _ORIGINS & table[key].keys():
                del table[key][name]
        table[key].update(wanted)
    elif wanted.keys() <= {"version"}:
        if wanted or not present:
            _set(table, key, version or "*")
    else:
        entry = tomlkit.inline_table()
        entry.update({"version": str(table[key]) if present else "*", **wanted})
        _set(table, key, entry)


def _set(table: Any, key: str, entry: object) -> None:
    """Set an entry; a new one comes after the last one, and before comments that may be about the next section."""
    body = table.value.body
    last = max((at for at, (name, _) in enumerate(body) if name is not None), default=-1)
    rest = [] if key in table else body[last + 1 :]
    del body[len(body) - len(rest) :]
    table[key] = entry
    body.extend(rest)


def remove_packages(text: str, packages: Sequence[str], *, dev: bool) -> str:
    """Return Pipfile without these packages; raises AppError for one that the section does not have."""
    import tomlkit

    parse_pipfile(text)
    document: Any = tomlkit.parse(text)
    sections = ("dev-packages", "packages") if dev else ("packages", "dev-packages")
    table, other = ({canonical_name(key): key for key in document.get(section, {})} for section in sections)
    for package in dict.fromkeys(map(canonical_name, packages)):
        if package not in table:
            raise not_in_pipfile(package, section=sections[0], other=sections[1] if package in other else "")
        del document[sections[0]][table[package]]
    return tomlkit.dumps(document)
