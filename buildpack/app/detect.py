"""Find the app object (``blasto:APP``) in syntax trees, without importing it.

It is named `APP`, `app` or `application`, and bound at a module's top level to a call or an imported name; else it is
a factory `create_app` or `make_app`. The modules are a package's ``__init__.py``, ``app.py``, ``wsgi.py``, ``main.py``,
and these files of a package. A package named like the app (deploy.toml's `name`, else the folder's) wins, then an
object that is the only one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from buildpack.app.bindings import Binding, find_bindings
from buildpack.app.source import LARGEST_MODULE, SourceTree
from buildpack.dataclass import dataclass
from buildpack.errors import show

OBJECTS = ("APP", "app", "application")
FACTORIES = ("create_app", "make_app")
_MODULES = ("app", "wsgi", "main")
_NO_PACKAGES = frozenset(
    {"test", "tests", "doc", "docs", "example", "examples", "scripts", "migrations", "node_modules"}
)
_MARKS = tuple(name.encode() for name in (*OBJECTS, *FACTORIES))


@dataclass(frozen=True, kw_only=True, slots=True)
class AppObject:
    """The app object: gunicorn's `target`, and the file and line that bind it.

    `search` is the folder to import from, ``src`` or empty; `interface` is the kind of server that it needs.
    """

    target: str
    path: str
    line: int
    search: str = ""
    interface: Literal["wsgi", "asgi"] = "wsgi"

    @property
    def command(self) -> str:
        """The command that serves it; it binds ``$PORT``."""
        search = f" --{'app-dir' if self.interface == 'asgi' else 'pythonpath'} {self.search}" if self.search else ""
        if self.interface == "asgi":
            factory = " --factory" if self.target.endswith("()") else ""
            return f"uvicorn {self.target.removesuffix('()')}{factory}{search} --host 0.0.0.0 --port $PORT"
        target = f"'{self.target}'" if self.target.endswith("()") else self.target
        return f"gunicorn {target}{search} --worker-tmp-dir /dev/shm --graceful-timeout 20 --access-logfile -"


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """The result of a search: the app object, or the `choices` if there are several. `looked` lists the files read.

    `broken` lists files that this Python cannot parse, as ``path:line: reason``.
    """

    found: AppObject | None
    choices: tuple[AppObject, ...] = ()
    looked: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Module:
    name: str
    path: str
    search: str
    bindings: Mapping[str, Binding]
    """The bindings of the names that an app object may have."""


def detect_app(tree: SourceTree, *, name: str, commands: Sequence[str] = ()) -> Detection:
    """Find the app object of an app that is called `name`.

    `commands` are those of the Procfile: one that names an object found here (``gunicorn blasto:APP``) chooses it.
    """
    looked, broken = [], []
    modules: list[_Module] = []
    paths = frozenset(file.path for file in tree.files)
    for module, path, search in _places(tree):
        text = _read(tree, path)
        if text is None:
            continue
        looked.append(path)
        try:
            bindings = find_bindings(text, (*OBJECTS, *FACTORIES), module=module, package=path.endswith("__init__.py"))
        except SyntaxError as error:
            broken.append(f"{show(path)}:{error.lineno or 1}: {error.msg}")
            continue
        if bindings:
            modules.append(_Module(name=module, path=path, search=search, bindings=bindings))
    found, choices = _choose(modules, paths, preferred=re.sub("[-. ]", "_", name.lower()), commands=commands)
    return Detection(found=found, choices=choices, looked=tuple(looked), broken=tuple(broken))


def _places(tree: SourceTree) -> Iterator[tuple[str, str, str]]:
    """Yield module, path and search folder of each file to read, those at the top first."""
    for search in ("", "src"):
        prefix = f"{search}/" if search else ""
        nested = []
        for file in tree.files:
            if not file.path.startswith(prefix) or not file.path.endswith(".py") or file.size > LARGEST_MODULE:
                continue
            folder, slash, name = file.path.removeprefix(prefix).removesuffix(".py").rpartition("/")
            if not slash and name in _MODULES:
                yield name, file.path, search
            elif folder.isidentifier() and folder not in _NO_PACKAGES and not (folder == "src" and not search):
                if name == "__init__":
                    yield folder, file.path, search
                elif name in _MODULES:
                    nested.append((f"{folder}.{name}", file.path, search))
        yield from nested


def _read(tree: SourceTree, path: str) -> bytes | None:
    text = tree.read(path, LARGEST_MODULE + 1)
    return text if text and len(text) <= LARGEST_MODULE and any(mark in text for mark in _MARKS) else None


def _choose(
    modules: Sequence[_Module], paths: frozenset[str], *, preferred: str, commands: Sequence[str]
) -> tuple[AppObject | None, tuple[AppObject, ...]]:
    ranks: dict[tuple[int, int, int], list[AppObject]] = {}
    for module in modules:
        nested = "." in module.name
        own = module.name.partition(".")[0] == preferred
        for kind, names in enumerate((OBJECTS, FACTORIES)):
            binding = next((module.bindings[one] for one in names if _counts(module, one, modules, paths)), None)
            if binding:
                ranks.setdefault((kind, int(nested), int(not own)), []).append(_object(module, binding, modules))
    everything = [one for rank in sorted(ranks) for one in ranks[rank]]
    named = [one for one in everything if any(_names(command, one.target) for command in commands)]
    if named:
        return named[0], ()
    for rank in sorted(ranks):
        found = _without_imported(ranks[rank], modules)
        return (found[0], ()) if len(found) == 1 else (None, tuple(found))
    return None, ()


def _names(command: str, target: str) -> bool:
    plain = target.removesuffix("()")
    return any(word.strip("'\"").removesuffix("()") == plain for word in command.split())


def _counts(module: _Module, name: str, modules: Sequence[_Module], paths: frozenset[str], *, depth: int = 8) -> bool:
    """Return True if `name` may be bound to an app, and not to a module or a function that needs arguments.

    `depth` bounds the imports to follow, since they may form a circle.
    """
    binding = module.bindings.get(name)
    if binding is None or binding.kind == "other":
        return False
    if binding.kind != "import":
        return True
    # `from . import app` binds the module app.py, unless the package binds such a name itself.
    origin, _, attribute = binding.origin.rpartition(":")
    package = next((one for one in modules if one.name == origin), None)
    if depth and package is not None and package is not module and attribute in package.bindings:
        return _counts(package, attribute, modules, paths, depth=depth - 1)
    base = f"{module.search}/" if module.search else ""
    inside = f"{base}{origin.replace('.', '/')}/{attribute}" if origin else f"{base}{attribute}"
    return f"{inside}.py" not in paths and f"{inside}/__init__.py" not in paths


def _object(module: _Module, binding: Binding, modules: Sequence[_Module]) -> AppObject:
    origin, _, name = binding.origin.rpartition(":")
    made = next((one.bindings[name] for one in modules if one.name == origin and name in one.bindings), binding)
    call = "()" if binding.name in FACTORIES else ""
    return AppObject(
        target=f"{module.name}:{binding.name}{call}",
        path=module.path,
        line=binding.line,
        search=module.search,
        interface=made.interface,
    )


def _without_imported(found: Sequence[AppObject], modules: Sequence[_Module]) -> list[AppObject]:
    """Drop objects that another found module imports: `wsgi.py` with `from app import app` wins over `app.py`."""
    imported = {
        binding.origin
        for module in modules
        for name, binding in module.bindings.items()
        if binding.kind == "import" and any(one.target.removesuffix("()") == f"{module.name}:{name}" for one in found)
    }
    kept = [one for one in found if one.target.removesuffix("()") not in imported]
    return kept or list(found)
