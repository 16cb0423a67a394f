"""Reads the packages of an app without a Pipfile, as entries of one: lists of pip, Poetry and others, and imports."""

from __future__ import annotations

import ast
import configparser
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from buildpack.app.checks.image_files import list_files, modules_brought
from buildpack.app.checks.imports import Import, Start, find_imports, list_missing
from buildpack.app.lockfile import Lock, LockedPackage, canonical_name
from buildpack.app.source import SourceTree
from buildpack.app.textfile import read_text
from buildpack.dataclass import dataclass, field
from buildpack.errors import BuildpackError
from deployer.scaffold.entries import (
    Index,
    Origin,
    find_origin,
    origin_of,
    parse_option,
    parse_pip_conf,
    parse_requirements,
    poetry_entry,
    project_indexes,
    without_comment,
)

_DEVELOP_GROUPS = ("dev", "develop", "development", "test", "tests", "testing")
_DEVELOP = re.compile(rf"(?:requirements[/_-])?(?:{'|'.join(_DEVELOP_GROUPS)})(?:[_-]requirements)?\.(?:txt|in)")
_FOLDED = "prod.txt production.txt base.txt common.txt main.txt requirements.txt base.in main.in"
_MAIN = ("requirements.txt", "requirements.in", *(f"requirements/{name}" for name in _FOLDED.split()))
"""Lists of the packages that the app runs with; the first one that exists is read, with those that it includes."""
_LIST = re.compile(r"(?:requirements/[\w.-]+|[\w.-]*requirements[\w.-]*)\.(?:txt|in)|environment\.ya?ml")
_INCLUDE = re.compile(r"(-r|-c|--requirement|--constraint)[\s=]?\s*([\w.][\w./-]{0,200})")
"""A line of requirements.txt that names another file, relative to its own folder."""
_NO_APP = re.compile(r"(?:^|/)(?:tests?|docs?|examples?)/|(?:^|/)(?:test_[^/]*|conftest|setup|noxfile|fabfile)\.py$")
_MOST_FILES = 50


@dataclass(kw_only=True, slots=True)
class Listed:
    """The packages in lists of other tools, as entries of a Pipfile.

    `left` are, by file, the requirements that a Pipfile cannot express, and groups that are not for development;
    `unread` are whole files. `sources` are the files that name packages, `indexes` are those from which they come.
    `seen` are the lists for pip that were read or included, of the files `paths` of the app in `tree`.
    """

    tree: SourceTree
    paths: frozenset[str]
    seen: set[str] = field(default_factory=set)
    packages: dict[str, str] = field(default_factory=dict)
    develop: dict[str, str] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    indexes: list[Index] = field(default_factory=list)

    def add(
        self, source: str, lines: Iterable[str], *, develop: bool = False, origins: Mapping[str, Origin] = {}
    ) -> None:
        """Add the requirements of a file."""
        plain = []
        for line in lines:
            index = parse_option(without_comment(line), source)
            if index is None:
                plain.append(line)
            else:
                self.indexes.append(index)
        entries, left = parse_requirements(plain, origins)
        for name, entry in entries.items():
            self.put(source, name, entry, develop=develop)
        for line in left:
            self.leave(source, line)

    def put(self, source: str, name: str, entry: str, *, develop: bool) -> None:
        """Add a package, unless an earlier file names it."""
        known = {canonical_name(each) for each in (*self.packages, *(self.develop if develop else ()))}
        if canonical_name(name) not in known:
            (self.develop if develop else self.packages)[name] = entry
        if source not in self.sources:
            self.sources.append(source)

    def leave(self, source: str, what: str) -> None:
        """Note something that a Pipfile cannot have."""
        if what not in self.left.setdefault(source, []):
            self.left[source].append(what)

    def text(self, name: str) -> str | None:
        """Return a file's text; None if it is missing or cannot be read, which is noted."""
        try:
            return read_text(self.tree.folder, name) if name in self.paths else None
        except BuildpackError:
            self.unread.append(f"{name}, which cannot be read")
            return None

    def lists(self, names: Iterable[str], *, develop: bool = False) -> None:
        """Read lists for pip, with those that they include."""
        todo = list(names)
        while todo and len(self.seen) < _MOST_FILES:
            name = todo.pop(0)
            if name in self.seen:
                continue
            self.seen.add(name)
            lines = []
            for written in (self.text(name) or "").splitlines():
                found = _INCLUDE.fullmatch(without_comment(written))
                if found is None:
                    lines.append(written)
                    continue
                path = _join(PurePosixPath(name).parent / found[2])
                if path not in self.paths:
                    self.leave(name, f"{found[0]}, which is missing")
                elif found[1] in {"-c", "--constraint"} or path.endswith(".py"):
                    self.leave(name, found[0])
                    self.seen.add(path)
                else:
                    todo.append(path)
            self.add(name, lines, develop=develop)


def _join(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def list_packages(tree: SourceTree) -> Listed:
    """Read the packages in lists of other tools, with those for development.

    If several files name a package, the first one decides.
    """
    listed = Listed(tree=tree, paths=frozenset(file.path for file in tree.files))
    listed.lists([name for name in _MAIN if name in listed.paths][:1])
    for name, read in (
        ("pip.conf", _read_pip_conf),
        ("uv.toml", _read_uv),
        ("pyproject.toml", _read_project),
        ("setup.cfg", _read_setup_cfg),
        ("setup.py", _read_setup),
    ):
        text = listed.text(name)
        try:
            if text is not None:
                read(listed, name, text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            listed.unread.append(f"{name}, which cannot be read")
    listed.lists(sorted(filter(_DEVELOP.fullmatch, listed.paths)), develop=True)
    compiled = {name.removesuffix(".txt") for name in listed.paths if name.endswith(".txt")}
    for name in sorted(filter(_LIST.fullmatch, listed.paths - listed.seen)):
        if not (name.endswith(".in") and name.removesuffix(".in") in compiled):
            listed.unread.append(name)
    return listed


def _read_pip_conf(listed: Listed, name: str, text: str) -> None:
    listed.indexes += parse_pip_conf(text, name)


def _read_uv(listed: Listed, name: str, text: str) -> None:
    """Read uv's own file, which has the content of `[tool.uv]` of pyproject.toml."""
    listed.indexes += project_indexes({"uv": tomllib.loads(text)}, name)


def _read_project(listed: Listed, name: str, text: str) -> None:
    """Read PEP 621's dependencies, PEP 735's groups, and the tables of Poetry, uv and PDM."""
    document = tomllib.loads(text)
    project, tool = _table(document, "project"), _table(document, "tool")
    poetry, uv, pdm = (_table(tool, each) for each in ("poetry", "uv", "pdm"))
    listed.indexes += project_indexes(tool, name)
    groups = {group: _table(table, "dependencies") for group, table in _tables(poetry, "group")}
    origins: dict[str, Origin] = {}
    for table in (_table(poetry, "dependencies"), _table(poetry, "dev-dependencies"), *groups.values()):
        origins |= {canonical_name(each): origin_of(written, listed.indexes) for each, written in table.items()}
    for each, written in _table(uv, "sources").items():
        origins[canonical_name(each)] = find_origin(written, listed.indexes) if isinstance(written, dict) else None
    listed.add(name, _texts(project.get("dependencies")), origins=origins)
    _read_dynamic(listed, name, project, _table(_table(tool, "setuptools"), "dynamic"))
    listed.add(name, _texts(uv.get("dev-dependencies")), develop=True, origins=origins)
    for title, found in (
        ("the dependency group", _table(document, "dependency-groups")),
        ("PDM's group", _table(pdm, "dev-dependencies")),
    ):
        for group, entries in found.items():
            if group in _DEVELOP_GROUPS:
                listed.add(name, _texts(entries), develop=True, origins=origins)
            else:
                listed.leave(name, f"{title} {group}")
    for extra in _table(project, "optional-dependencies"):
        listed.leave(name, f"the extra {extra}")
    _add_poetry(listed, name, _table(poetry, "dependencies"), origins, develop=False)
    _add_poetry(listed, name, _table(poetry, "dev-dependencies"), origins, develop=True)
    for group, table in groups.items():
        if group in _DEVELOP_GROUPS:
            _add_poetry(listed, name, table, origins, develop=True)
        else:
            listed.leave(name, f"Poetry's group {group}")


def _read_dynamic(listed: Listed, name: str, project: Mapping[str, Any], dynamic: Mapping[str, Any]) -> None:
    """Read the dependencies that setuptools takes from files."""
    declared = _texts(project.get("dynamic"))
    if "dependencies" in declared:
        written = _table(dynamic, "dependencies").get("file")
        files = [written] if isinstance(written, str) else _texts(written)
        listed.lists(files)
        if not files:
            listed.leave(name, "the dependencies, which its build computes")
    if "optional-dependencies" in declared:
        listed.leave(name, "the extras, which its build computes")


def _table(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _tables(document: Mapping[str, Any], name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from ((key, value) for key, value in _table(document, name).items() if isinstance(value, dict))


def _texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _add_poetry(
    listed: Listed, source: str, entries: Mapping[str, Any], origins: Mapping[str, Origin], *, develop: bool
) -> None:
    for name, written in entries.items():
        if name.lower() == "python":
            continue
        origin = origins[canonical_name(name)]
        entry = None if origin is None else poetry_entry(written, origin)
        if entry is not None:
            listed.put(source, name, entry, develop=develop)
        elif canonical_name(name) not in map(canonical_name, (*listed.packages, *listed.develop)):
            listed.leave(source, name)


def _read_setup_cfg(listed: Listed, name: str, text: str) -> None:
    """Read the dependencies in ``[options]``, for setuptools."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ValueError(str(error)) from error
    for key, develop in (("install_requires", False), ("tests_require", True)):
        value = parser.get("options", key, fallback="")
        if value.startswith("file:"):
            listed.lists([each.strip() for each in value[5:].replace("\n", ",").split(",") if each.strip()])
        else:
            listed.add(name, value.splitlines(), develop=develop)
    if parser.has_section("options.extras_require"):
        for extra in parser["options.extras_require"]:
            listed.leave(name, f"the extra {extra}")


def _read_setup(listed: Listed, name: str, text: str) -> None:
    """Read plain lists among the arguments of ``setup()``; a computed one is only named."""
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
                listed.leave(name, f"{key}, which is computed")
        if "extras_require" in given:
            listed.leave(name, "extras_require")


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
"""Packages that are installed with others, and that apps import without listing them."""


def missing_imports(tree: SourceTree, asked: Iterable[str]) -> Iterator[tuple[Import, tuple[str, ...]]]:
    """Yield each import of the app that no package in `asked` has, and the packages that are known to have it."""
    names = {canonical_name(name): False for name in asked}
    names |= {name: False for asked_for in list(names) for name in _WITH.get(asked_for, "").split()}
    lock = Lock(packages=tuple(LockedPackage(name=name) for name in names), sources=())
    folders = ("", "src") if any(file.path.startswith("src/") for file in tree.files) else ("",)
    starts = [Start(search=folders, path=file.path) for file in tree.files if not _NO_APP.search(file.path)]
    imports = find_imports(starts, list_files(tree, None), django=False)
    yield from list_missing((one for one in imports if not one.left_out), lock, modules_brought(names))
