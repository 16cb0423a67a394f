from __future__ import annotations

import dataclasses

from buildpack.oci.digest import Digest
from buildpack.oci.image import Platform
from buildpack.stacks.libraries import missing_sonames
from buildpack.stacks.stack import Facts, Stack, StackPython

FACTS = Facts(
    python=StackPython(version="3.12.4", executable="/usr/local/bin/python3.12", cache_tag="cpython-312"),
    libc=("glibc", 2, 36),
    machine="x86_64",
    sonames=frozenset({"libc.so.6", "libm.so.6"}),
)
STACK = Stack(
    name="python:3.12-slim",
    reference="docker.io/library/python:3.12-slim",
    digest=Digest("ab" * 32),
    platform=Platform(),
    layers=(),
    config={},
    facts=FACTS,
)


def test_numpy_without_libstdcxx() -> None:
    needed = {"numpy": frozenset({"libc.so.6", "libstdc++.so.6", "libgcc_s.so.1"}), "six": frozenset[str]()}
    [warning] = missing_sonames(needed, STACK)
    assert warning == (
        "numpy needs libgcc_s.so.1, libstdc++.so.6, which the stack python:3.12-slim lacks: importing it may fail. "
        "Debian has them in libgcc-s1, libstdc++6. Use a stack that has them, or take another wheel."
    )


def test_an_unknown_library_on_the_host() -> None:
    host = dataclasses.replace(STACK, name="host")
    [warning] = missing_sonames({"odd": frozenset({"libodd.so.1"})}, host)
    assert warning == (
        "odd needs libodd.so.1, which the stack host lacks: importing it may fail. "
        "That stack holds only what its Python needs. Use a stack that has it, or take another wheel."
    )


def test_nothing_is_missing() -> None:
    assert missing_sonames({"numpy": frozenset({"libc.so.6"})}, STACK) == ()
