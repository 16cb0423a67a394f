"""What names a module binds at its top level, read from its syntax tree."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Collection, Iterator, Sequence
from typing import Literal

from buildpack.dataclass import dataclass

_NO_APPS = frozenset({"Typer", "Celery", "Blueprint", "APIRouter", "QApplication", "Tk", "Namespace", "ArgumentParser"})
"""Calls whose result is often called `app` and is none that a web server runs."""
_ASGI = frozenset({"FastAPI", "Starlette", "Quart", "Litestar", "Sanic", "get_asgi_application", "ASGIApp"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """A name and what it is bound to.

    `kind` is ``other`` for what cannot be an app; `origin` is, for an imported name, ``module:name``.
    """

    name: str
    kind: Literal["call", "import", "function", "other"]
    line: int
    origin: str = ""
    interface: Literal["wsgi", "asgi"] = "wsgi"


def find_bindings(source: bytes, names: Collection[str], *, module: str, package: bool) -> dict[str, Binding]:
    """Find the last binding of each of `names`; `package` says that the module is an ``__init__.py``.

    Raises SyntaxError for whatever Python cannot parse, NUL bytes and bottomless nesting included.
    """
    try:
        with warnings.catch_warnings():
            # An invalid escape in the app's code is its own affair.
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
    except (ValueError, RecursionError, MemoryError) as error:
        raise SyntaxError(str(error) or "nests too deeply") from None
    found = {}
    for statement in _top_level(tree.body):
        for binding in _bindings(statement, module, package=package):
            if binding.name in names:
                found[binding.name] = binding
    return found


def _top_level(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Give the statements that run on import, those in `if`, `try` and `with` included."""
    for statement in body:
        if isinstance(statement, ast.If):
            # `if __name__ == "__main__"` does not run on import.
            if "__name__" not in ast.unparse(statement.test):
                yield from _top_level(statement.body)
            yield from _top_level(statement.orelse)
        elif isinstance(statement, ast.Try):
            handlers = [one for handler in statement.handlers for one in handler.body]
            # The body last: what it binds is what counts where nothing fails.
            yield from _top_level([*handlers, *statement.body, *statement.orelse, *statement.finalbody])
        elif isinstance(statement, ast.With):
            yield from _top_level(statement.body)
        else:
            yield statement


def _bindings(statement: ast.stmt, module: str, *, package: bool) -> Iterator[Binding]:
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            if isinstance(target, ast.Name) and statement.value is not None:
                yield _assigned(target.id, statement.value, statement.lineno)
    elif isinstance(statement, ast.ImportFrom):
        origin = _absolute(statement, module, package=package)
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
    function = value.func
    called = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return Binding(
        name=name,
        kind="other" if called in _NO_APPS else "call",
        line=line,
        interface="asgi" if called in _ASGI else "wsgi",
    )


def _function(statement: ast.FunctionDef) -> Literal["function", "other"]:
    """Tell factories that need no argument, and WSGI functions of two, from the rest."""
    arguments = statement.args
    positional = len(arguments.posonlyargs) + len(arguments.args)
    needed = positional - len(arguments.defaults)
    needed += sum(default is None for default in arguments.kw_defaults)
    is_factory = statement.name in ("create_app", "make_app")
    return "function" if needed == (0 if is_factory else 2) else "other"


def _absolute(statement: ast.ImportFrom, module: str, *, package: bool) -> str:
    """Return the module that `from ... import` names, relative ones made absolute."""
    if not statement.level:
        return statement.module or ""
    parts = module.split(".")
    kept = parts[: len(parts) - statement.level + (1 if package else 0)]
    return ".".join([*kept, *([statement.module] if statement.module else [])])
