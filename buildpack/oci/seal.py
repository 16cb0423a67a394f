"""Small JSON files that begin with the hash of all that follows, so that damage is seen, whatever it hits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from buildpack.oci.image import canonical_json

_BEGIN, _END = b'{"sha256":"', b'",'
_LENGTH = len(_BEGIN) + 64 + len(_END)


def seal(value: Mapping[str, object]) -> bytes:
    """Render an object, not an empty one, with its hash before it."""
    body = canonical_json(value)[1:]
    return _begin(body) + body


def parse_sealed(content: bytes) -> dict[str, Any] | None:
    """Read what `seal` rendered; None for anything that differs from it by so much as a bit."""
    if content[:_LENGTH] != _begin(content[_LENGTH:]):
        return None
    found = json.loads(content)
    assert isinstance(found, dict)
    return found


def _begin(body: bytes) -> bytes:
    return _BEGIN + hashlib.sha256(body).hexdigest().encode() + _END
