"""Find, without a shell, the programs that a Procfile's command starts."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence

from buildpack.app.checks.options import Grammar, parse_options
from buildpack.dataclass import dataclass, field

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
"""The beginning of a word whose quote does not end."""
_KEYWORDS = frozenset(
    ("if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "function", "select")
) | frozenset(("{", "}", "!", "[[", ".", "source", "trap", "set", "eval"))
_WRAPPERS: Mapping[tuple[str, ...], tuple[str, str]] = {
    **dict.fromkeys((("newrelic-admin", "run-program"), ("pipenv", "run"), ("poetry", "run"), ("uv", "run")), ("", "")),
    **dict.fromkeys((("opentelemetry-instrument",), ("nohup",), ("command",), ("gosu",), ("su-exec",)), ("", "")),
    ("ddtrace-run",): ("", "-d --debug -p --profiling"),
    ("time",): ("", "-p"),
    ("tini",): ("-p -e", "-s -g -v -w"),
    ("dumb-init",): ("-r --rewrite", "-c --single-child -v --verbose"),
    ("env",): ("-u --unset", "-i --ignore-environment"),
    ("exec",): ("-a", "-c -l"),
    ("timeout",): ("-k --kill-after -s --signal", "-v --verbose --foreground --preserve-status"),
    ("nice",): ("-n --adjustment", ""),
    ("ionice",): ("-c --class -n --classdata", "-t --ignore"),
    ("chrt",): ("", "-b -f -i -o -r"),
    ("stdbuf",): ("-i --input -o --output -e --error", ""),
    ("setsid",): ("", "-c --ctty -f --fork -w --wait"),
    ("flock",): ("-w --timeout -E", "-n --nonblock -x -s -o -u -v"),
}
"""Programs that start another, each with its options that take a value, and those that take none."""
_WITH_OPERAND = frozenset({"timeout", "chrt", "flock", "gosu", "su-exec"})
"""Those of them that take an operand before the other program."""
SHELLS = frozenset({"sh", "bash", "dash"})
_DEEPEST = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Invocation:
    """A program and its arguments without quotes; variables and patterns are not expanded.

    `program` of ``python -m gunicorn`` is ``gunicorn``, with `module` true. `folder` is where it runs, relative to the
    app's folder; None if that is not known. `variables` are those that the command itself sets; `wrappers` are the
    programs that start this one (``newrelic-admin``).
    """

    program: str
    arguments: tuple[str, ...]
    folder: str | None = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    wrappers: tuple[str, ...] = field(default=(), compare=False)
    module: bool = field(default=False, compare=False)


def parse_command(command: str) -> tuple[Invocation, ...]:
    """Return the programs that a Procfile's command starts, in order; nothing if only a shell can read it.

    Only a shell reads substitutions, loops, conditions, groups and quotes that do not end.
    """
    return tuple(_parse(command, folder="", variables={}, depth=0) or ())


_TOOL = r"(?<![\w./-])(?:python[\d.]*[ \t]+-m[ \t]+)?(?P<tool>pipenv|poetry|uv)[ \t]+"
_RUNNER = re.compile(
    _TOOL
    + r"(?P<verb>run)[ \t]+(?:--(?:frozen|locked|no-sync|no-dev|isolated|offline|quiet|exact|verbose|no-root)[ \t]+)*"
    r"(?=(?P<word>[^\s;&|()<>'\"]*))"
)
_LONGEST_SCRIPT = 4096
_STEP = re.compile(
    r"(?:^|(?<=[;&|\n]))(?P<lead>[ \t]*)(?:\w+=\S*[ \t]+)*"
    + _TOOL
    + r"(?P<verb>[a-z]+)(?![\w-])(?<!run)[^;&|()<>\n]*(?:&&|;|\n|$)[ \t]*"
)


def without_runner(command: str, scripts: Mapping[str, str]) -> tuple[str, str]:
    """Return a command without ``pipenv run`` and the like, and the words that name the tool; empty if none do.

    Steps such as ``pipenv install`` are removed too. `scripts` are Pipfile's: the word after ``pipenv run`` may be the
    name of one.
    """
    kept, rest, tool = "", command, ""
    while found := _first(_STEP.search(rest), _RUNNER.search(rest)):
        tool = tool or f"{found['tool']} {found['verb']}"
        if found.re is _STEP:
            kept, rest = kept + rest[: found.end("lead")], rest[found.end() :]
            continue
        word = found["word"]
        script = scripts.get(word, "") if found["tool"] == "pipenv" else ""
        started = without_runner(script, {})[0] if script and len(script) <= _LONGEST_SCRIPT else word
        kept, rest = kept + rest[: found.start()] + started, rest[found.end() + len(word) :]
    return kept + rest, tool


def _first(*found: re.Match[str] | None) -> re.Match[str] | None:
    return min((one for one in found if one), key=lambda one: one.start(), default=None)


def split_words(text: str) -> tuple[str, ...] | None:
    """Split a command into words, as a shell does; None if it has operators, or if quotes do not end."""
    commands = _split(text)
    return None if commands is None or len(commands) > 1 else tuple(commands[0][0]) if commands else ()


def find_slip(command: str) -> str | None:
    """Return the part of a command that no shell can read: a quote that does not end, or a word with a bare ``(``.

    None if the command has substitutions, loops, functions or arrays.
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
            if operator in ("&&", ";", "\n"):
                folder = inside_app(folder, rest[1]) if len(rest) == 2 else None
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


def inside_app(folder: str | None, path: str) -> str | None:
    """Return `path`, as a process in `folder` means it, relative to the app's folder; None if it is outside."""
    if folder is None or "$" in path or path.startswith("~"):
        return None
    path = posixpath.normpath(posixpath.join("/app", folder, path))
    if path == "/app":
        return ""
    return path.removeprefix("/app/") if path.startswith("/app/") else None


def _start(
    words: Sequence[str], *, folder: str | None, variables: Mapping[str, str], depth: int
) -> list[Invocation] | None:
    rest, own, wrappers = list(words), dict(variables), []
    while name := next((one for one in _WRAPPERS if tuple(rest[: len(one)]) == one), None):
        values, flags = (frozenset(words.split()) for words in _WRAPPERS[name])
        rest = rest[len(name) :]
        wrappers.append(name[0])
        if name[0] == "opentelemetry-instrument":
            rest = _without_options(rest)
        if name[0] == "env" and rest[:1] == ["-"]:
            rest = rest[1:]
        options = parse_options(rest, Grammar(values=values, flags=flags, short={}), until_operand=True)
        if options is None:
            return None  # an unknown option may take a value
        more, rest = _assignments(options.operands)
        own |= more
        rest = rest[1:] if name[0] in _WITH_OPERAND else rest
        if not rest or rest[0].startswith("-"):
            return None
    program, arguments = rest[0].removeprefix("/opt/venv/bin/"), rest[1:]
    inner = _shell_command(arguments) if program in SHELLS else None
    if inner is not None:
        return _parse(inner, folder=folder, variables=own, depth=depth + 1)
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


def _shell_command(arguments: Sequence[str]) -> str | None:
    """Return the command of ``bash -exc COMMAND``; None if a shell runs something else."""
    rest = list(arguments)
    while rest and re.fullmatch(r"-[a-zA-Z]+|--login", rest[0]):
        option = rest.pop(0)
        if option.endswith("o") and rest:
            rest.pop(0)
        if "c" in option and not option.startswith("--"):
            return rest[0] if rest else None
    return None


def _without_options(words: Sequence[str]) -> list[str]:
    """Drop the leading options of ``opentelemetry-instrument``, each of which takes a value."""
    rest = list(words)
    while rest and rest[0].startswith("--"):
        rest = rest[1:] if "=" in rest[0] else rest[2:]
    return rest


def _python(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Return the module that ``python -m`` runs as the program; for a file python, without its own options."""
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
