"""Summarises a wheel: its metadata, its paths, the libraries that it needs, imports of pkg_resources, and namespaces.

This inflates each library and module: 5 ms for a megabyte of a wheel.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Any

from buildpack.dataclass import asdict, dataclass
from buildpack.oci.content import Sources, reader
from buildpack.oci.entry import Entry, Inline
from buildpack.python.about import About
from buildpack.python.venv import VenvLayout
from buildpack.python.wheel import WheelContents, in_tests
from buildpack.python.wheel_zip import MAX_TEXT
from buildpack.system.elf import MACHINES, parse_elf

NAMESPACE = " namespace"

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
_DIST_INFO = re.compile(r"[^/]+\.dist-info/")
_MOST_ROOTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One wheel's requirements and files, for a comparison with the others; `size` is that of its file, in bytes.

    `needed` are sonames that no file of the wheel provides, `provided` those that its files provide. `contents` has a
    mark for each of `paths`: files with equal marks are equal. The mark of a module that only declares a namespace, to
    which other wheels add modules, ends with `NAMESPACE`. `about` lacks the required packages, which depend on the
    target.
    """

    name: str
    version: str
    size: int
    needed: tuple[str, ...]
    provided: tuple[str, ...]
    requires: tuple[str, ...]
    paths: tuple[str, ...]
    contents: tuple[str, ...]
    roots: tuple[str, ...]
    pkg_resources: bool
    about: About
    warnings: tuple[str, ...]

    def render(self) -> dict[str, Any]:
        """Return the summary as JSON values, for the store."""
        return {**asdict(self), "about": self.about.render()}

    @classmethod
    def parse(cls, value: Any) -> Summary | None:
        """Read what `render` returned; None for anything else."""
        try:
            about = About.parse(value["about"])
            fields: dict[str, Any] = {
                name: tuple(each) if isinstance(each, list) else each for name, each in value.items()
            }
            return cls(**{**fields, "about": about}) if about is not None else None
        except (AttributeError, KeyError, TypeError):
            return None


def summarise(contents: WheelContents, *, size: int, machine: str, layout: VenvLayout) -> Summary:
    """Search the modules of a wheel, and its libraries for this machine (``x86_64``; empty for any).

    `size` is in bytes, and `layout` is that of the wheel's environment.
    """
    needed: set[str] = set()
    provided: set[str] = set()
    marks: list[str] = []
    imports = ships = False
    with Sources() as sources:
        for entry in contents.entries:
            place, mark = _place(entry.path, layout.root), _mark(entry)
            if place.endswith(".py"):
                ships = ships or place.startswith("pkg_resources/")
                imports = imports or (not in_tests(place) and _imports_pkg_resources(sources, entry))
                if place.endswith("/__init__.py") and _declares_a_namespace(sources, entry):
                    mark += NAMESPACE
            elif (_LIBRARY.search(place) or entry.mode & 0o100) and not isinstance(entry.content, Inline | None):
                with reader(entry.content) as read_at:
                    elf = parse_elf(read_at)
                if elf is not None and (elf.machine == machine or machine not in MACHINES.values()):
                    needed.update(elf.needed)
                    provided.update(filter(None, (elf.soname, place.rpartition("/")[2])))
            marks.append(mark)
    paths = tuple(entry.path for entry in contents.entries)
    return Summary(
        name=contents.name,
        version=contents.version,
        size=size,
        needed=tuple(sorted(needed - provided)),
        provided=tuple(sorted(provided)),
        requires=contents.requires_dist,
        paths=paths,
        contents=tuple(marks),
        roots=find_roots(paths, layout.root),
        pkg_resources=imports and not ships,
        about=contents.about,
        warnings=contents.warnings,
    )


def _mark(entry: Entry) -> str:
    """Return size, checksum and mode of a file from the wheel's directory. Nothing is unpacked."""
    content = entry.content
    body = content.body if isinstance(content, Inline) else b""
    found = zlib.crc32(body) if content is None or isinstance(content, Inline) else content.crc32
    return f"{content.size if content else 0:x} {found:x} {entry.mode:o}"


def _read(sources: Sources, entry: Entry, most: int) -> bytes:
    """Return a module's text; empty if it is larger than `most` bytes, or damaged, which the layer writer reports."""
    if entry.content is None or entry.content.size > most:
        return b""
    try:
        return b"".join(sources.pieces(entry.content))
    except ValueError:
        return b""


def _imports_pkg_resources(sources: Sources, entry: Entry) -> bool:
    body = _read(sources, entry, MAX_TEXT)
    return b"pkg_resources" in body and _IMPORT.search(body) is not None


def _declares_a_namespace(sources: Sources, entry: Entry) -> bool:
    """Return True if a module only declares a namespace for pkgutil or setuptools; False for an empty one."""
    body = _read(sources, entry, _LONGEST_DECLARATION)
    return bool(body) and all(_DECLARES.fullmatch(line) for line in _TEXTS.sub(b"", body).splitlines())


def find_roots(paths: Sequence[str], environment: str) -> tuple[str, ...]:
    """Return the top files and folders of a wheel without its ``.dist-info``, sorted.

    A folder that only has folders, such as that of a namespace, may belong to several wheels, so the folders in it are
    returned. Paths in site-packages are relative to it; others begin with a slash, which means the `environment`.
    ``""`` alone means too many.
    """
    places = [place for path in paths if not _DIST_INFO.match(place := _place(path, environment))]
    holding = {place.rpartition("/")[0] for place in places} - {"", "/bin"}
    roots = sorted({_root(place, holding) for place in places})
    return tuple(roots) if len(roots) <= _MOST_ROOTS else ("",)


def _place(path: str, environment: str) -> str:
    _, installed, module = path.partition("/site-packages/")
    return module if installed else path.removeprefix(environment)


def _root(place: str, holding: set[str]) -> str:
    end = place.find("/", 1)
    while end > 0:
        if place[:end] in holding:
            return place[:end]
        end = place.find("/", end + 1)
    return place
