"""What an index offers: files, by project."""

from __future__ import annotations

import re
from collections.abc import Mapping

from buildpack.dataclass import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """One file that an index offers.

    `link` is absolute and may hold a login or a signature, so it never prints. `hashes` are by
    algorithm, in lower-case hexadecimal; `size` is in bytes, None where the index does not say;
    `yanked` is the reason (PEP 592), None for a file that is not.
    """

    filename: str
    link: str = field(repr=False)
    hashes: Mapping[str, str]
    size: int | None = None
    requires_python: str = ""
    yanked: str | None = None


def canonical_name(name: str) -> str:
    """Normalise a project's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
