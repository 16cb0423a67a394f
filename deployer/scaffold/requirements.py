"""Read what an app without a Pipfile asks for, as entries of one: lists of pip, Poetry and others, and imports."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from buildpack.app.checks.imports import Import, Start, find_imports, list_missing
from buildpack.app.checks.processes import list_files
from buildpack.app.checks.served import modules_brought
from buildpack.app.lockfile import Lock, LockedPackage
from buildpack.app.pipfile import canonical
from buildpack.app.source import SourceTree
from buildpack.app.textfile import read_bytes, read_text
from buildpack.bounded import parse_requirement
from buildpack.dataclass import dataclass, field
from buildpack.errors import BuildpackError

__all__ = ["Listed", "list_packages", "missing_imports", "parse_requirements"]

_DEVELOP = ("requirements-dev.txt", "dev-requirements.txt", "requirements_dev.txt", "requirements/dev.txt")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_INCLUDE = re.compile(r"(?:-r|-c|--requirement|--constraint)[\s=]?\s*([\w.][\w./-]{0,200})")
"""A line of requirements.txt that names another file, relative to its own folder."""
_DEVELOP_GROUPS = ("dev", "develop", "test", "tests")
_NO_APP = re.compile(r"(?:^|/)(?:tests?|docs?|examples?)/|(?:^|/)(?:test_[^/]*|conftest|setup|noxfile|fabfile)\.py$")


@dataclass(kw_only=True, slots=True)
class Listed:
    """What lists of other tools ask for, as entries of a Pipfile.

    `left` are requirements that a Pipfile cannot take over as they are, and groups that nobody asked for. `sources` are
    the files that were read.
    """

    packages: dict[str, str] = field(default_factory=dict)
    develop: dict[str, str] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    def add(self, source: str, lines: Iterable[str], *, develop: bool = False) -> None:
        """Add the requirements of a file."""
        entries, left = parse_requirements(lines)
        into = self.develop if develop else self.packages
        for name, entry in entries.items():
            into.setdefault(name, entry)
        self.left += left
        if (entries or left) and source not in self.sources:
            self.sources.append(source)


def list_packages(folder: Path) -> Listed:
    """Read what the lists of other tools ask for: the first that names packages, and those for development."""
    listed = Listed()
    for name, read in (
        ("requirements.txt", partial(_read_requirements, folder)),
        ("pyproject.toml", _read_project),
        ("setup.py", _read_setup),
    ):
        with suppress(BuildpackError, ValueError, SyntaxError, RecursionError, MemoryError):
            if not listed.packages:
                read(listed, name, read_text(folder, name) or "")
    for name in _DEVELOP:
        with suppress(BuildpackError):
            lines = _name_missing(folder, name, read_text(folder, name) or "")
            listed.add(name, (line for line in lines if not _INCLUDE.fullmatch(line)), develop=True)
    return listed


def _read_requirements(folder: Path, listed: Listed, name: str, text: str) -> None:
    listed.add(name, _name_missing(folder, name, text))


def _name_missing(folder: Path, name: str, text: str) -> Iterator[str]:
    """Give the lines of a list for pip without comments; a line that includes a missing file says so."""
    for written in text.splitlines():
        line = _COMMENT.sub("", written).strip()
        found = _INCLUDE.fullmatch(line)
        yield f"{line}, which is missing" if found and not _is_there(folder, Path(name).parent / found[1]) else line


def _is_there(folder: Path, path: Path) -> bool:
    try:
        return read_bytes(folder, str(path)) is not None
    except BuildpackError:
        return True  # the file exists, but cannot be read or is outside the app


def _read_project(listed: Listed, name: str, text: str) -> None:
    """Read PEP 621's dependencies, PEP 735's groups, and Poetry's own tables."""
    document = tomllib.loads(text)
    project = _table(document, "project")
    listed.add(name, _texts(project.get("dependencies")))
    for group, entries in _table(document, "dependency-groups").items():
        if group in _DEVELOP_GROUPS:
            listed.add(name, _texts(entries), develop=True)
        else:
            listed.left.append(f"the dependency group {group}")
    listed.left += [f"the extra {extra}" for extra in _table(project, "optional-dependencies")]
    poetry = _table(_table(document, "tool"), "poetry")
    _add_poetry(listed, name, _table(poetry, "dependencies"), develop=False)
    _add_poetry(listed, name, _table(poetry, "dev-dependencies"), develop=True)
    for group, table in _table(poetry, "group").items():
        entries = table.get("dependencies") if isinstance(table, dict) else None
        if group in _DEVELOP_GROUPS:
            _add_poetry(listed, name, entries if isinstance(entries, dict) else {}, develop=True)
        else:
            listed.left.append(f"Poetry's group {group}")


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _add_poetry(listed: Listed, source: str, entries: Mapping[str, Any], *, develop: bool) -> None:
    for name, written in entries.items():
        if name.lower() == "python":
            continue
        entry = _poetry_entry(written)
        if entry is None:
            listed.left.append(f"{name} of Poetry's")
        else:
            (listed.develop if develop else listed.packages).setdefault(name, entry)
        if source not in listed.sources:
            listed.sources.append(source)


def _poetry_entry(written: object) -> str | None:
    """Return Pipfile's entry for one of Poetry's; None if it is more than a version, extras and markers."""
    table: dict[str, Any] = written if isinstance(written, dict) else {"version": written}
    version = table.get("version")
    if table.keys() - {"version", "extras", "markers"} or not isinstance(version, str):
        return None
    parts = [_poetry_version(part.strip()) for part in version.split(",")]
    if None in parts:
        return None
    extras = _texts(table.get("extras"))
    return _entry(",".join(map(str, parts)), sorted(extras), str(table.get("markers", "")))


def _poetry_version(part: str) -> str | None:
    """Return a PEP 440 specifier for one of Poetry's (``^1.2``, ``~1.2``, ``1.2.*``, ``1.2``)."""
    if part == "*" or re.fullmatch(r"(?:==|!=|<=|>=|<|>|~=)\s*[\w.*+!]+", part):
        return part
    found = re.fullmatch(r"([\^~]?)(\d{1,9}(?:\.\d{1,9}){0,3})(\.\*)?", part)
    if not found:
        return None
    sign, version, wild = found.groups()
    if not sign:
        return f"=={version}{wild or ''}"
    numbers = [int(number) for number in version.split(".")]
    if sign == "^":
        at = next((place for place, number in enumerate(numbers) if number), len(numbers) - 1)
    else:
        at = min(1, len(numbers) - 1)
    return f">={version},<{'.'.join(map(str, [*numbers[:at], numbers[at] + 1]))}"


def _read_setup(listed: Listed, name: str, text: str) -> None:
    """Read what ``setup()`` is given as plain lists; what is computed is only named."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call) or "setup" not in (
            getattr(node.func, "id", ""),
            getattr(node.func, "attr", ""),
        ):
            continue
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        for key, develop in (("install_requires", False), ("tests_require", True)):
            if key not in given:
                continue
            try:
                listed.add(name, _texts(list(ast.literal_eval(given[key]))), develop=develop)
            except (ValueError, TypeError, SyntaxError):
                listed.left.append(f"{key} of setup.py, which is computed")
                listed.sources.append(name)
        if "extras_require" in given:
            listed.left.append("extras_require of setup.py")


def parse_requirements(lines: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Turn requirements into entries of a Pipfile; gives also those lines that are no plain requirement."""
    entries: dict[str, str] = {}
    left = []
    for written in lines:
        line = _COMMENT.sub("", written).strip().removesuffix("\\").strip()
        line = re.sub(r"(?<!\s)\s+--hash=\S+", "", line)
        if not line or line.startswith("--hash"):
            continue
        requirement = parse_requirement(line)
        if requirement is None or requirement.url:
            left.append(line)
        else:
            marker = str(requirement.marker) if requirement.marker else ""
            entries[requirement.name] = _entry(str(requirement.specifier) or "*", sorted(requirement.extras), marker)
    return entries, left


def _entry(version: str, extras: list[str], marker: str) -> str:
    if not extras and not marker:
        return json.dumps(version)
    parts = [f"version = {json.dumps(version)}"]
    parts += [f"extras = {json.dumps(extras)}"] if extras else []
    parts += [f"markers = {json.dumps(marker)}"] if marker else []
    return f"{{{', '.join(parts)}}}"


_WITH = {
    "boto3": "botocore s3transfer",
    "celery": "kombu billiard vine amqp",
    "django": "asgiref sqlparse",
    "fastapi": "starlette pydantic anyio typing-extensions",
    "flask": "werkzeug jinja2 click markupsafe itsdangerous blinker",
    "httpx": "httpcore h11 anyio",
    "pandas": "numpy pytz python-dateutil",
    "requests": "urllib3 certifi idna charset-normalizer",
    "sqlalchemy": "greenlet typing-extensions",
}
"""Packages that come with others, and that apps import without asking for them."""


def missing_imports(tree: SourceTree, asked: Iterable[str]) -> Iterator[tuple[Import, tuple[str, ...]]]:
    """Give each import of the app that none of the packages in `asked` brings, and the packages known to bring it."""
    names = {canonical(name): False for name in asked}
    names |= {name: False for asked_for in list(names) for name in _WITH.get(asked_for, "").split()}
    lock = Lock(packages=tuple(LockedPackage(name=name) for name in names), sources=())
    folders = ("", "src") if any(file.path.startswith("src/") for file in tree.files) else ("",)
    starts = [Start(search=folders, path=file.path) for file in tree.files if not _NO_APP.search(file.path)]
    imports = find_imports(starts, list_files(tree, None), django=False)
    yield from list_missing((one for one in imports if not one.left_out), lock, modules_brought(names))
