"""Refresh what a build stands on: Pipfile.lock by pipenv, and the stack's digest in deploy.toml."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from buildpack.bounded import parse_json
from buildpack.dataclass import dataclass, field
from buildpack.errors.app import no_such_folder
from buildpack.net.sockets import CA_VARIABLES
from buildpack.python.build_settings import COMPILER_VARIABLES
from buildpack.system.processes import Guard, Outcome, ProcessGroup, leaving_nothing
from buildpack.system.temporary import create_temporary, sweep, temporary_folder
from deployer.errors.locking import lock_failed, no_package_to_move, no_pipfile, pipenv_missing

if TYPE_CHECKING:
    from buildpack.app.pipfile import Pipfile

_PREFIX = ".deploy-"
"""Begins the names of temporary files in the app's folder; no image holds them (`never_enters`)."""
_TELL = 5.0
"""Seconds between the lines that say that pipenv is still at work."""
_SHOWN = 30
"""Lines of pipenv's output that an error quotes."""
_MOST_LINES = 10_000
"""Lines of pipenv's output that are searched for a conflict."""
_SECRET = 6
"""Characters of a value that is taken out of messages; a shorter one, such as `1`, is no secret."""
_BUILD_FAILED = re.compile(r"Failed to build |Failed building |subprocess-exited-with-error|metadata-generation-failed")
"""What pip says if a package's own code fails."""
_VARIABLE = re.compile(r"\$\{?(\w+)")
_PREFIXES = ("PIP_", "PIPENV_", "LC_", "GIT_SSH", "GIT_SSL_", "GIT_PROXY_", "GIT_HTTP_")
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})
_PASSED_ON = COMPILER_VARIABLES | {
    *("HOME", "USER", "LOGNAME", "LANG", "TZ", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "CFLAGS", "CXXFLAGS"),
    *("GIT_ASKPASS", "GIT_CONFIG_GLOBAL", "SSH_AUTH_SOCK", "NETRC", *CA_VARIABLES),
}
"""Variables that pipenv, pip, git and compilers obey (docs/decisions/0025)."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """What a lock changed: versions of packages, and the names of the files that were written."""

    changes: tuple[Change, ...]
    written: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to lock.

    `pipfile` is Pipfile's new text, None if it stays. `move` are the packages to move, None for all. `variables` are
    for builds of packages, in addition to the environment; the values of those in `given` must not be shown.
    """

    pipfile: str | None = None
    move: frozenset[str] | None = frozenset()
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    given: frozenset[str] = frozenset()


_KEEPING = """\
import sys
from dataclasses import replace
from pipenv.cli import cli
from pipenv.routines import lock
whole, pins = lock.do_lock, sys.argv.pop(1)
def do_lock(project, ctx):
    options = replace(ctx.execution_options, extra_pip_args=("--constraint", pins))
    return whole(project, replace(ctx, execution_options=options))
lock.do_lock = do_lock
sys.exit(cli())
"""
"""`pipenv lock` with a file of constraints: `do_lock` passes arguments to pip, but the command has no option for it."""


def run_pipenv(
    folder: Path,
    order: Order,
    *,
    python: str,
    place: Path,
    environ: Mapping[str, str],
    pipenv: str,
    verbose: bool,
    tell: Callable[[float], object] = lambda _seconds: None,
) -> Locked:
    """Lock the app with ``pipenv lock``, write Pipfile.lock and a changed Pipfile, and return what changed.

    `python` is the interpreter to resolve for, `pipenv` the one that has pipenv. Pipenv's own environment and its
    temporary files, in which it writes logins of indexes, are made in a folder in `place`, which is removed. `tell` is
    called at the start, and then now and then, with the seconds that pipenv has run. Pipenv works on a copy, so a
    failure changes neither file. Raises AppError without a Pipfile or for one that cannot be read, UsageError for a
    package to move that the app does not have, and DependencyError if pipenv fails.
    """
    from buildpack.app.pipfile import parse_pipfile, read_pipfile
    from buildpack.app.textfile import read_bytes

    if not os.path.isdir(folder):
        raise no_such_folder(str(folder))
    asked = read_pipfile(folder) if order.pipfile is None else parse_pipfile(order.pipfile)
    if asked is None:
        raise no_pipfile(folder)
    _check_variables(asked)
    pipfile = read_bytes(folder, "Pipfile") or b""
    wanted = pipfile if order.pipfile is None else order.pipfile.encode()
    before = read_bytes(folder, "Pipfile.lock")
    _check_move(order.move or (), asked, before)
    with leaving_nothing() as guard, temporary_folder(place) as scratch, _copied(folder.resolve(), guard) as copy:
        guard.remove(scratch)
        copy.write_bytes(wanted)
        locked = _lock_of(copy)
        if before is not None:
            locked.write_bytes(before)
        run = _command(
            copy,
            order,
            python=python,
            scratch=scratch,
            environ=environ,
            pipenv=pipenv,
            tell=tell,
            verbose=verbose,
            guard=guard,
        )
        tell(0.0)
        pins = {} if order.move is None else _pins(before, asked, order.move)
        output, ended = _lock_copy(run, pins, scratch=scratch)
        if ended:
            if "No module named" in output and "pipenv" in output:
                raise pipenv_missing(pipenv)
            end = _last_lines(output.replace(copy.name, "Pipfile"), _secrets(wanted, order, environ))
            built = _BUILD_FAILED.search(output) is not None
            raise lock_failed(folder, end, edited=order.pipfile is not None, built=built)
        after = locked.read_bytes()
    written = _write_pair(folder, (pipfile, wanted), (before, after))
    return Locked(changes=compare_locks(versions_of(before), versions_of(after)), written=written)


def _check_move(packages: Iterable[str], pipfile: Pipfile, lock: bytes | None) -> None:
    """Refuse to move a package that neither Pipfile nor the lock has."""
    from buildpack.app.pipfile import canonical

    known = {canonical(name.partition(" (")[0]) for name in versions_of(lock)}
    known |= {wanted.name for section in ("default", *pipfile.categories) for wanted in pipfile.wanted(section)}
    for name in packages:
        if canonical(name) not in known:
            raise no_package_to_move(name, sorted(known))


@contextmanager
def _copied(folder: Path, guard: Guard) -> Iterator[Path]:
    """Make an empty file for a copy of Pipfile, and remove it with its lock; also what killed processes left.

    It is beside Pipfile, because paths in Pipfile are relative to its folder.
    """
    sweep(folder, prefix=_PREFIX)
    for left in folder.glob(f"{_PREFIX}*.part.lock"):
        if not left.with_suffix("").exists():
            left.unlink(missing_ok=True)
    descriptor, copy = create_temporary(folder, prefix=_PREFIX)
    try:
        os.fchmod(descriptor, 0o600)
        guard.remove(_lock_of(copy))
        guard.remove(copy)
        yield copy
    finally:
        _lock_of(copy).unlink(missing_ok=True)
        copy.unlink(missing_ok=True)
        os.close(descriptor)


def _lock_of(pipfile: Path) -> Path:
    return pipfile.with_name(f"{pipfile.name}.lock")


def _check_variables(pipfile: Pipfile) -> None:
    """Refuse the variables that `buildpack.app.sources.check_variables` refuses: pipenv would send them."""
    from buildpack.app.indexes import check_variables

    listed = pipfile.document.get("source")
    sources = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    packages = [each for section in ("default", *pipfile.categories) for each in pipfile.wanted(section)]
    check_variables(
        {f"the source `{each.get('name', '')}`": str(each.get("url", "")) for each in sources},
        {
            f"{each.name} (Pipfile:{each.line})": str(each.table.get("git") or each.table.get("file") or "")
            for each in packages
        },
        file="Pipfile",
    )


_Run = Callable[[Path | None], Outcome]


def _command(
    pipfile: Path,
    order: Order,
    *,
    python: str,
    scratch: Path,
    environ: Mapping[str, str],
    pipenv: str,
    tell: Callable[[float], object],
    verbose: bool,
    guard: Guard,
) -> _Run:
    """Return a function that runs pipenv, with a file of constraints or without.

    Pipenv runs the `setup.py` of a package to learn what it requires, so both get named variables only. `tell` is
    called every few seconds with how many it has run.
    """
    import shlex

    temporary = scratch / "tmp"
    temporary.mkdir()
    named = _named(environ, pipfile.read_text(encoding="utf-8", errors="replace"))
    secrets = _secrets(pipfile.read_bytes(), order, environ)

    def show(line: str) -> None:
        sys.stderr.write(_redacted(line.replace(pipfile.name, "Pipfile"), secrets) + "\n")

    env: dict[str, str] = {
        **named,
        **order.variables,
        **{name: named[name] for name in ("PATH", "HOME") if name in named},
        "TMPDIR": str(temporary),
        "WORKON_HOME": str(scratch),
        "PIPENV_VENV_IN_PROJECT": "0",
        "PIPENV_IGNORE_VIRTUALENVS": "1",
        "PIPENV_PIPFILE": str(pipfile),
        "PIPENV_DONT_USE_PYENV": "1",
        "PIPENV_NOSPIN": "1",
        "PIPENV_YES": "1",
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    for name in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "PIPENV_ACTIVE"):
        env.pop(name, None)

    def run(constraints: Path | None) -> Outcome:
        # Pipenv writes the arguments on a line of a requirements file, so the path is quoted.
        how = ["-m", "pipenv"] if constraints is None else ["-c", _KEEPING, shlex.quote(str(constraints))]
        # -P: pipenv must not import the app's own modules, `queue.py` for example.
        argv = [pipenv, "-P", *how, "lock", "--python", python]
        # At a terminal git may ask for a passphrase, and Ctrl-C reaches all that pipenv started.
        group = ProcessGroup(in_session=not sys.stdin.isatty(), guard=guard)
        heard = show if verbose else None
        begin = time.monotonic()
        with ThreadPoolExecutor(max_workers=1) as pool:
            try:
                running = pool.submit(
                    group.run, argv, folder=pipfile.parent, environment=env, heard=heard, kept=_MOST_LINES
                )
                while not wait((running,), timeout=_TELL).done:
                    tell(time.monotonic() - begin)
                return running.result()
            except BaseException:
                group.stop(signal.SIGKILL)
                raise

    return run


def _named(environ: Mapping[str, str], pipfile: str) -> dict[str, str]:
    """Return the variables that pipenv, pip, git and compilers obey, and those that Pipfile names."""
    named = set(_VARIABLE.findall(pipfile))
    return {
        name: value
        for name, value in environ.items()
        if name in named or name in _PASSED_ON or name.lower() in _PROXIES or name.startswith(_PREFIXES)
    }


def _lock_copy(run: _Run, pins: dict[str, str], *, scratch: Path) -> tuple[str, int]:
    """Run pipenv, again without the pins that pip names in a conflict; return the last output and exit code."""
    from buildpack.app.pipfile import canonical

    constraints = scratch / "constraints.txt"
    while True:
        constraints.write_text("".join(f"{name}{version}\n" for name, version in sorted(pins.items())))
        done = run(constraints if pins else None)
        output = "\n".join(done.lines)
        named = (_NEEDED.findall(output), _NEEDING.findall(output)) if "ResolutionImpossible" in output else ()
        freed = next((found for each in named if (found := pins.keys() & set(map(canonical, each)))), set())
        if not done.code or not freed:
            return output, done.code
        for name in freed:
            del pins[name]


_NEEDED = re.compile(r"(?:depends on|The user requested(?: \(constraint\))?) ([A-Za-z0-9][A-Za-z0-9._-]*)")
_NEEDING = re.compile(r"^\s+([A-Za-z0-9][A-Za-z0-9._-]*) \S+ depends on ", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VERSION = re.compile(r"={2,3}[A-Za-z0-9.+!_-]+")


def _pins(lock: bytes | None, pipfile: Pipfile, move: Iterable[str]) -> dict[str, str]:
    """Return the versions to keep, by canonical name, as in ``==1.0``.

    A package of which two categories lock different versions has none, and one of which Pipfile asks for another.
    """
    from buildpack.app.pipfile import canonical

    versions: dict[str, set[str]] = {}
    try:
        document: Any = parse_json(lock or b"{}")
        for category, entries in document.items():
            for name, entry in (entries or {}).items() if category != "_meta" else ():
                version = str(entry.get("version", ""))
                if _NAME.fullmatch(name) and _VERSION.fullmatch(version):
                    versions.setdefault(canonical(name), set()).add(version)
    except (ValueError, AttributeError):
        return {}
    moved = {canonical(name) for name in move}
    for wanted in (each for section in ("default", *pipfile.categories) for each in pipfile.wanted(section)):
        if not all(_allows(wanted.specifier, version) for version in versions.get(wanted.name, ())):
            moved.add(wanted.name)
    return {name: found.pop() for name, found in versions.items() if len(found) == 1 and name not in moved}


def _allows(specifier: str, version: str) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        return SpecifierSet(specifier).contains(version.lstrip("="), prereleases=True)
    except InvalidSpecifier:
        return True


def _write_pair(folder: Path, pipfile: tuple[bytes, bytes], lock: tuple[bytes | None, bytes]) -> tuple[str, ...]:
    """Write Pipfile and Pipfile.lock if they changed, both or neither; return the names of those that changed.

    Each is given as it was and as it will be.
    """
    changed = pipfile[0] != pipfile[1]
    if changed:
        _replace(folder / "Pipfile", pipfile[1])
    try:
        if lock[0] != lock[1]:
            _replace(folder / "Pipfile.lock", lock[1])
    except BaseException:
        if changed:
            _replace(folder / "Pipfile", pipfile[0])
        raise
    return tuple(name for name, (old, new) in (("Pipfile", pipfile), ("Pipfile.lock", lock)) if old != new)


def _replace(path: Path, content: bytes) -> None:
    """Replace a file of the app as a whole, without writing through a link."""
    descriptor, beside = create_temporary(path.parent, prefix=_PREFIX)
    try:
        with os.fdopen(descriptor, "wb") as out:
            os.fchmod(descriptor, path.stat().st_mode & 0o777 if os.path.exists(path) else 0o644)
            out.write(content)
            out.flush()
            beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


_TRACE = re.compile(r"^Traceback \(most recent call last\):\n(?:[ \t].*\n)*", re.MULTILINE)


def _last_lines(output: str, secrets: Iterable[str]) -> str:
    """Return the end of what pipenv said; a login in it was pipenv's to print, and is ours not to repeat."""
    lines = [line.rstrip() for line in _TRACE.sub("", output).splitlines() if line.strip()]
    return _redacted("\n".join(lines[-_SHOWN:]), secrets)


def _redacted(text: str, secrets: Iterable[str]) -> str:
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "[redacted]")
    return re.sub(r"(?<=://)[^/@\s]+@", "", text)


def _secrets(pipfile: bytes, order: Order, environ: Mapping[str, str]) -> set[str]:
    """Return the values of variables that must not be shown, as they are and as URLs quote them.

    Those are the ones that Pipfile names, above all in addresses of indexes, and those that were given for builds.
    """
    from urllib.parse import quote

    named = _VARIABLE.findall(pipfile.decode(errors="replace"))
    values = {environ[name] for name in named if environ.get(name)}
    values |= {order.variables[name] for name in order.given if len(order.variables[name]) >= _SECRET}
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
