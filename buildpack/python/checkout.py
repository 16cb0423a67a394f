"""Sources that come from git, at the locked commit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from buildpack.app.sources import expand_url
from buildpack.errors import sdist as errors
from buildpack.processes import ProcessGroup
from buildpack.python.credentials import Secret, open_address, redact, without_secrets

if TYPE_CHECKING:
    from buildpack.app.lockfile import LockedPackage

__all__ = ["fetch_commit"]

_SILENCE = "60"
"""Seconds without a byte from a server: as for indexes."""


def fetch_commit(package: LockedPackage, folder: Path, environ: Mapping[str, str]) -> None:
    """Check the locked commit of a package out into an empty folder, with its submodules.

    A login in the URL goes to git in its environment: not on its command line, and not into ``.git/config``.
    Raises DependencyError where git is missing or fails.
    """
    import shutil

    git = shutil.which("git", path=environ.get("PATH"))
    if git is None:
        raise errors.no_git(package.name)
    written = (package.git or "").removeprefix("git+")
    url, login = open_address(written, environ, where=f"the git repository of {package.name}")
    # ssh://git@host needs its user, which is no secret.
    if login is not None and not url.startswith(("http://", "https://")):
        url, login = expand_url(written, environ, where=package.name), None
    secrets = [login.password or login.user] if login else []
    environment = _environment(environ, url, login.user if login else None, login.password if login else None)
    ref = package.ref or ""
    # ssh may ask at the terminal for what unlocks a key.
    group = ProcessGroup(in_session=url.startswith(("http://", "https://")))
    # Not every server gives a commit that no branch points at: then everything is fetched.
    attempts = [
        [["init", "-q"], ["fetch", "-q", "--depth=1", "--", url, ref]],
        [["fetch", "-q", "--", url, "+refs/*:refs/fetched/*"]],
    ]
    output = ""
    for commands in attempts:
        output = _run_all([git], commands, folder, environment, group)
        if not output:
            break
    if not output:
        output = _run_all(
            [git],
            [["checkout", "-q", "--detach", ref], ["submodule", "-q", "update", "--init", "--recursive", "--depth=1"]],
            folder,
            environment,
            group,
        )
    if output:
        raise errors.git_failed(package.name, without_secrets(url), ref, redact(output, secrets))


def _run_all(
    git: list[str], commands: list[list[str]], folder: Path, environment: Mapping[str, str], group: ProcessGroup
) -> str:
    """Run commands until one fails; return what that one said, "" when none does."""
    for command in commands:
        ran = group.run([*git, *command], folder=folder, environment=environment)
        if ran.code:
            return "\n".join(ran.lines).strip() or f"git {command[0]} ended with status {ran.code}"
    return ""


def _environment(environ: Mapping[str, str], url: str, user: Secret | None, password: Secret | None) -> dict[str, str]:
    # The user's own git configuration stays: it knows credential helpers, proxies and certificates.
    environment = {name: value for name, value in environ.items() if not name.startswith("GIT_CONFIG_")}
    environment.update(GIT_TERMINAL_PROMPT="0", LC_ALL="C")
    # A server that says nothing is not waited for for ever; whoever has a slow one says so as git has it.
    environment.setdefault("GIT_HTTP_LOW_SPEED_LIMIT", "1")
    environment.setdefault("GIT_HTTP_LOW_SPEED_TIME", _SILENCE)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # set where a hook calls us
        environment.pop(name, None)
    if user is not None and password is not None:
        from base64 import b64encode

        pair = b64encode(f"{user.reveal()}:{password.reveal()}".encode()).decode()
        environment["GIT_CONFIG_COUNT"] = "1"
        environment["GIT_CONFIG_KEY_0"] = f"http.{without_secrets(url)}.extraHeader"
        environment["GIT_CONFIG_VALUE_0"] = f"Authorization: Basic {pair}"
    return environment
