"""Searches a wheel's files for the shared libraries that they need, imports of pkg_resources, and namespace packages.

This inflates each library and module: 5 ms for a megabyte of a wheel.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from buildpack.dataclass import dataclass
from buildpack.oci.content import Sources, reader
from buildpack.python.wheel_zip import MAX_TEXT, ZipMember
from buildpack.system.elf import MACHINES, parse_elf

_LIBRARY = re.compile(r"\.so(?:\.[0-9]+)*$")
_IMPORT = re.compile(
    rb"""^(?:from[ \t]+pkg_resources\b
           |import[ \t]+(?:[\w.]+(?:[ \t]+as[ \t]+\w+)?,[ \t]*)*pkg_resources\b
           |__import__\(['"]pkg_resources['"]\))""",
    re.MULTILINE | re.VERBOSE,
)
"""Only without indentation: the author can do without an import in a `try`, an `if` or a function."""
_TEXTS = re.compile(rb"""\A(?:\s|\#[^\n]*+\n)*+(?P<quotes>\"{3}|'{3})[\s\S]*?(?P=quotes)|\#[^\n]*""")
"""A docstring at the beginning, and comments."""
_DECLARES = re.compile(
    rb"""[ \t]*(?:try:|except(?:[ \t]\w+)?:|pass|import[ ]pkgutil|import[ ]pkg_resources
         |from[ ]pkgutil[ ]import[ ]extend_path
         |(?:__import__\(['"]pkg_resources['"]\)|pkg_resources)\.declare_namespace\(__name__\)
         |__path__[ ]?=[ ]?(?:(?:__import__\(['"]pkgutil['"]\)|pkgutil)\.)?extend_path\(__path__,[ ]?__name__\)
         )?[ \t]*""",
    re.VERBOSE,
)
_LONGEST_DECLARATION = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """The findings: `needed` are sonames that no file of the wheel provides, `provided` those that its files provide.

    `namespaces` are the members that only declare a package to which other wheels add modules.
    """

    needed: tuple[str, ...]
    provided: tuple[str, ...]
    imports_pkg_resources: bool
    namespaces: tuple[str, ...]


def scan_members(members: Iterable[ZipMember], *, machine: str) -> Scan:
    """Search the modules, and the libraries for this machine (``x86_64``; empty for any)."""
    needed: set[str] = set()
    provided: set[str] = set()
    namespaces: list[str] = []
    imports = ships = False
    with Sources() as sources:
        for member in members:
            if member.name.endswith(".py"):
                ships = ships or member.name.startswith("pkg_resources/")
                imports = imports or (not in_tests(member.name) and _imports_pkg_resources(sources, member))
                if member.name.endswith("/__init__.py") and _declares_a_namespace(sources, member):
                    namespaces.append(member.name)
            elif _LIBRARY.search(member.name) or member.executable or ".data/scripts/" in member.name:
                with reader(member.content) as read_at:
                    elf = parse_elf(read_at)
                if elf is not None and (elf.machine == machine or machine not in MACHINES.values()):
                    needed.update(elf.needed)
                    provided.update(filter(None, (elf.soname, member.name.rpartition("/")[2])))
    return Scan(
        needed=tuple(sorted(needed - provided)),
        provided=tuple(sorted(provided)),
        imports_pkg_resources=imports and not ships,
        namespaces=tuple(sorted(namespaces)),
    )


def in_tests(name: str) -> bool:
    """Return True for a module in a `tests` or `test` folder, which no app imports when it serves."""
    return not {"tests", "test"}.isdisjoint(name.split("/")[:-1])


def _imports_pkg_resources(sources: Sources, member: ZipMember) -> bool:
    if member.content.size > MAX_TEXT:
        return False
    try:
        body = sources.whole(member.content, limit=MAX_TEXT)
    except ValueError:
        return False  # the layer writer reports the damage
    return b"pkg_resources" in body and _IMPORT.search(body) is not None


def _declares_a_namespace(sources: Sources, member: ZipMember) -> bool:
    """Return True if a module only declares a namespace for pkgutil or setuptools; False for an empty one."""
    if not 0 < member.content.size <= _LONGEST_DECLARATION:
        return False
    try:
        body = sources.whole(member.content)
    except ValueError:
        return False
    return all(_DECLARES.fullmatch(line) for line in _TEXTS.sub(b"", body).splitlines())
