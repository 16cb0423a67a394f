"""Compare the shared libraries that wheels need with those that the stack has."""

from __future__ import annotations

from collections.abc import Mapping

from buildpack.errors import stacks as errors
from buildpack.stacks.stack import Stack


def missing_sonames(needed: Mapping[str, frozenset[str]], stack: Stack) -> tuple[str, ...]:
    """Return a warning for each wheel that needs shared libraries (sonames) which the stack lacks, by name.

    Warnings and no errors: a wheel may hold modules that nobody imports, such as Pillow's for Tk.
    """
    lacking = {wheel: tuple(sorted(sonames - stack.sonames)) for wheel, sonames in sorted(needed.items())}
    return tuple(errors.libraries_missing(wheel, sonames, stack.name) for wheel, sonames in lacking.items() if sonames)
