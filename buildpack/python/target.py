"""The markers and the tags of wheels that an interpreter accepts.

They follow from the stack's facts, never from the machine that builds.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from types import MappingProxyType

from buildpack.dataclass import dataclass

_LEGACY_MANYLINUX = {(2, 17): "manylinux2014", (2, 12): "manylinux2010", (2, 5): "manylinux1"}
_ALSO_RUNS = {"armv8l": ("armv8l", "armv7l")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A CPython on Linux.

    `version` is exact (``3.11.7``); `machine` is the kernel's name of it (``x86_64``, ``aarch64``); `libc` has a name
    with major and minor version.
    """

    version: str
    machine: str
    libc: tuple[str, int, int]

    @property
    def python_version(self) -> str:
        """Major and minor version, as in the marker ``python_version``."""
        return ".".join(self.version.split(".")[:2])

    @property
    def environment(self) -> MappingProxyType[str, str]:
        """The values of all markers (PEP 508). Those about the kernel are empty: no stack decides them."""
        return MappingProxyType(
            {
                "implementation_name": "cpython",
                "implementation_version": self.version,
                "os_name": "posix",
                "platform_machine": self.machine,
                "platform_python_implementation": "CPython",
                "platform_release": "",
                "platform_system": "Linux",
                "platform_version": "",
                "python_full_version": self.version,
                "python_version": self.python_version,
                "sys_platform": "linux",
            }
        )

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags of wheels that work, best first (PEP 425, 600 and 656)."""
        return _tags(self.python_version, self.machine, self.libc)

    @property
    def key(self) -> str:
        """A text that differs for each target, for keys of remembered facts."""
        name, major, minor = self.libc
        return f"cpython-{self.version}-linux-{self.machine}-{name}-{major}.{minor}"

    def __str__(self) -> str:
        name, major, minor = self.libc
        return f"CPython {self.version} on {self.machine} with {name} {major}.{minor}"


@cache
def _tags(python_version: str, machine: str, libc: tuple[str, int, int]) -> tuple[str, ...]:
    """Return the tags that `packaging.tags` gives, which takes 8 ms, most of them for imports."""
    major, minor = (int(part) for part in python_version.split("."))
    own, platforms = f"cp{major}{minor}", list(_platforms(machine, libc))
    pythons = [f"py{major}{minor}", f"py{major}", *(f"py{major}{older}" for older in range(minor - 1, -1, -1))]
    older_abis = [f"cp{major}{older}-abi3" for older in range(minor - 1, 1, -1)]
    abis = [f"{own}-{own}", f"{own}-abi3", f"{own}-none", *older_abis]
    accepted = [f"{each}-{platform}" for each in abis for platform in platforms]
    accepted += [f"{each}-none-{platform}" for each in pythons for platform in platforms]
    return (*accepted, f"{own}-none-any", *(f"{each}-none-any" for each in pythons))


def _platforms(machine: str, libc: tuple[str, int, int]) -> Iterator[str]:
    name, major, minor = libc
    machines = _ALSO_RUNS.get(machine, (machine,))
    yield from (f"linux_{each}" for each in machines)
    for each in machines:
        if name == "musl":
            yield from (f"musllinux_{major}_{older}_{each}" for older in range(minor, -1, -1))
        else:
            yield from _manylinux(each, major, minor)


def _manylinux(machine: str, major: int, minor: int) -> Iterator[str]:
    oldest = 5 if machine in {"x86_64", "i686"} else 17
    for older in range(minor, oldest - 1, -1):
        yield f"manylinux_{major}_{older}_{machine}"
        if alias := _LEGACY_MANYLINUX.get((major, older)):
            yield f"{alias}_{machine}"
