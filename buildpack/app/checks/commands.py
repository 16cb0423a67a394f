"""A Procfile's command as the programs that it starts, as far as that can be told without a shell."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence

from buildpack.dataclass import dataclass, field

__all__ = ["SHELLS", "Invocation", "find_slip", "inside_app", "parse_command", "split_words", "without_runner"]

_TOKEN = re.compile(
    r"""
    [ \t]*(?:
        (?P<redirection> \d*(?:&>>|&>|>>|>&|<&|<<<|<<|<>|<|>) )
      | (?P<operator> &&|\|\||;|\||&|\(|\)|\n )
      | (?P<word> (?: [^\s'"\\;|&()<>`] | \\. | '[^']*' | "(?:[^"\\]|\\.)*" )+ )
    )""",
    re.VERBOSE,
)
_PIECE = re.compile(r"""\\(.)|'([^']*)'|"((?:[^"\\]|\\.)*)"|([^'"\\]+)""", re.DOTALL)
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_PYTHON = re.compile(r"python(?:3(?:\.\d+)?)?")
_SPACE = re.compile(r"\s")
_COMMENT = re.compile(r"[ \t]*#[^\n]*")
_EXPANDED = re.compile(r"\$[('\"]|\$\{[^}]{0,1000}?['\"\\(#]")
_OPENED = re.compile(r"""(?:[^\s'"\\;|&()<>]|\\.)*['"]""")
"""A word that begins, and whose quote does not end, since it is no word."""
_KEYWORDS = frozenset(
    ("if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "function", "select")
) | frozenset(("{", "}", "!", "[[", ".", "source", "trap", "set", "eval"))
_WRAPPERS = (
    ("newrelic-admin", "run-program"),
    ("ddtrace-run",),
    ("opentelemetry-instrument",),
    ("nohup",),
    ("time",),
    ("command",),
    ("pipenv", "run"),
    ("poetry", "run"),
    ("uv", "run"),
    ("tini", "--"),
    ("dumb-init", "--"),
    ("dumb-init",),
    ("env",),
    ("exec",),
)
"""What starts the program that follows."""
SHELLS = frozenset({"sh", "bash", "dash"})
_DEEPEST = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Invocation:
    """A program and its arguments, quotes taken away; variables and patterns stand as they are written.

    `program` of ``python -m gunicorn`` is ``gunicorn``, with `module` true. `folder` is where it runs, relative to the
    app's folder; None if that cannot be told. `variables` are those that the command itself sets; `wrappers` are the
    programs that start this one (``newrelic-admin``).
    """

    program: str
    arguments: tuple[str, ...]
    folder: str | None = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    wrappers: tuple[str, ...] = field(default=(), compare=False)
    module: bool = field(default=False, compare=False)


def parse_command(command: str) -> tuple[Invocation, ...]:
    """Parse a Procfile's command into what it starts, in order; nothing where only a shell could tell.

    Left to the shell are substitutions, loops, conditions, groups and whatever does not end.
    """
    return tuple(_parse(command, folder="", variables={}, depth=0) or ())


_RUNNER = re.compile(r"(?<![\w./-])(pipenv|poetry|uv)[ \t]+run[ \t]+(?=([^\s;&|()<>'\"]*))")


def without_runner(command: str, scripts: Mapping[str, str]) -> tuple[str, str]:
    """Return a command without ``pipenv run`` and the like, and the tool that it named; empty if it named none.

    `scripts` are Pipfile's: the words that ``pipenv run`` stands before may be the name of one.
    """
    found = _RUNNER.search(command)
    if not found:
        return command, ""
    at, word = found.end(), found[2]
    script = scripts.get(word) if found[1] == "pipenv" else None
    rest = script + command[at + len(word) :] if script else command[at:]
    return command[: found.start()] + without_runner(rest, {})[0], found[1]


def split_words(text: str) -> tuple[str, ...] | None:
    """Split what has no operators into words, as a shell does; None where it has, or quotes do not end."""
    commands = _split(text)
    return None if commands is None or len(commands) > 1 else tuple(commands[0][0]) if commands else ()


def find_slip(command: str) -> str | None:
    """Return the part of a command at which every shell stops: a quote that does not end, or a word with a bare ``(``.

    Only what is surely no syntax of a shell: substitutions, loops, functions and arrays are passed over.
    """
    if "`" in command or "<<" in command or _EXPANDED.search(command):
        return None
    at, words, text = 0, 0, command.strip()
    while at < len(text):
        if comment := _COMMENT.match(text, at):
            at = comment.end()
            continue
        token = _TOKEN.match(text, at)
        if token is None:
            begun = "" if text[at].isspace() else re.split(_SPACE, text[:at])[-1]
            rest = text[at:].lstrip(" \t")
            return f"{begun}{rest}" if _OPENED.match(rest) else None
        if token["operator"] == "(" and words > 1:
            before = re.split(r"[ \t]", text[:at])[-1]
            return f"{before}{re.split(_SPACE, text[at:])[0]}" if before and before[-1] not in "=~?*+@!" else None
        if token["operator"]:
            words = 0
        elif token["word"] in _KEYWORDS:
            return None
        else:
            words += 1
        at = token.end()
    return None


def _parse(command: str, *, folder: str | None, variables: Mapping[str, str], depth: int) -> list[Invocation] | None:
    commands = _split(command)
    if commands is None or depth > _DEEPEST:
        return None
    known = dict(variables)
    found: list[Invocation] = []
    for words, operator in commands:
        own, rest = _assignments(words)
        if not rest:
            known |= own
            continue
        if rest[0] in _KEYWORDS:
            return None
        if rest[0] == "export":
            known |= _assignments(rest[1:])[0]
        elif rest[0] == "cd":
            folder = _enter(folder, rest[1:]) if operator in ("&&", ";", "\n") else folder
        else:
            started = _start(rest, folder=folder, variables=known | own, depth=depth)
            if started is None:
                return None
            found += started
    return found


def _split(text: str) -> list[tuple[list[str], str]] | None:
    """Split at operators: the words of each simple command, and the operator that follows it."""
    if "`" in text or "$(" in text:
        return None
    commands: list[tuple[list[str], str]] = []
    words: list[str] = []
    at, skip = 0, False
    text = text.strip()
    while at < len(text):
        token = _TOKEN.match(text, at)
        if token is None or token["operator"] in ("(", ")"):
            return None
        at = token.end()
        while at < len(text) and text[at] in " \t":
            at += 1
        if token["redirection"]:
            skip = True
        elif token["operator"]:
            commands.append((words, token["operator"]))
            words = []
        elif skip:
            skip = False
        else:
            words.append(_unquote(token["word"]))
    return [one for one in (*commands, (words, "")) if one[0]]


def _unquote(word: str) -> str:
    def plain(piece: re.Match[str]) -> str:
        escaped, single, double, bare = piece.groups()
        if double is not None:
            return re.sub(r'\\(["\\$`])', r"\1", double)
        return escaped if escaped is not None else single if single is not None else bare

    return _PIECE.sub(plain, word)


def _assignments(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    own = {}
    rest = list(words)
    while rest and _ASSIGNMENT.match(rest[0]):
        name, _, value = rest.pop(0).partition("=")
        own[name] = value
    return own, rest


def _enter(folder: str | None, arguments: Sequence[str]) -> str | None:
    if folder is None or len(arguments) != 1:
        return None
    return inside_app(folder, arguments[0])


def inside_app(folder: str, path: str) -> str | None:
    """Return `path`, as a process in `folder` of the app means it, relative to the app; None where it is not in it."""
    if "$" in path or path.startswith("~"):
        return None
    path = posixpath.normpath(posixpath.join("/app", folder, path))
    if path == "/app":
        return ""
    return path.removeprefix("/app/") if path.startswith("/app/") else None


def _start(
    words: Sequence[str], *, folder: str | None, variables: Mapping[str, str], depth: int
) -> list[Invocation] | None:
    rest, own, wrappers = list(words), dict(variables), []
    while wrapper := next((one for one in _WRAPPERS if tuple(rest[: len(one)]) == one), None):
        more, rest = _assignments(rest[len(wrapper) :])
        own |= more
        wrappers.append(wrapper[0])
        if wrapper[0] == "opentelemetry-instrument":
            rest = _without_options(rest)
        if not rest or rest[0].startswith("-"):
            return None  # options of the wrapper, some of which take a value
    program, arguments = rest[0].removeprefix("/opt/venv/bin/"), rest[1:]
    if program in SHELLS and len(arguments) == 2 and arguments[0] in ("-c", "-lc", "-ec"):
        return _parse(arguments[1], folder=folder, variables=own, depth=depth + 1)
    module = False
    if _PYTHON.fullmatch(program):
        python = program
        program, arguments = _python(arguments)
        module = program not in ("python", "python -c")
        wrappers += [python] if module else []
    return [
        Invocation(
            program=program,
            arguments=tuple(arguments),
            folder=folder,
            variables=own,
            wrappers=tuple(wrappers),
            module=module,
        )
    ]


def _without_options(words: Sequence[str]) -> list[str]:
    """Drop the leading options of ``opentelemetry-instrument``, each of which takes a value."""
    rest = list(words)
    while rest and rest[0].startswith("--"):
        rest = rest[1:] if "=" in rest[0] else rest[2:]
    return rest


def _python(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Return the module that ``python -m`` runs as the program; python itself, its own options away, for a file."""
    rest = list(arguments)
    while rest and rest[0].startswith("-") and len(rest[0]) > 1:
        option = rest.pop(0)
        if option == "-m" and rest:
            return rest[0], rest[1:]
        if option in ("-X", "-W") and rest:
            rest.pop(0)
        elif option == "-c" or not re.fullmatch(r"-(?:[bBdEiIOPqsSuvx]+|[XW].+)", option):
            return "python -c", []
    return "python", rest
