"""Find the imports of the modules that the processes start; each needs a package of the lock, or a file in the image.

A regular expression searches the files in microseconds each. Only a file with an import that nothing seems to bring is
parsed.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from buildpack.app.bindings import try_parse
from buildpack.app.checks.image_files import Files
from buildpack.app.checks.packages import find_owners
from buildpack.app.lockfile import Lock
from buildpack.dataclass import dataclass, field

_IMPORT = re.compile(
    rb"^([ \t]{0,32})(?:import[ \t]+([A-Za-z_][^#;\n]{0,400})"
    rb"|from[ \t]+(\.{0,8}[\w.]{0,200})[ \t]+import[ \t]*(?:\(([^)]{0,4000})\)|([^#;\n]{0,400})))",
    re.MULTILINE,
)
_ALIAS = re.compile(r"\s*([\w.]+)(?:\s+as\s+\w+)?\s*")
_MOST_FILES = 400
_MOST_BYTES = 2 << 20
_DJANGO = ("apps", "models", "admin", "urls", "views", "signals", "tasks", "middleware")
"""Modules that Django, or an extension of it, imports from an installed app."""
_STANDARD = sys.stdlib_module_names | frozenset(
    # Modules of other versions of Python, of type checkers, and of servers that are not packages.
    (
        *("asynchat", "asyncore", "binhex", "distutils", "formatter", "imp", "macpath", "parser", "smtpd", "symbol"),
        *("tomllib", "annotationlib", "compression", "_typeshed", "__main__", "uwsgi", "uwsgidecorators", "mod_wsgi"),
    )
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """The start of a process: a file of the app, or a module, and the folders that it imports from."""

    search: tuple[str, ...]
    path: str = ""
    module: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Import:
    """An import of a module that the image's files do not have, at the top level of a module of the app.

    `left_out` is the file in the folder that would be the module and that the image lacks; empty if there is none.
    `certain` is true if a process surely runs the import when it starts.
    """

    module: str
    path: str
    line: int
    certain: bool
    left_out: str = ""

    @property
    def place(self) -> str:
        """The file and its line."""
        return f"{self.path}:{self.line}"


def find_imports(
    starts: Sequence[Start], files: Files, *, brought: Collection[str] = (), django: bool = False
) -> list[Import]:
    """List the imports of modules that neither the app nor Python has, in all modules that the processes reach.

    `brought` are modules that packages bring: a file that imports nothing else is not parsed. An import in a `try`, an
    `if` or a function may be optional, and does not count.
    """
    if not starts:
        return []
    held = frozenset((*brought, *files.brought, *_STANDARD))
    search = tuple(dict.fromkeys(folder for start in starts for folder in (*start.search, "")))
    return _Walk(files=files, held=held, django=django, search=search).run(starts)


def list_missing(
    imports: Iterable[Import], lock: Lock, brought: Collection[str]
) -> Iterator[tuple[Import, tuple[str, ...]]]:
    """Yield the first import of each module that no package of the lock seems to have, judged by names.

    With each come the packages that are known to bring it. `brought` are modules that the lock's packages bring or, by
    their names, may bring. An import that may not run does not count if a package of dev-packages brings it.
    """
    locked = {package.name for package in lock.packages}
    develop = {package.name for package in lock.develop}
    seen: set[str] = set()
    for one in imports:
        owners = find_owners(one.module)
        named = not {one.module, one.module.lower()}.isdisjoint(brought)
        if one.module in seen or named or not locked.isdisjoint(owners):
            continue
        if one.certain or develop.isdisjoint((*owners, one.module.replace("_", "-").lower())):
            seen.add(one.module)
            yield one, owners


@dataclass(kw_only=True, slots=True)
class _Walk:
    """A walk through the app's modules, along their imports; `search` are the folders that these start from."""

    files: Files
    held: frozenset[str]
    django: bool
    search: tuple[str, ...]
    certain: list[str] = field(default_factory=list)
    probable: list[str] = field(default_factory=list)
    found: list[Import] = field(default_factory=list)

    def run(self, starts: Sequence[Start]) -> list[Import]:
        """Visit each module once, those that surely run first."""
        own = {part.partition(".")[0] for path in self.files.paths for part in path.split("/")}
        tops = [name for name in self._top_names() if name.isascii() and name.isidentifier()]
        strings = re.compile(rb"['\"]((?:" + "|".join(tops).encode() + rb")(?:\.\w{1,99}){0,9})['\":]")
        for start in starts:
            self.certain.append(start.path)
            for folder in start.search:
                self.certain.extend(self._modules(folder, start.module, ()))
        seen: set[str] = set()
        size = 0
        while (self.certain or self.probable) and len(seen) < _MOST_FILES and size < _MOST_BYTES:
            sure = bool(self.certain)
            path = self.certain.pop() if sure else self.probable.pop()
            if path in seen or not path.endswith(".py"):
                continue
            seen.add(path)
            content = self.files.read(path)
            if content:
                size += len(content)
                self._visit(path, content, own, sure=sure)
                for name in strings.findall(content) if tops else ():
                    self._follow_string(name.decode())
        return sorted(self.found, key=lambda one: not one.certain)

    def _top_names(self) -> list[str]:
        """List the first names of the app's own modules."""
        prefixes = [f"{folder}/" if folder else "" for folder in self.search]
        code = [path for path in self.files.paths if path.endswith(".py")]
        inside = (path.removeprefix(prefix) for path in code for prefix in prefixes if path.startswith(prefix))
        return sorted({path.partition("/")[0].removesuffix(".py") for path in inside})

    def _visit(self, path: str, content: bytes, own: Collection[str], *, sure: bool) -> None:
        """Follow the imports of one module, and keep those without a file."""
        lacking: dict[str, str] = {}
        for indented, module, names in list_imports(content):
            inside = [
                one for folder, inner in self._places(path, module) for one in self._modules(folder, inner, names)
            ]
            (self.certain if sure and not indented else self.probable).extend(inside)
            if inside or indented:
                continue
            first = module.partition(".")[0]
            if first and not self.held.isdisjoint({first, first.lower()}):
                continue
            left_out = self._left_out(path, module, names)
            if left_out or (first and first not in own):
                lacking.setdefault(module, left_out)
        if lacking:
            self.found.extend(_confirm(path, content, lacking, certain=sure))

    def _places(self, path: str, module: str) -> Iterator[tuple[str, str]]:
        """Yield the folders in which a module may be, and its name there, relative imports resolved."""
        inner = module.lstrip(".")
        if level := len(module) - len(inner):
            parts = path.split("/")[:-level]
            if len(path.split("/")) >= level:
                yield "/".join(parts), inner
            return
        for folder in self.search:
            yield folder, inner

    def _modules(self, folder: str, module: str, names: Sequence[str]) -> Iterator[str]:
        """Yield the files that run when a module, and names from it, are imported."""
        place, paths = folder, self.files.paths
        for part in filter(None, module.split(".")):
            place = f"{place}/{part}" if place else part
            if f"{place}/__init__.py" in paths:
                yield f"{place}/__init__.py"
            elif f"{place}.py" in paths:
                yield f"{place}.py"
                return
        for name in names:
            inner = f"{place}/{name}" if place else name
            yield from (one for one in (f"{inner}.py", f"{inner}/__init__.py") if one in paths)

    def _left_out(self, path: str, module: str, names: Sequence[str]) -> str:
        """Return the file of a module that the image leaves out; empty if there is none."""
        for folder, inner in self._places(path, module):
            for name in [inner] if inner else names:
                if found := self.files.left_out_module(name, [folder]):
                    return found
        return ""

    def _follow_string(self, dotted: str) -> None:
        """Follow a string such as ``polls.apps.PollsConfig``, which a framework may import."""
        for folder in self.search:
            self.probable.extend(self._modules(folder, dotted, ()))
            if self.django:
                package = "/".join(filter(None, (folder, *dotted.partition(".apps")[0].split("."))))
                self.probable.extend(one for name in _DJANGO if (one := f"{package}/{name}.py") in self.files.paths)


def list_imports(content: bytes) -> Iterator[tuple[bool, str, tuple[str, ...]]]:
    """Yield each apparent import: whether it is indented, the module, and the names imported from it."""
    for found in _IMPORT.findall(content):
        indent, modules, origin, inside, plain = (part.decode(errors="replace") for part in found)
        if modules:
            for module in modules.split(","):
                if alias := _ALIAS.fullmatch(module):
                    yield bool(indent), alias[1], ()
        elif origin:
            words = re.sub(r"#[^\n]*|\\", "", inside or plain).split(",")
            yield bool(indent), origin, tuple(alias[1] for word in words if (alias := _ALIAS.fullmatch(word)))


def _confirm(path: str, content: bytes, lacking: dict[str, str], *, certain: bool) -> Iterator[Import]:
    """Yield the imports that are statements at the module's top level, and that no other statement makes optional."""
    if (tree := try_parse(content)) is None:
        return
    top = list(_named(tree.body))
    every = Counter(name for name, _ in _named(ast.walk(tree)))
    plain = Counter(name for name, _ in top)
    for module, line in top:
        # If the same import is in a `try` or an `if` elsewhere, the module can work without it.
        if module in lacking and every[module] == plain[module]:
            first = module if lacking[module] else module.partition(".")[0]
            yield Import(module=first, path=path, line=line, certain=certain, left_out=lacking[module])


def _named(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, int]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), node.lineno
