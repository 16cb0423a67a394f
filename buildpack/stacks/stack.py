"""What an image stands on: the types, and the choice between the three kinds of stacks.

host                      this machine's interpreter           host.py
python:3.12-slim          an image in a registry               registry.py
oci:DIR, archive:FILE     an image on disk                     layout.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from buildpack.dataclass import dataclass, field
from buildpack.oci.digest import Digest
from buildpack.oci.image import Layer, Platform
from buildpack.oci.store import Store
from buildpack.stacks.platforms import native_platform

if TYPE_CHECKING:
    from buildpack.oci.transport import Transport


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
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What only the contents of a base tell; they follow from its digest.

    `libc` is a name and a version: ``("glibc", 2, 36)``. `sonames` are the shared libraries that the loader finds.
    `passwd` and `group` are the contents of the files in ``/etc``, None where the base has none.
    """

    python: StackPython
    libc: tuple[str, int, int]
    machine: str
    sonames: frozenset[str]
    passwd: str | None = None
    group: str | None = None

    def render(self) -> dict[str, Any]:
        """Return what JSON can hold, for the store and for an image's annotation."""
        return {
            "python": {
                "version": self.python.version,
                "executable": self.python.executable,
                "implementation": self.python.implementation,
                "cache_tag": self.python.cache_tag,
            },
            "libc": list(self.libc),
            "machine": self.machine,
            "sonames": sorted(self.sonames),
            "passwd": self.passwd,
            "group": self.group,
        }

    @classmethod
    def parse(cls, rendered: Any) -> Facts | None:
        """Read what `render` returned; None for anything else."""
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

    `name` is as it was asked for, `reference` says exactly what it is today (``host`` for the host). `digest`
    identifies it: that of the base's manifest, for the host that of its layers' diff_ids. `config` is the
    ``config`` object of the base's image config.

    `identity` tells what the host's layers are made of, before they are written; empty for other stacks. `packages`
    lists the operating system's packages whose files the host's layers hold (`packages.list_packages`).

    While all `witnesses`, paths that need not exist, stay as they are, and until `expires` (seconds since 1970),
    resolving it again gives the same.

    `claimed` tells that the facts are an earlier image's word, which says nothing of `sonames`: nobody looked into the
    base's layers, which need not be here.
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
    def libc(self) -> tuple[str, int, int]:
        """``("glibc", 2, 36)`` or ``("musl", 1, 2)``."""
        return self.facts.libc

    @property
    def machine(self) -> str:
        """The architecture as ``uname -m`` names it."""
        return self.facts.machine

    @property
    def sonames(self) -> frozenset[str]:
        """Shared libraries that the loader finds."""
        return self.facts.sonames

    @property
    def passwd(self) -> str | None:
        """``/etc/passwd`` in the base."""
        return self.facts.passwd

    @property
    def group(self) -> str | None:
        """``/etc/group`` in the base."""
        return self.facts.group


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """How to start a Python of exactly the stack's version on this machine: `argv` first, then its own arguments.

    `env` is to be added to the (empty) environment; `own` tells whether it is the stack's own file.
    """

    argv: tuple[str, ...]
    version: str
    env: Mapping[str, str] = field(default_factory=dict)
    own: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NoInterpreter:
    """Why no such Python starts here."""

    reason: str


def resolve_stack(
    value: str,
    *,
    python: str | None,
    store: Store,
    environ: Mapping[str, str],
    platform: str | None = None,
    pull: bool = False,
    offline: bool = False,
    now: float | None = None,
    system: str = sys.platform,
    own: str | None = None,
    known_facts: Callable[[Digest], Any] | None = None,
    machine: str = "",
    known_layers: Callable[[str], tuple[Layer, ...]] | None = None,
    transport: Transport | None = None,
) -> Stack:
    """Find out what this stack is: its layers, its config, its Python.

    `python` is the app's version (``3.11`` or ``3.11.7``). Without a `platform` it is that of `machine`, which is as
    ``uname -m`` says it, and by default this one. An unpinned tag is looked up again on `pull`, or 24 hours
    before `now` (seconds since 1970). `own` is the interpreter that runs this; `known_facts` may know a base's
    facts by its manifest's digest, from an earlier image's annotation, so that it need not be downloaded;
    `known_layers` may know the host's by their identity, so that they need not be written. Registries are spoken to
    through `transport`, or one of their own from `environ`. Raises StackError.
    """
    platform = platform or str(native_platform(machine))
    if value == "host":
        from buildpack.stacks.host import resolve_host

        return resolve_host(
            python,
            store=store,
            environ=environ,
            platform=platform,
            system=system,
            own=own,
            known_layers=known_layers,
        )
    if value.startswith(("oci:", "archive:")):
        from buildpack.stacks.layout import resolve_layout

        return resolve_layout(value, python=python, store=store, platform=platform, known_facts=known_facts)
    from buildpack.stacks.registry import resolve_registry

    return resolve_registry(
        value,
        python=python,
        store=store,
        platform=platform,
        pull=pull,
        offline=offline,
        now=time.time() if now is None else now,
        known_facts=known_facts,
        environ=environ,
        transport=transport,
    )


def fetch_layers(stack: Stack, store: Store, environ: Mapping[str, str], transport: Transport | None = None) -> None:
    """Make sure that all the stack's blobs are in the store, verified; raises StackError where one cannot be had."""
    missing = [layer for layer in stack.layers if not store.has(layer.digest, layer.size)]
    if not missing:
        return
    if stack.name.startswith(("oci:", "archive:")):
        from buildpack.stacks.layout import copy_layers

        copy_layers(stack.name, missing, store)
    elif stack.name == "host":
        from buildpack.errors import stacks as errors

        raise errors.host_layer_lost(missing[0].digest)
    else:
        from buildpack.stacks.registry import pull_layers

        pull_layers(stack.reference, missing, store, environ, transport)


def interpreter(stack: Stack, store: Store, environ: Mapping[str, str]) -> Interpreter | None:
    """Return how to start the stack's own Python here, or one of exactly its version; None where there is neither."""
    from buildpack.stacks.run_python import start_interpreter

    found = start_interpreter(stack, store, environ)
    return found if isinstance(found, Interpreter) else None
