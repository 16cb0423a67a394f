"""Turn a Procfile's command into the arguments of exec.

Every start of a process loads this module, also in a container, so it imports nothing but `os`.
"""

from __future__ import annotations

import os
from errno import ENOENT, ENOEXEC

TYPE_CHECKING = False  # of `typing`, which takes 2 ms to import
if TYPE_CHECKING:
    from typing import NoReturn

NOT_EXECUTABLE = 126
NOT_FOUND = 127

# Every shell reads a word of these characters literally. The shell gets words with quotes.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,@%+= \t")

_PROFILE = (
    'for profile in "$0"/.profile.d/*.sh "$0"/.profile; do [ ! -f "$profile" ] || . "$profile"; done; '
    'case "$1" in */*) ;; *) command -v "$1" >/dev/null || '
    '{ printf "error: %s: command not found\\n" "$1" >&2; exit 127; } ;; esac; exec "$@"'
)
"""Only the shell can look for the program, since `.profile` may set PATH."""

# Only a shell understands these words (bash's builtins that are not files in PATH, and its keywords).
_SHELL_WORDS = frozenset(
    """
    . alias bg builtin caller case cd command compgen complete declare dirs disown enable eval exec exit export fc fg
    for function getopts hash help history if jobs let local mapfile popd pushd read readarray readonly return select
    set shift shopt source suspend time times trap type typeset ulimit umask unalias unset until wait while
    """.split()  # noqa: SIM905 - forty lines of quotes would be no better to read
)


class CommandError(Exception):
    """A command that cannot be run; `code` is the exit code shells give: 126 or 127."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def command_argv(command: str, path: str) -> list[str]:
    """Return the arguments for a Procfile's command; its shell is looked for in `path`, a PATH.

    A simple command is split here, so that there is no shell between the runner and the process:
    signals reach it, and its exit code is its own. Anything else runs under bash, which Heroku's
    users write for, or under sh if there is no bash.
    """
    if _is_simple(command):
        return command.split()
    path += ":/bin:/usr/bin"
    return [_find("bash", path, os.X_OK) or _find("sh", path, os.X_OK) or "/bin/sh", "-c", command]


def with_profile(argv: list[str], app: str, path: str) -> list[str]:
    """Return arguments that start `argv` with what the app's `.profile.d/*.sh` and `.profile` export, as on Heroku.

    They are `argv` itself if `app` has neither.
    """
    if not (os.path.isfile(f"{app}/.profile") or os.path.isdir(f"{app}/.profile.d")):  # noqa: PTH112, PTH113
        return argv
    return [*command_argv(_PROFILE, path), app, *argv]


def _is_simple(command: str) -> bool:
    words = command.split(maxsplit=1)
    return bool(words) and _PLAIN.issuperset(command) and "=" not in words[0] and words[0] not in _SHELL_WORDS


def resolve_argv(argv: list[str], path: str, cwd: str = "") -> str:
    """Return the file that `argv` starts; raises CommandError in a shell's words and with its codes.

    A name with a slash is relative to `cwd`, as the process itself will see it.
    """
    name = argv[0]
    if "/" in name:
        file, seen = name, os.path.join(cwd, name)  # noqa: PTH118 - pathlib costs a container's start 5 ms
        missing = "no such file or directory"
    else:
        file = seen = _find(name, path, os.X_OK) or _find(name, path, os.F_OK)
        missing = "command not found"
    if not file or not os.path.exists(seen):  # noqa: PTH110
        raise CommandError(f"{name}: {missing}", NOT_FOUND)
    if os.path.isdir(seen):  # noqa: PTH112
        raise CommandError(f"{file}: is a directory", NOT_EXECUTABLE)
    if not os.access(seen, os.X_OK):
        raise CommandError(f"{file}: permission denied", NOT_EXECUTABLE)
    return file


def become(file: str, argv: list[str], env: dict[str, str]) -> NoReturn:
    """Turn this process into a program; a script without a valid ``#!`` line runs under the shell. Raises OSError."""
    try:
        os.execve(file, argv, env)  # noqa: S606
    except OSError as error:
        if error.errno != ENOEXEC or _is_binary(file):
            raise
    path = env.get("PATH", os.defpath) + ":/bin:/usr/bin"
    shell = _find("bash", path, os.X_OK) or _find("sh", path, os.X_OK) or "/bin/sh"
    os.execve(shell, [shell, file, *argv[1:]], env)  # noqa: S606


def _is_binary(file: str) -> bool:
    """Return True if a file is not a script, which bash decides by a NUL in its first line."""
    with open(file, "rb") as opened:  # noqa: PTH123
        return b"\0" in opened.read(80).partition(b"\n")[0]


def exec_error(error: OSError, argv: list[str]) -> CommandError:
    """Return the error that a shell would print if the kernel refused to start `argv`."""
    if error.errno == ENOENT:  # the file exists, so the interpreter that its first line names does not
        return CommandError(f"{argv[0]}: its interpreter is missing", NOT_FOUND)
    return CommandError(f"{argv[0]}: {os.strerror(error.errno or 0).lower()}", NOT_EXECUTABLE)


def _find(name: str, path: str, mode: int) -> str:
    for folder in path.split(":"):
        file = f"{folder or '.'}/{name}"
        if name and os.access(file, mode) and not os.path.isdir(file):  # noqa: PTH112
            return file
    return ""
