"""Compare the shared libraries that wheels need with those that the stack has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from buildpack.errors import stacks as errors
from buildpack.stacks.stack import Stack

__all__ = ["MissingLibraries", "missing_sonames", "warn_of_missing_libraries"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingLibraries:
    """What one wheel needs and the stack lacks, sorted."""

    wheel: str
    sonames: tuple[str, ...]


def missing_sonames(needed: Mapping[str, frozenset[str]], sonames: frozenset[str]) -> tuple[MissingLibraries, ...]:
    """Return what each wheel needs beyond `sonames` and what the wheels themselves bring, sorted by wheel."""
    return tuple(_missing(needed, sonames))


def _missing(needed: Mapping[str, frozenset[str]], sonames: frozenset[str]) -> Iterator[MissingLibraries]:
    for wheel in sorted(needed):
        if lacking := needed[wheel] - sonames:
            yield MissingLibraries(wheel=wheel, sonames=tuple(sorted(lacking)))


def warn_of_missing_libraries(needed: Mapping[str, frozenset[str]], stack: Stack) -> tuple[str, ...]:
    """Return a warning for each wheel that needs a shared library which the stack lacks.

    A warning and no error: a wheel may hold modules that nobody imports, such as Pillow's for Tk.
    """
    found = missing_sonames(needed, stack.sonames)
    return tuple(errors.libraries_missing(each.wheel, each.sonames, stack.name) for each in found)
