"""Read the names that a module binds at its top level from its syntax tree, without importing it.

`find_bindings` finds the values of a few names; `parse_globals` lists all names, rather too many than too few.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Literal

from buildpack.dataclass import dataclass

_NO_APPS = frozenset({"Typer", "Celery", "Blueprint", "APIRouter", "QApplication", "Tk", "Namespace", "ArgumentParser"})
"""Calls whose result is often named `app`, although no web server can run it."""
_ASGI = frozenset({"FastAPI", "Starlette", "Quart", "Litestar", "Sanic", "get_asgi_application", "ASGIApp"})
_DYNAMIC = re.compile(
    rb"\b(?:globals|locals|vars|exec|eval|setattr|__getattr__|__dict__|__path__|sys\.modules|modules\[|"
    rb"global_enum|lazy_loader|lazy_import|LazyModule|import_module|__import__|load_module)\b"
)
"""Modules with these words may bind names in ways that no syntax tree shows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """A name and its value.

    `kind` is ``other`` for a value that cannot be an app; `origin` is ``module:name`` for an imported name.
    """

    name: str
    kind: Literal["call", "import", "function", "other"]
    line: int
    origin: str = ""
    interface: Literal["wsgi", "asgi"] = "wsgi"


@dataclass(frozen=True, kw_only=True, slots=True)
class Globals:
    """The names that importing a module binds, each with the line of its first binding.

    `script` are names that are bound only under ``if __name__ == "__main__"``. `functions` are functions without
    decorators, with the least and the most arguments that they take by position; None is any number.
    """

    names: dict[str, int]
    script: dict[str, int]
    functions: dict[str, tuple[int, int | None]]


def find_bindings(source: bytes, names: Collection[str], *, module: str, package: bool) -> dict[str, Binding]:
    """Find the last binding of each of `names`; `package` says that the module is an ``__init__.py``.

    Raises SyntaxError as `parse_module` does.
    """
    found, within = {}, module if package else module.rpartition(".")[0]
    for statement in _top_level(parse_module(source).body):
        for binding in _bindings(statement, within):
            if binding.name in names:
                found[binding.name] = binding
    return found


def _top_level(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run on import, those in `if`, `try` and `with` included."""
    for statement in body:
        if isinstance(statement, ast.If):
            # `if __name__ == "__main__"` does not run on import.
            if "__name__" not in ast.unparse(statement.test):
                yield from _top_level(statement.body)
            yield from _top_level(statement.orelse)
        elif isinstance(statement, ast.Try):
            handlers = [one for handler in statement.handlers for one in handler.body]
            # The body comes after the handlers: its bindings count if nothing fails.
            yield from _top_level([*handlers, *statement.body, *statement.orelse, *statement.finalbody])
        elif isinstance(statement, ast.With):
            yield from _top_level(statement.body)
        else:
            yield statement


def _bindings(statement: ast.stmt, package: str) -> Iterator[Binding]:
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            if isinstance(target, ast.Name) and statement.value is not None:
                yield _assigned(target.id, statement.value, statement.lineno)
    elif isinstance(statement, ast.ImportFrom):
        origin = absolute_module(statement.module or "", statement.level, package)
        for alias in statement.names:
            name = alias.asname or alias.name
            yield Binding(name=name, kind="import", line=statement.lineno, origin=f"{origin}:{alias.name}")
    elif isinstance(statement, ast.Import):
        for alias in statement.names:
            yield Binding(name=alias.asname or alias.name.partition(".")[0], kind="other", line=statement.lineno)
    elif isinstance(statement, ast.FunctionDef):
        yield Binding(name=statement.name, kind=_function(statement), line=statement.lineno)
    elif isinstance(statement, ast.ClassDef | ast.AsyncFunctionDef):
        yield Binding(name=statement.name, kind="other", line=statement.lineno)


def _assigned(name: str, value: ast.expr, line: int) -> Binding:
    if not isinstance(value, ast.Call):
        return Binding(name=name, kind="other", line=line)
    called = last_name(value.func)
    return Binding(
        name=name,
        kind="other" if called in _NO_APPS else "call",
        line=line,
        interface="asgi" if called in _ASGI else "wsgi",
    )


def _function(statement: ast.FunctionDef) -> Literal["function", "other"]:
    """Return ``function`` for a factory that needs no argument, and for a WSGI function of two; else ``other``."""
    needed, _ = _arity(statement)
    is_factory = statement.name in ("create_app", "make_app")
    return "function" if needed == (0 if is_factory else 2) else "other"


def absolute_module(name: str, level: int, package: str) -> str:
    """Return the module that ``from ... import`` names in a module of `package`; `level` is the number of dots."""
    if not level:
        return name
    for _ in range(level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{name}".strip(".")


def parse_globals(source: bytes) -> Globals | None:
    """List a module's names; None if it may bind others that do not show, or if this Python cannot parse it.

    The app's Python may be newer than this one, so its syntax may be correct there.
    """
    if _DYNAMIC.search(source):
        return None
    names: dict[str, int] = {}
    script: dict[str, int] = {}
    functions: dict[str, tuple[int, int | None]] = {}
    try:
        for statement in parse_module(source).body:
            into = script if is_script_part(statement) else names
            for name, line in _bound(statement):
                if name == "*":
                    return None
                into.setdefault(name, line)
                functions.pop(name, None)
            if isinstance(statement, ast.FunctionDef) and not statement.decorator_list:
                functions[statement.name] = _arity(statement)
    except (SyntaxError, RecursionError):
        return None
    return Globals(names=names, script=script, functions=functions)


def is_script_part(statement: ast.stmt) -> bool:
    """Return True for ``if __name__ == "__main__":`` without an ``else``."""
    if not isinstance(statement, ast.If) or statement.orelse or not isinstance(statement.test, ast.Compare):
        return False
    compared = [statement.test.left, *statement.test.comparators]
    named = any(isinstance(one, ast.Name) and one.id == "__name__" for one in compared)
    main = any(isinstance(one, ast.Constant) and one.value == "__main__" for one in compared)
    return named and main and isinstance(statement.test.ops[0], ast.Eq)


def _bound(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield the names that running this binds in the module, ``*`` for a star import; rather too many than too few."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name, node.lineno
        for inner in ast.walk(node):
            if isinstance(inner, ast.Global):
                yield from ((name, inner.lineno) for name in inner.names)
        return
    if isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0], node.lineno
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id, node.lineno
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        yield node.name, node.lineno
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest, node.lineno
    for child in ast.iter_child_nodes(node):
        yield from _bound(child)


def _arity(function: ast.FunctionDef) -> tuple[int, int | None]:
    arguments = function.args
    positional = len(arguments.posonlyargs) + len(arguments.args)
    needed_by_name = sum(default is None for default in arguments.kw_defaults)
    least = positional - len(arguments.defaults) + needed_by_name
    return least, None if arguments.vararg else positional


def module_of(path: str) -> str:
    """Return the name of the module in the file at this path."""
    return path.removesuffix(".py").removesuffix("/__init__").strip("/").replace("/", ".")


def parse_module(source: bytes) -> ast.Module:
    """Parse a module; raises SyntaxError, also if `ast.parse` raises another error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape is for the app's author to see, not for a build
            return ast.parse(source)
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error) or "nests too deeply") from None


def try_parse(source: bytes) -> ast.Module | None:
    """Parse a module; None if this Python cannot."""
    try:
        return parse_module(source)
    except SyntaxError:
        return None


def assigned_once(tree: ast.Module) -> Iterator[tuple[str, ast.Assign]]:
    """Yield the names that a module binds once, by an assignment at its top level, each with that assignment."""
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
    counts = Counter(name.id for name in names if isinstance(name.ctx, ast.Store))
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name) and counts[target.id] == 1:
                    yield target.id, statement


def last_name(expression: ast.expr) -> str:
    """Return ``b`` of ``a.b`` and of ``b``; empty for any other expression."""
    if isinstance(expression, ast.Attribute):
        return expression.attr
    return expression.id if isinstance(expression, ast.Name) else ""
