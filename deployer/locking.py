"""Refresh what a build stands on: Pipfile.lock by pipenv, and the stack's digest in deploy.toml."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildpack.bounded import parse_json
from buildpack.dataclass import dataclass
from buildpack.errors.app import no_such_folder
from deployer.errors import lock_failed, no_pipfile, pipenv_missing

if TYPE_CHECKING:
    import subprocess

__all__ = ["Change", "compare_locks", "pin_stack", "run_pipenv", "versions_of"]

_TELL = 10.0
"""Seconds of silence after which somebody is told that it is still at work."""
_SHOWN = 30
"""Lines of pipenv's output that an error quotes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One package whose locked version differs; empty where it was not there, or is not any more."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        if not self.before:
            return f"{self.name} {self.after} is new"
        return f"{self.name} {self.before} -> {self.after}" if self.after else f"{self.name} {self.before} is gone"


def run_pipenv(
    folder: Path,
    *,
    python: str,
    scratch: Path,
    environ: Mapping[str, str],
    pipenv: str,
    verbose: bool,
    tell: Callable[[float], object] = lambda _seconds: None,
) -> tuple[Change, ...]:
    """Run ``pipenv lock`` in the app's folder and return what changed.

    `python` is the interpreter to resolve for, `pipenv` the one that has pipenv. Pipenv's own environment is made
    in `scratch`, not in the user's home. `tell` is told at the start, and then now and then, for how many seconds
    pipenv has run. If pipenv fails, Pipfile.lock is as it was. Raises AppError without a Pipfile or for one that cannot
    be read, DependencyError if pipenv fails.
    """
    import subprocess

    from buildpack.app.pipfile import read_pipfile
    from buildpack.app.textfile import read_bytes

    if not folder.is_dir():
        raise no_such_folder(str(folder))
    if read_pipfile(folder) is None:
        raise no_pipfile(folder)
    path = folder / "Pipfile.lock"
    before = read_bytes(folder, path.name)
    env = {
        **environ,
        "WORKON_HOME": str(scratch),
        "PIPENV_IGNORE_VIRTUALENVS": "1",
        "PIPENV_PIPFILE": str((folder / "Pipfile").resolve()),
        "PIPENV_DONT_USE_PYENV": "1",
        "PIPENV_NOSPIN": "1",
        "PIPENV_YES": "1",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PIPENV_ACTIVE"):
        env.pop(name, None)
    # -P: the app's own modules, `queue.py` say, are none of pipenv's.
    command = [pipenv, "-P", "-m", "pipenv", "lock", "--python", python]
    try:
        tell(0.0)
        with subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr if verbose else subprocess.PIPE,
            stderr=None if verbose else subprocess.STDOUT,
        ) as process:
            said = _await_end(process, tell)
    except BaseException:  # interrupted, perhaps while pipenv wrote
        _restore(path, before)
        raise
    output = said.decode(errors="replace")
    if process.returncode:
        _restore(path, before)
        if "No module named pipenv" in output:
            raise pipenv_missing(pipenv)
        raise lock_failed(folder, _last_lines(output, _secrets(read_bytes(folder, "Pipfile") or b"", environ)))
    return compare_locks(versions_of(before), versions_of(read_bytes(folder, path.name)))


def _replace(path: Path, content: bytes) -> None:
    """Replace a file of the app as a whole, without writing through a link."""
    from tempfile import mkstemp

    descriptor, beside = mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            os.fchmod(out.fileno(), path.stat().st_mode & 0o777 if path.exists() else 0o644)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink()
        raise


def _await_end(process: subprocess.Popen[bytes], tell: Callable[[float], object]) -> bytes:
    """Return what a process prints until it ends; `tell` is told every few seconds for how many it has run."""
    import subprocess

    begin = time.monotonic()
    while True:
        try:
            return process.communicate(timeout=_TELL)[0] or b""
        except subprocess.TimeoutExpired:
            tell(time.monotonic() - begin)
        except BaseException:
            process.kill()
            raise


def _restore(path: Path, content: bytes | None) -> None:
    from buildpack.app.textfile import read_bytes

    if content is None:
        path.unlink(missing_ok=True)
    elif read_bytes(path.parent, path.name) != content:
        _replace(path, content)


_TRACE = re.compile(r"^Traceback \(most recent call last\):\n(?:[ \t].*\n)*", re.MULTILINE)


def _last_lines(output: str, secrets: Iterable[str]) -> str:
    """Return the end of what pipenv said; a login in it was pipenv's to print, and is ours not to repeat."""
    lines = [line.rstrip() for line in _TRACE.sub("", output).splitlines() if line.strip()]
    text = "\n".join(lines[-_SHOWN:])
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "[redacted]")
    return re.sub(r"(?<=://)[^/@\s]+@", "", text)


def _secrets(pipfile: bytes, environ: Mapping[str, str]) -> set[str]:
    """Return the values of the variables that Pipfile names, in addresses of indexes above all, in every guise."""
    from urllib.parse import quote

    named = re.findall(r"\$\{?(\w+)", pipfile.decode(errors="replace"))
    values = {environ[name] for name in named if environ.get(name)}
    return {guise for value in values for guise in (value, quote(value), quote(value, safe=""))}


def versions_of(lock: bytes | None) -> dict[str, str]:
    """Return each package's version in a lock, those of other categories marked so; nothing for what is no lock."""
    try:
        document: Any = parse_json(lock or b"{}")
        return {
            name + ("" if category == "default" else f" ({category})"): _version_of(entry)
            for category, entries in document.items()
            if category != "_meta"
            for name, entry in (entries or {}).items()
        }
    except (ValueError, AttributeError):
        return {}


def _version_of(entry: Any) -> str:
    return str(entry.get("version") or entry.get("ref") or "*").lstrip("=")


def compare_locks(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    """Return what differs, by name."""
    return tuple(
        Change(name=name, before=before.get(name, ""), after=after.get(name, ""))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )


_STACK = re.compile(r"^(?P<key>[ \t]*stack[ \t]*=[ \t]*)(?:\"[^\"\n]*\"|'[^'\n]*')", re.MULTILINE)


def pin_stack(folder: Path, reference: str) -> bool:
    """Write `reference`, with its digest, as ``stack`` into deploy.toml; tell whether that changed anything.

    Comments and everything else stay as they are. The file is replaced as a whole.
    """
    from buildpack.app.textfile import read_text

    path = folder / "deploy.toml"
    text = read_text(folder, path.name) or ""
    value = json.dumps(reference)
    if _STACK.search(text):
        changed = _STACK.sub(lambda found: f"{found['key']}{value}", text, count=1)
    else:
        # Keys of the top level come before the first table.
        changed = f"stack = {value}\n{text}"
    if changed == text:
        return False
    _replace(path, changed.encode())
    return True
