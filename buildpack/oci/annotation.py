"""Values of annotations that hold JSON: packed, because every push sends them."""

from __future__ import annotations

import base64
import zlib
from typing import Any

from buildpack.bounded import parse_json

_PACKED = "z"
"""The first character of what is packed; JSON begins with another one."""
_LEVEL = 12
_LARGEST = 1 << 20
"""Bytes of JSON, so that a small text does not become a large one without end."""


def pack(raw: bytes) -> str:
    """Return JSON as DEFLATE (RFC 1951) in base 85; the same text on every machine."""
    import deflate

    return _PACKED + base64.b85encode(deflate.deflate_compress(raw, _LEVEL)).decode()


def unpack(text: str) -> Any:
    """Return the value of such a text, or of plain JSON, which earlier versions wrote; raises ValueError."""
    if not text.startswith(_PACKED):
        return parse_json(text)
    inflater = zlib.decompressobj(wbits=-15)
    try:
        raw = inflater.decompress(base64.b85decode(text[1:]), _LARGEST)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not inflater.eof:
        raise ValueError("it is cut short, or too long")
    return parse_json(raw)
