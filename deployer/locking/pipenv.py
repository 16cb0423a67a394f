"""Runs ``pipenv lock`` in an environment of named variables, and again with fewer pins after a conflict."""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

from buildpack.dataclass import dataclass
from buildpack.net.sockets import CA_VARIABLES
from buildpack.python.build_settings import COMPILER_VARIABLES
from buildpack.system.guard import Guard
from buildpack.system.processes import Outcome, ProcessGroup

_TELL = 5.0
"""Seconds between the lines that say that pipenv is still running."""
_SHOWN = 30
"""Lines of pipenv's output that an error quotes."""
_MOST_LINES = 10_000
"""Lines of pipenv's output that are searched for a conflict."""
_SECRET = 6
"""The shortest value that messages leave out; a shorter one, such as `1`, is not a secret."""
_VARIABLE = re.compile(r"\$\{?(\w+)")
_PREFIXES = ("PIP_", "PIPENV_", "LC_", "GIT_SSH", "GIT_SSL_", "GIT_PROXY_", "GIT_HTTP_")
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})
_PASSED_ON = COMPILER_VARIABLES | {
    *("HOME", "USER", "LOGNAME", "LANG", "TZ", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "CFLAGS", "CXXFLAGS"),
    *("GIT_ASKPASS", "GIT_CONFIG_GLOBAL", "SSH_AUTH_SOCK", "NETRC", *CA_VARIABLES),
}
"""Variables that pipenv, pip, git and compilers obey (docs/decisions/0025)."""


_NEEDED = re.compile(r"(?:depends on|The user requested(?: \(constraint\))?) ([A-Za-z0-9][A-Za-z0-9._-]*)")
_NEEDING = re.compile(r"^\s+([A-Za-z0-9][A-Za-z0-9._-]*) \S+ depends on ", re.MULTILINE)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipenv:
    """The settings of a run of ``pipenv lock``.

    `executable` is the interpreter that has pipenv, `python` the one to resolve for. `scratch` is the folder for
    pipenv's virtual environment and its temporary files, which contain logins of indexes. `tell` is called every few
    seconds with the seconds that pipenv has run. The variables `given` are for builds of packages.
    """

    executable: str
    python: str
    scratch: Path
    environ: Mapping[str, str]
    given: Mapping[str, str]
    secrets: frozenset[str]
    guard: Guard
    verbose: bool
    tell: Callable[[float], object]

    def lock(self, pipfile: Path, pins: Mapping[str, str]) -> tuple[str, int]:
        """Lock a Pipfile with these versions, again without those that pip names in a conflict.

        Return the last output and exit code.
        """
        from buildpack.app.lockfile import canonical_name

        (self.scratch / "tmp").mkdir()
        constraints, kept = self.scratch / "constraints.txt", dict(pins)
        while True:
            constraints.write_text("".join(f"{name}{version}\n" for name, version in sorted(kept.items())))
            done = self._run(pipfile, constraints if kept else None)
            output = "\n".join(done.lines)
            named = (_NEEDED.findall(output), _NEEDING.findall(output)) if "ResolutionImpossible" in output else ()
            freed = next((found for each in named if (found := kept.keys() & set(map(canonical_name, each)))), set())
            if not done.code or not freed:
                return output, done.code
            for name in freed:
                del kept[name]

    def _run(self, pipfile: Path, constraints: Path | None) -> Outcome:
        import shlex

        def show(line: str) -> None:
            sys.stderr.write(redacted(line.replace(pipfile.name, "Pipfile"), self.secrets) + "\n")

        # Pipenv writes the arguments on a line of a requirements file, so the path is quoted.
        how = ["-m", "pipenv"] if constraints is None else ["-c", _KEEPING, shlex.quote(str(constraints))]
        # -P: pipenv must not import the app's own modules, `queue.py` for example.
        argv = [self.executable, "-P", *how, "lock", "--python", self.python]
        # At a terminal git may ask for a passphrase, and Ctrl-C reaches all that pipenv started.
        group = ProcessGroup(in_session=not sys.stdin.isatty(), guard=self.guard)
        run = partial(group.run, argv, folder=pipfile.parent, environment=self._environment(pipfile))
        begin = time.monotonic()
        with ThreadPoolExecutor(max_workers=1) as pool:
            try:
                running = pool.submit(run, heard=show if self.verbose else None, kept=_MOST_LINES)
                while not wait((running,), timeout=_TELL).done:
                    self.tell(time.monotonic() - begin)
                return running.result()
            except BaseException:
                group.stop(signal.SIGKILL)
                raise

    def _environment(self, pipfile: Path) -> dict[str, str]:
        """Return named variables only: pipenv runs the `setup.py` of a package to learn what it requires."""
        named = _named(self.environ, pipfile.read_text(encoding="utf-8", errors="replace"))
        env: dict[str, str] = {
            **named,
            **self.given,
            **{name: named[name] for name in ("PATH", "HOME") if name in named},
            "TMPDIR": str(self.scratch / "tmp"),
            "WORKON_HOME": str(self.scratch),
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
        return env


def _named(environ: Mapping[str, str], pipfile: str) -> dict[str, str]:
    """Return the variables that pipenv, pip, git and compilers obey, and those that Pipfile names."""
    named = set(_VARIABLE.findall(pipfile))
    return {
        name: value
        for name, value in environ.items()
        if name in named or name in _PASSED_ON or name.lower() in _PROXIES or name.startswith(_PREFIXES)
    }


_TRACE = re.compile(r"^Traceback \(most recent call last\):\n(?:[ \t].*\n)*", re.MULTILINE)


def last_lines(output: str, secrets: Iterable[str]) -> str:
    """Return the end of pipenv's output, without logins."""
    lines = [line.rstrip() for line in _TRACE.sub("", output).splitlines() if line.strip()]
    return redacted("\n".join(lines[-_SHOWN:]), secrets)


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return a text without these values, and without logins in URLs."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "[redacted]")
    return re.sub(r"(?<=://)[^/@\s]+@", "", text)


def secrets_of(pipfile: bytes, environ: Mapping[str, str], given: Iterable[str]) -> frozenset[str]:
    """Return the values that must not be shown, as they are and as URLs quote them.

    They are the values of variables that Pipfile names, for example in addresses of indexes, and the values `given` for
    builds.
    """
    from urllib.parse import quote

    named = _VARIABLE.findall(pipfile.decode(errors="replace"))
    values = {environ[name] for name in named if environ.get(name)}
    values |= {value for value in given if len(value) >= _SECRET}
    return frozenset(guise for value in values for guise in (value, quote(value), quote(value, safe="")))
