"""Trying out an image before anybody gets it: its tests and a boot, in an engine or as processes of this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from buildpack.app.app_json import Script
from buildpack.dataclass import dataclass, field
from deployer.ci.collecting import Collect

_PASSED_ON = ("TZ", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")
_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What web is asked for, and for how many seconds; with `strict` only 2xx and 3xx will do.

    `host` is the Host header; empty for ``localhost`` and the port.
    """

    path: str = "/"
    host: str = ""
    strict: bool = False
    seconds: float = 60.0
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Booted:
    """The answer that web gave: its status, and after how many seconds."""

    status: int
    seconds: float
    reason: str = ""


class Trial(Protocol):
    """Where an image is tried out; `where` ends a sentence about it."""

    @property
    def where(self) -> str:
        """What it is called."""
        ...

    def test(self, script: Script, collect: Sequence[Collect] = ()) -> int:
        """Run the tests, with the develop packages; returns their exit code. Raises BuildpackError.

        What is to be collected is copied out afterwards, whether they passed or not.
        """
        ...

    def release(self, environment: Mapping[str, str]) -> int:
        """Run the release process to its end; returns its exit code. Raises BuildpackError."""
        ...

    def boot(self, health: Health) -> Booted:
        """Start web, ask it, stop it; raises BootError where it does not come up."""
        ...


def shell_command(script: Script) -> Sequence[str]:
    """Return the command that runs a script, its set-up first."""
    if not script.setup:
        return ["sh", "-c", script.test]
    return ["sh", "-c", 'sh -c "$1" && exec sh -c "$2"', "sh", script.setup, script.test]


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what of a pipeline's environment processes on its machine need.

    Not the rest: a pipeline's environment holds its tokens, which the app's own code, and what it depends on, need not
    know. In a container there is none of it either.
    """
    kept = {name: environ[name] for name in _PASSED_ON if name in environ}
    return {"LANG": "C.UTF-8", **kept, "PATH": environ.get("PATH") or _PATH}
