"""Which names a module binds at its top level, told generously: where it may bind more than shows, nothing is told."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator

from buildpack.dataclass import dataclass

_DYNAMIC = re.compile(
    rb"\b(?:globals|locals|vars|exec|eval|setattr|__getattr__|__dict__|__path__|sys\.modules|modules\[|"
    rb"global_enum|lazy_loader|lazy_import|LazyModule|import_module|__import__|load_module)\b"
)
"""Words of modules whose names come about in ways that no syntax tree shows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Globals:
    """The names that importing a module binds, each with the line of its first binding.

    `script` are those that are bound only under ``if __name__ == "__main__"``; `functions` are plain ones with
    the least and the most arguments that they take by position, None being any number.
    """

    names: dict[str, int]
    script: dict[str, int]
    functions: dict[str, tuple[int, int | None]]


def parse_globals(source: bytes) -> Globals | None:
    """Parse a module; None where it may bind names that do not show, or this Python cannot parse it.

    The app's Python may be newer than this one, so a syntax error here is none there.
    """
    if _DYNAMIC.search(source):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in the app's code is its own affair
            tree = ast.parse(source)
        names: dict[str, int] = {}
        script: dict[str, int] = {}
        functions: dict[str, tuple[int, int | None]] = {}
        for statement in tree.body:
            into = script if is_script_part(statement) else names
            for name, line in _bound(statement):
                if name == "*":
                    return None
                into.setdefault(name, line)
                functions.pop(name, None)
            if isinstance(statement, ast.FunctionDef) and not statement.decorator_list:
                functions[statement.name] = _arity(statement)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return Globals(names=names, script=script, functions=functions)


def is_script_part(statement: ast.stmt) -> bool:
    """Say whether this is ``if __name__ == "__main__":`` without an ``else``."""
    if not isinstance(statement, ast.If) or statement.orelse or not isinstance(statement.test, ast.Compare):
        return False
    compared = [statement.test.left, *statement.test.comparators]
    named = any(isinstance(one, ast.Name) and one.id == "__name__" for one in compared)
    main = any(isinstance(one, ast.Constant) and one.value == "__main__" for one in compared)
    return named and main and isinstance(statement.test.ops[0], ast.Eq)


def _bound(node: ast.AST) -> Iterator[tuple[str, int]]:
    """Give the names that running this binds in the module, ``*`` for a star import; more rather than fewer."""
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
