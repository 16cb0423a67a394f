"""The values of a stack, the base of an image; `resolve` finds one."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from buildpack.bounded import series_of
from buildpack.dataclass import asdict, dataclass, field
from buildpack.oci.digest import Digest
from buildpack.oci.image import Layer, Platform


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRequest:
    """The stack that an app asks for.

    `name` is ``host``, a reference, ``oci:DIR`` or ``archive:FILE``; `python` is the app's version (``3.11`` or
    ``3.11.7``). With `pull` the registry is asked what a tag means now. `own` is the interpreter that runs this, by
    default the one of this process. `now` is in seconds since 1970; `system` is as in `sys.platform`.
    """

    name: str
    python: str | None
    platform: Platform
    pull: bool = False
    own: str | None = None
    now: float = field(default_factory=time.time)
    system: str = sys.platform


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPython:
    """The stack's interpreter; `executable` is absolute, inside the image."""

    version: str
    executable: str
    implementation: str = "cpython"
    cache_tag: str

    @property
    def series(self) -> str:
        """``3.11`` of ``3.11.7``."""
        return series_of(self.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Facts that only the contents of a base show; they follow from its digest.

    `libc` is a name and a version: ``("glibc", 2, 36)``. `sonames` are the shared libraries that the loader finds.
    `passwd` and `group` are the contents of the files in ``/etc``; None if the base lacks them.
    """

    python: StackPython
    libc: tuple[str, int, int]
    machine: str
    sonames: frozenset[str]
    passwd: str | None = None
    group: str | None = None

    def render(self) -> dict[str, Any]:
        """Return the facts as JSON values, for the store and for an image's annotation."""
        return {
            "python": asdict(self.python),
            "libc": list(self.libc),
            "machine": self.machine,
            "sonames": sorted(self.sonames),
            "passwd": self.passwd,
            "group": self.group,
        }

    @classmethod
    def parse(cls, rendered: Any) -> Facts | None:
        """Read the facts from the value of `render`; None for anything else."""
        try:
            name, major, minor = rendered["libc"]
            return cls(
                python=StackPython(**rendered["python"]),
                libc=(str(name), int(major), int(minor)),
                machine=str(rendered["machine"]),
                sonames=frozenset(rendered.get("sonames", ())),
                passwd=rendered.get("passwd"),
                group=rendered.get("group"),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A resolved stack.

    `name` is the requested one; `reference` has its digest (``host`` for the host). `digest` is that of the base's
    manifest; for the host it is computed from its layers' diff_ids. `config` is the ``config`` object of the base's
    image config.

    `identity` is a hash of everything in the host's layers, known before they are written; empty for other stacks.
    `packages` lists the operating system's packages whose files the host's layers hold (`packages.list_packages`).

    Until `expires` (seconds since 1970), and while no path of `witnesses` changes (some need not exist), resolving the
    stack again gives the same result.

    `claimed` means that the facts come from an earlier image, which does not name `sonames`: the base's layers were not
    read, and the store may lack them.
    """

    name: str
    reference: str
    digest: Digest
    platform: Platform
    layers: tuple[Layer, ...]
    config: Mapping[str, Any]
    facts: Facts
    warnings: tuple[str, ...] = ()
    witnesses: tuple[str, ...] = field(default=(), compare=False, repr=False)
    expires: float | None = field(default=None, compare=False, repr=False)
    claimed: bool = field(default=False, compare=False, repr=False)
    identity: str = field(default="", compare=False, repr=False)
    packages: str = field(default="", compare=False, repr=False)

    @property
    def base_name(self) -> str:
        """The full name of the base image with its tag, ``docker.io/library/python:3.12-slim``; empty without a tag."""
        if self.name == "host" or self.name.startswith(("oci:", "archive:")):
            return ""
        from buildpack.oci.reference import parse_reference

        reference = parse_reference(self.name)
        return f"{reference.name}:{reference.tag}" if reference.tag else ""

    @property
    def python(self) -> StackPython:
        """The interpreter that apps run on."""
        return self.facts.python

    @property
    def machine(self) -> str:
        """The architecture as ``uname -m`` names it."""
        return self.facts.machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """The command that starts a Python of exactly the stack's version on this machine; its own arguments follow `argv`.

    Add `env` to the (empty) environment. `own` is true if it is the stack's own file.
    """

    argv: tuple[str, ...]
    version: str
    env: Mapping[str, str] = field(default_factory=dict)
    own: bool = True
