"""Parse variables, labels and times of the command line, the environment and `.env` files, and merge variables.

The command line comes before this process's environment, that before `.env` files, and those before defaults.
"""

from __future__ import annotations

import os
import re
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from datetime import date
from errno import EINVAL, ENAMETOOLONG
from pathlib import Path
from types import MappingProxyType
from typing import cast

from buildpack.app.app_json import is_name
from buildpack.app.links import OutsideError, find_named
from buildpack.app.textfile import read_bytes
from buildpack.bounded import open_regular, parse_integer
from buildpack.errors import app as app_errors
from buildpack.errors.hooks import bad_build_env, unset_build_env
from deployer.errors import commands as errors

_LARGEST_FILE = 1 << 20
_LARGEST_ENVIRONMENT = 2 << 20
"""Characters of all values that Linux passes to a program, with a stack of 8 MB (execve(2))."""
_LONGEST_RUN = 256
_OURS = "dev.deploy."
"""The prefix of labels that say from what an image was built; their readers rely on them."""
_NOTHING: Mapping[str, str] = MappingProxyType({})
_BLANKS = re.compile(r"[^\S\r\n]+")
_LEADS_ASTRAY = frozenset({"PYTHONHOME", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__", "XDG_RUNTIME_DIR"})
"""Variables of a shell that are not passed on. The first three make an interpreter use another one's library. Two
gunicorns with one XDG_RUNTIME_DIR use the same control socket."""


def read_env_files(
    paths: Iterable[Path | str], *, app: Path | None, own: bool, environ: Mapping[str, str]
) -> list[dict[str, str]]:
    """Read the app's own `.env` if `own`, then each file, with python-dotenv.

    ``${VAR}`` is expanded from `environ`, then from the file itself and the files before it. `environ` must be empty if
    the values leave this machine, so that the app's author, who writes the file, cannot read the user's variables. A
    name without a value (``A`` alone) is left out, ``A=`` is the empty string.

    Raises UsageError if a file does not exist. Raises AppError if a file in `app`, the app's folder, is a link out of
    it, if a file is not UTF-8, or if a line cannot be read.
    """
    read: list[dict[str, str]] = []
    if own and app is not None and os.path.isfile(app / ".env"):  # a virtual environment may have that name
        read.append(_parse_bytes(read_bytes(app, ".env") or b"", app / ".env", environ=environ))
    for path in map(Path, paths):
        raw = _read_named(path, app)
        read.append(_parse_bytes(raw, path, environ=environ, earlier=ChainMap({}, *reversed(read))))
    return read


def _read_named(path: Path, app: Path | None) -> bytes:
    """Read a file that the user named, with care if the app's author may have made it."""
    try:
        inside = find_named(app, path) if app is not None else None
        with open_regular(inside, follow=False) if inside is not None else path.open("rb") as file:
            return file.read(_LARGEST_FILE + 1)
    except OutsideError as error:
        raise app_errors.leads_out(str(path), error.filename) from None
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise errors.env_file_missing(path) from None
    except OSError as error:
        if error.errno == EINVAL:
            raise app_errors.not_a_file(str(path)) from None
        if error.errno != ENAMETOOLONG:
            raise
        raise errors.env_file_missing(path) from None


def _parse_bytes(
    raw: bytes, path: Path, *, environ: Mapping[str, str], earlier: Mapping[str, str] = _NOTHING
) -> dict[str, str]:
    if len(raw) > _LARGEST_FILE:
        raise errors.env_file_too_large(path, _LARGEST_FILE)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise errors.env_file_undecodable(path, error.start) from None
    return parse_env(text, path, environ=environ, earlier=earlier)


def parse_env(
    text: str, path: Path, *, environ: Mapping[str, str], earlier: Mapping[str, str] = _NOTHING
) -> dict[str, str]:
    """Parse the text of a `.env` file; raises AppError that names every unreadable line, without its text.

    ``${VAR}`` is expanded from `environ`, the lines above it, and `earlier`.
    """
    from io import StringIO

    from dotenv.parser import parse_stream

    values: dict[str, str] = {}
    known = ChainMap(*(cast("MutableMapping[str, str]", each) for each in (environ, values, earlier)))
    left = _LARGEST_ENVIRONMENT
    # python-dotenv's expression for comments takes quadratic time for a run of blanks.
    if found := next((run for run in _BLANKS.finditer(text) if len(run[0]) > _LONGEST_RUN), None):
        raise errors.env_file_unreadable(path, [text.count("\n", 0, found.start()) + 1])
    bad: list[int] = []
    for binding in parse_stream(StringIO(text)):
        if binding.error or "\0" in (binding.value or ""):
            blank = len(binding.original.string) - len(binding.original.string.lstrip())
            bad.append(binding.original.line + binding.original.string.count("\n", 0, blank))
        elif binding.key is not None and binding.value is not None:
            value = _expand(binding.value, known, most=left)
            if value is None:
                raise errors.env_file_expands(path, binding.original.line, _LARGEST_ENVIRONMENT)
            left -= len(value)
            values[binding.key] = value
    if bad:
        raise errors.env_file_unreadable(path, bad)
    return values


def _expand(value: str, environ: Mapping[str, str], *, most: int) -> str | None:
    """Expand ``${NAME}`` and ``${NAME:-default}`` as python-dotenv does; None if the result has more than `most`."""
    made: list[str] = []
    at = size = 0
    end = -1
    while at < len(value):
        begin = value.find("${", at)
        end = value.find("}", begin) if 0 <= end < begin or end < 0 else end
        if begin < 0 or end < 0:
            made.append(value[at:])
            size += len(made[-1])
            break
        colon = value.find(":", begin, end)
        made.append(value[at:begin])
        if colon >= 0 and not value.startswith(":-", colon):  # not a variable, but the rest may contain one
            at = begin + 2
            made.append("${")
        else:
            at = end + 1
            name, default = (
                (value[begin + 2 : colon], value[colon + 2 : end]) if colon >= 0 else (value[begin + 2 : end], "")
            )
            made.append(environ.get(name, default))
        size += len(made[-1]) + len(made[-2])
        if size > most:
            return None
    return None if size > most else "".join(made)


def pass_on(assignments: Iterable[str], environ: Mapping[str, str], *, warn: Callable[[str], object]) -> dict[str, str]:
    """Read ``K=V`` operands of `-e`, and ``K`` alone, whose value `environ` has; raises UsageError.

    One that `environ` lacks is left out with a warning.
    """
    given = []
    for text in assignments:
        if "=" in text:
            given.append(text)
        elif text in environ:
            given.append(f"{text}={environ[text]}")
        else:
            warn(f"-e {text}: this environment has no such variable; it is left out.")
    return parse_assignments(given)


def parse_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """Read ``K=V`` operands of `-e`; raises UsageError for one without a name or an equals sign."""
    values: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip() or "\0" in assignment:
            raise errors.bad_assignment(assignment)
        values[name] = value
    return values


def merge_environment(
    *,
    given: Mapping[str, str],
    environ: Mapping[str, str],
    files: Iterable[Mapping[str, str]],
    defaults: Mapping[str, str],
) -> dict[str, str]:
    """Merge by precedence: `given` (command line), `environ`, `files` (a later one overrides an earlier), `defaults`.

    An empty variable gets its default.
    """
    merged: dict[str, str] = {}
    for values in files:
        merged.update(values)
    merged.update(environ)
    merged.update(given)
    return {**merged, **{name: value for name, value in defaults.items() if not merged.get(name)}}


def local_environment(
    *,
    given: Mapping[str, str],
    environ: Mapping[str, str],
    files: Iterable[Mapping[str, str]],
    port: int | None,
    default_port: int,
    folder: Path,
    venv: Path,
) -> dict[str, str]:
    """Return the environment of processes on this machine, with the virtual environment first in PATH.

    `port` is the command line's. A PYTHONPATH of the shell is kept, after the app's `folder`.
    """
    inherited = {name: value for name, value in environ.items() if name not in _LEADS_ASTRAY}
    if inherited.get("PYTHONPATH"):
        inherited["PYTHONPATH"] = f"{folder}:{inherited['PYTHONPATH']}"
    else:
        inherited.pop("PYTHONPATH", None)
    defaults = {"PORT": str(default_port), "PYTHONUNBUFFERED": "1"}
    own = {"PORT": str(port)} if port is not None else {}
    merged = merge_environment(given={**given, **own}, environ=inherited, files=files, defaults=defaults)
    path = merged.get("PATH") or "/usr/local/bin:/usr/bin:/bin"
    return {**merged, "PATH": f"{venv}/bin:{path}", "VIRTUAL_ENV": str(venv)}


# Values of the command line and the environment


def parse_labels(texts: Iterable[str]) -> dict[str, str]:
    """Read ``K=V`` operands of `--label`; raises UsageError."""
    labels = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise errors.bad_label(text)
        if name.startswith(_OURS):
            raise errors.reserved_label(name)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise errors.undecodable_label(text) from None
        labels[name] = value
    return labels


def parse_build_env(
    texts: Iterable[str], environ: Mapping[str, str], *, folder: Path, files: Sequence[str] = ()
) -> dict[str, str]:
    """Read ``K=V`` operands of `--build-env`, and ``K`` for the value that `environ` has; raises UsageError.

    They override variables of `files`, and a later file overrides an earlier one. Raises as `read_env_files` does.
    `folder` is the app's.
    """
    variables: dict[str, str] = {}
    for found in read_env_files(files, app=folder, own=False, environ={}) if files else ():
        if bad := next((name for name in found if not is_name(name)), None):
            raise bad_build_env(bad)
        variables |= found
    for text in texts:
        name, equals, value = text.partition("=")
        if not is_name(name):
            raise bad_build_env(name)
        if not equals and name not in environ:
            raise unset_build_env(name)
        variables[name] = value if equals else environ[name]
    return variables


def parse_health_host(text: str | None) -> str:
    """Read the operand of `--health-host`; empty if it is not given. Raises UsageError."""
    from buildpack.app.health_host import is_host

    if text is not None and not is_host(text):
        raise errors.bad_health_host(text)
    return text or ""


def parse_epoch(environ: Mapping[str, str]) -> int | None:
    """Read SOURCE_DATE_EPOCH, in seconds since 1970; None if it is unset. Raises UsageError for anything else."""
    text = environ.get("SOURCE_DATE_EPOCH", "").strip()
    if not text:
        return None
    # The limit of tar headers.
    epoch = parse_integer(text, most=(1 << 33) - 1)
    if epoch is None:
        raise errors.bad_epoch(text)
    return epoch


def today() -> date:
    """Return the date with which end-of-life dates are compared."""
    return date.today()  # noqa: DTZ011  they have no time zone
