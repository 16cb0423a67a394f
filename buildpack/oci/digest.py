"""Content digests, as in the OCI image specification (descriptor.md, "Digests")."""

from __future__ import annotations

import hashlib
import re
from typing import Self

from buildpack.dataclass import dataclass

_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256 digest; `str()` gives ``sha256:<hex>``. Raises ValueError for anything but 64 hexadecimal digits."""

    hex: str

    def __post_init__(self) -> None:
        if not _HEX.fullmatch(self.hex):
            raise ValueError(f"not a sha256 digest: {self.hex!r}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``sha256:<hex>``; raises ValueError for another algorithm or form."""
        algorithm, _, value = text.partition(":")
        if algorithm != "sha256":
            raise ValueError(f"not a sha256 digest: {text!r}")
        return cls(value)

    def __str__(self) -> str:
        return f"sha256:{self.hex}"

    @property
    def short(self) -> str:
        """The first twelve hexadecimal digits, for people."""
        return self.hex[:12]


def sha256(content: bytes) -> Digest:
    """Return the digest of these bytes."""
    return Digest(hashlib.sha256(content).hexdigest())
