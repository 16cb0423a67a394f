"""Turns what an app's other tools say of packages into parts of a Pipfile: indexes, origins, requirements, entries.

pipenv takes a package from the first `[[source]]`, unless the package names another one. If a private index were left
out, a stranger's package of the same name on PyPI would be taken instead.
"""

from __future__ import annotations

import configparser
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from buildpack.app.indexes import PYPI, Source, holds_credential, without_credentials
from buildpack.app.lockfile import canonical_name
from buildpack.bounded import parse_requirement
from buildpack.dataclass import dataclass

Kind = Literal["before", "main", "after", "named"]
_KINDS: tuple[Kind, ...] = ("before", "main", "after", "named")
_OPTION = re.compile(r"(?:-i|(--extra)?-?-index-url)[\s=]\s*(\S+)")
_POETRY_KINDS: Mapping[str, Kind] = {
    "default": "main",
    "primary": "main",
    "secondary": "after",
    "supplemental": "after",
    "explicit": "named",
}
_RENAMED = {"source": "index", "rev": "ref", "tag": "ref", "branch": "ref", "develop": "editable"}
"""Keys of Poetry and uv that have another name in a Pipfile."""
_ORIGINS = ({"index"}, {"git", "ref", "subdirectory", "editable"}, {"path", "editable"})
Origin = Mapping[str, str | bool] | None
"""Keys of an entry that say where a package comes from; None if a Pipfile cannot say so."""
_PLAIN = {"version", "extras", "markers"}
"""Keys of Poetry's entries that do not say where a package comes from."""
_COMMENT = re.compile(r"(?:^|\s)#.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A package index of another tool; `url` may hold a login.

    A "main" one replaces PyPI, one "before" or "after" is searched in addition, and a "named" one serves only the
    packages that name it. `source` is the file that names it; `name` is empty if that file has none.
    """

    url: str
    kind: Kind
    source: str
    name: str = ""
    verify_ssl: bool = True


def parse_option(line: str, source: str) -> Index | None:
    """Parse an option of pip in a list of requirements (``--index-url URL``); None if it is another line."""
    found = _OPTION.fullmatch(line)
    return Index(url=found[2], kind="before" if found[1] else "main", source=source) if found else None


def parse_pip_conf(text: str, source: str) -> Iterator[Index]:
    """Parse the indexes of pip's configuration file. Raises ValueError if it is not one."""
    for section in _sections(text):
        for key, kind in (("index-url", "main"), ("extra-index-url", "before")):
            for url in section.get(key, section.get(key.replace("-", "_"), "")).split():
                yield Index(url=url, kind="main" if kind == "main" else "before", source=source)


def _sections(text: str) -> Iterator[Mapping[str, str]]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ValueError(str(error)) from error
    for name in ("global", "install", "lock", "download"):
        if parser.has_section(name):
            yield parser[name]


def project_indexes(tool: Mapping[str, Any], source: str) -> Iterator[Index]:
    """Yield the indexes that Poetry, uv and PDM have in `tool` of pyproject.toml."""
    for table in _tables(tool, "poetry", "source"):
        old: Kind = "main" if table.get("default") is True else "after" if table.get("secondary") is True else "main"
        kind = _POETRY_KINDS.get(str(table.get("priority", "")).lower(), old)
        usual = PYPI.url if str(table.get("name", "")).lower() == "pypi" else None
        yield from _index(table, kind, source, usual)
    for table in _tables(tool, "uv", "index"):
        yield from _index(
            table,
            "named" if table.get("explicit") is True else "main" if table.get("default") is True else "before",
            source,
        )
    uv = tool.get("uv")
    settings = [each for each in (uv, uv.get("pip")) if isinstance(each, dict)] if isinstance(uv, dict) else []
    for table in settings:
        extra = table.get("extra-index-url")
        yield from _index({"url": table.get("index-url")}, "main", source)
        for url in extra if isinstance(extra, list) else ():
            yield from _index({"url": url}, "before", source)
    for table in _tables(tool, "pdm", "source"):
        yield from _index(table, "main" if table.get("name") == "pypi" else "before", source)


def _tables(tool: Mapping[str, Any], name: str, key: str) -> Iterator[Mapping[str, Any]]:
    section = tool.get(name)
    found = section.get(key) if isinstance(section, dict) else None
    yield from (each for each in found if isinstance(each, dict)) if isinstance(found, list) else ()


def _index(table: Mapping[str, Any], kind: Kind, source: str, usual: str | None = None) -> Iterator[Index]:
    url, name = table.get("url", usual), table.get("name", "")
    if isinstance(url, str) and url and isinstance(name, str):
        yield Index(url=url, name=name, kind=kind, source=source, verify_ssl=table.get("verify_ssl") is not False)


def find_origin(written: Mapping[str, Any], indexes: Iterable[Index]) -> dict[str, str | bool] | None:
    """Return where a package comes from, as keys of a Pipfile's entry; None if a Pipfile cannot say so.

    `written` is an entry of Poetry or of uv's sources, without version, extras and markers. An address with a login is
    not repeated, so the result is None for it.
    """
    found: dict[str, str | bool] = {}
    for key, value in written.items():
        if not isinstance(value, bool if key in {"editable", "develop"} else str) or _RENAMED.get(key, key) in found:
            return None
        found[_RENAMED.get(key, key)] = value
    if not any(found.keys() <= allowed and found.keys() & {"index", "git", "path"} for allowed in _ORIGINS):
        return None
    if "index" in found:
        names = {index.name.lower(): index.name for index in indexes} | {"pypi": PYPI.name}
        name = names.get(str(found["index"]).lower())
        return {"index": name} if name else None
    if holds_credential(str(found.get("git", ""))) or str(found.get("path", "")).startswith("/"):
        return None
    return found


def order_indexes(indexes: Iterable[Index], *, named: bool) -> tuple[list[Source], list[str]]:
    """Return the indexes for a Pipfile, without logins, and remarks on the additions that its author must make.

    PyPI is added if nothing replaces it, and at the end if `named` says that a package asks for it by name.
    """
    every = list(indexes)
    if not any(index.kind == "main" for index in every):
        every.append(Index(url=PYPI.url, name=PYPI.name, kind="main", source=""))
    elif named and not any(index.name.lower() == PYPI.name for index in every):
        every.append(Index(url=PYPI.url, name=PYPI.name, kind="named", source=""))
    known = {_address(index): index.name for index in reversed(every) if index.name}
    ordered: dict[tuple[str, str], Source] = {}
    searched: list[str] = []
    remarks: list[str] = []
    for index in sorted(every, key=lambda index: _KINDS.index(index.kind)):
        url = _address(index)
        key = url, index.name or known.get(url, "")
        if key in ordered:
            continue
        name = _name(key[1] or (urlsplit(url).hostname or "index"), {source.name for source in ordered.values()})
        ordered[key] = Source(name=name, url=url, verify_ssl=index.verify_ssl)
        searched += [name] if index.kind != "named" else []
        if url != index.url:
            remarks.append(
                f"Pipfile has {url} without the login that {index.source} has: write "
                "`${INDEX_USER}:${INDEX_PASSWORD}@` before its host, and set both variables."
            )
    if len(searched) > 1:
        first, *others = searched
        choices = " or ".join(f'`index = "{name}"`' for name in others)
        remarks.append(
            f"pipenv takes each package from {first}, the first [[source]] of Pipfile. Write {choices} at the packages "
            f"that {first} does not have."
        )
    return list(ordered.values()), remarks


def _address(index: Index) -> str:
    """Return the address of an index without a login; variables may stay, as pipenv knows them."""
    url = index.url.partition("?")[0].partition("#")[0]
    return without_credentials(url) if holds_credential(url) else url


def _name(name: str, taken: set[str]) -> str:
    names = [name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))]
    return next(each for each in names if each not in taken)


# Requirements


def without_comment(line: str) -> str:
    """Return a line of a list for pip without its comment."""
    return _COMMENT.sub("", line).strip()


def parse_requirements(lines: Iterable[str], origins: Mapping[str, Origin] = {}) -> tuple[dict[str, str], list[str]]:
    """Return requirements as entries of a Pipfile, and the lines that are not a plain requirement.

    `origins` says by canonical name where packages come from.
    """
    entries: dict[str, str] = {}
    left = []
    for written in lines:
        line = without_comment(written).removesuffix("\\").strip()
        line = re.sub(r"(?<!\s)\s+--hash=\S+", "", line)
        if not line or line.startswith("--hash"):
            continue
        requirement = parse_requirement(line)
        origin = origins.get(canonical_name(requirement.name), {}) if requirement else None
        if requirement is None or requirement.url or origin is None:
            left.append(line)
            continue
        marker = str(requirement.marker) if requirement.marker else ""
        version = str(requirement.specifier) or "*"
        entries[requirement.name] = render_entry(version, sorted(requirement.extras), marker, origin)
    return entries, left


def render_entry(version: str, extras: list[str], marker: str, origin: Mapping[str, str | bool] = {}) -> str:
    """Return an entry as TOML. A package from a repository or a folder has no version in it."""
    if not extras and not marker and not origin:
        return json.dumps(version)
    values: dict[str, object] = {} if origin.keys() & {"git", "path"} else {"version": version}
    values |= {**({"extras": extras} if extras else {}), **({"markers": marker} if marker else {}), **origin}
    return f"{{{', '.join(f'{key} = {json.dumps(value)}' for key, value in values.items())}}}"


# Poetry


def origin_of(written: object, indexes: Iterable[Index]) -> dict[str, str | bool] | None:
    """Return where Poetry takes a package from, as keys of a Pipfile; None if a Pipfile cannot say so."""
    table = written if isinstance(written, dict) else {}
    more = {key: value for key, value in table.items() if key not in _PLAIN}
    return find_origin(more, indexes) if more else {}


def poetry_entry(written: object, origin: Mapping[str, str | bool]) -> str | None:
    """Return Pipfile's entry for one of Poetry's; None if pip does not know the form of its version."""
    table: dict[str, Any] = written if isinstance(written, dict) else {"version": written}
    version = table.get("version", "*" if origin else None)
    if not isinstance(version, str):
        return None
    parts = [_version(part.strip()) for part in version.split(",")]
    if None in parts:
        return None
    extras = table.get("extras")
    named = sorted(one for one in extras if isinstance(one, str)) if isinstance(extras, list) else []
    return render_entry(",".join(map(str, parts)), named, str(table.get("markers", "")), origin)


def _version(part: str) -> str | None:
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
