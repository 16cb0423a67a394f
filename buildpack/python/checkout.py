"""Fetches sources from git, at the locked commit."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from buildpack.app.git import call, find_git, without_filters
from buildpack.app.indexes import expand_url, split_address
from buildpack.errors import wheels as errors
from buildpack.net.pace import RATE, SILENCE, allowance
from buildpack.net.secret import Secret
from buildpack.python.credentials import open_address, redact, without_secrets
from buildpack.system.processes import ProcessGroup

if TYPE_CHECKING:
    from buildpack.app.lockfile import LockedPackage

_PROTOCOLS = "https:ssh"
"""The protocols of submodules, whose addresses the repository chooses. The lock's own address may be a file's, too."""
_TOO_SLOW = "Operation too slow"
"""Curl's words, in git's output, about a server that is slower than the least rate."""
_FROM_TAGS = re.compile(
    rb"scm|vcs|versioneer|versioningit|dynamic-versioning|dunamai|pbr|\bgit\W{1,9}(?:describe|rev-list|log|tag)\b"
)
"""Found in the files of projects that take their version from git (setuptools-scm, hatch-vcs, ...)."""
_DECLARING = ("pyproject.toml", "setup.py", "setup.cfg")
_INFINITE = 0x7FFFFFFF
"""The depth that makes git fetch the whole history; ``--unshallow`` fails if the history is complete."""
_LARGEST = 1 << 20


def fetch_commit(
    package: LockedPackage, folder: Path, environ: Mapping[str, str], *, clock: Callable[[], float] = time.monotonic
) -> None:
    """Check the locked commit of a package out into an empty folder, with its submodules.

    The history is fetched only if the package's version comes from tags. Git gets a login of the URL through its
    environment, not on its command line, and does not store it in ``.git/config``. One deadline covers all transports;
    http and https have a least rate, too. Raises DependencyError if git is missing or fails.
    """
    git = find_git(environ)
    if git is None:
        raise errors.no_git(package.name)
    written = (package.git or "").removeprefix("git+")
    url, login = open_address(written, environ, where=f"the git repository of {package.name}")
    secrets = [login.password or login.user] if login else []
    if login is not None and not url.startswith(("http://", "https://")):  # ssh://git@host needs its user
        scheme, user, rest = split_address(written)
        user = expand_url(user, environ, where=package.name)
        url, login = f"{scheme}{user}@{rest}", None
        secrets = [Secret(user)] if user not in written else []
    # The user's git configuration has credential helpers, proxies and certificates. Its filters are switched off,
    # because a stranger's .gitattributes would choose which of them run.
    config = without_filters(git, folder, environ)
    if login is not None:
        config |= {f"http.{without_secrets(url)}.extraHeader": f"Authorization: {login.header}"}
    # The pace of all transfers (docs/decisions/0026); git's own variables set other limits.
    slowest = {"GIT_HTTP_LOW_SPEED_LIMIT": str(RATE), "GIT_HTTP_LOW_SPEED_TIME": f"{SILENCE:.0f}"}
    environ = {**slowest, **environ}
    end = clock() + (seconds := allowance(None))
    ref = package.ref or ""

    def attempt(*commands: Sequence[str], protocols: str) -> str:
        """Run commands until one fails; return the output of that one, "" if none does."""
        for command in commands:
            argv, environment = call(git, str(folder), command, environ, protocols=protocols, config=config)
            try:
                ran = group.run(argv, folder=folder, environment=environment)
            except TimeoutError:
                late = f"git was stopped after {seconds / 60:.0f} minutes"
                raise errors.git_failed(package.name, without_secrets(url), ref, late, slow=True) from None
            if ran.code:
                return "\n".join(ran.lines).strip() or f"git {command[0]} ended with status {ran.code}"
        return ""

    # ssh may ask for the passphrase of a key at the terminal.
    group = ProcessGroup(in_session=url.startswith(("http://", "https://")), expired=lambda: clock() > end)
    allowed = f"{_PROTOCOLS}:file" + (":http" if _is_loopback(url) else "")
    output = attempt(["init", "-q"], ["fetch", "-q", "--depth=1", "--", url, ref], protocols=allowed)
    if output and _TOO_SLOW not in output:
        # Some servers refuse a commit that no branch points to: then everything is fetched.
        output = attempt(["fetch", "-q", "--", url, "+refs/*:refs/fetched/*"], protocols=allowed)
    output = output or attempt(["checkout", "-q", "--detach", ref], protocols="none")
    if not output and _is_from_tags(folder / (package.subdirectory or "")):
        everything = ["fetch", "-q", f"--depth={_INFINITE}", "--", url, ref, "+refs/tags/*:refs/tags/*"]
        output = attempt(everything, protocols=allowed)
    submodules = ["submodule", "-q", "update", "--init", "--recursive", "--depth=1"]
    output = output or attempt(submodules, protocols=_PROTOCOLS)
    if output:
        slow = _TOO_SLOW in output
        raise errors.git_failed(package.name, without_secrets(url), ref, redact(output, secrets), slow=slow)


def _is_from_tags(project: Path) -> bool:
    """Return True if the project's files name a tool that takes the version from tags."""
    for name in _DECLARING:
        path = project / name
        with suppress(OSError):
            if path.is_symlink() or not path.is_file():
                continue
            with path.open("rb") as file:
                text = file.read(_LARGEST)
            if _FROM_TAGS.search(text):
                return True
    return False


def _is_loopback(url: str) -> bool:
    return url.startswith("http://") and urlsplit(url).hostname in {"localhost", "127.0.0.1", "::1"}
