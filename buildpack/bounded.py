"""Read numbers, ports, waits, URLs, versions, JSON and files that others wrote.

Each reader has a bound and returns None for text that it does not accept, so that no caller meets an exception of
`int`, `float`, `urlsplit` or `Version`: `int` refuses 4,301 digits, `SplitResult.port` refuses 65536, and JSON's 1e400
is infinite. Everything here takes time in proportion to the text. `deployer.runner`, which images carry, has a reader
of its own.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urljoin, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path

    from packaging.requirements import Requirement
    from packaging.version import Version

LARGEST = (1 << 63) - 1
"""The largest number that file systems, tar archives and engines count with."""
PORTS = {"http": 80, "https": 443}
_DIGITS = 40
_REQUIREMENT_LENGTH = 20_000
_VERSION_LENGTH = 1000
"""Characters. The longest specifiers on PyPI have about 200."""
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_ESCAPED = re.compile(r"\\[uU](?:0{4}|[dD][89a-fA-F])")
"""Raw, JSON and TOML accept neither of these characters; escaped they do."""


def parse_integer(text: str, *, least: int = 0, most: int = LARGEST, base: int = 10) -> int | None:
    """Read ASCII digits without sign, space or underscore; None for anything else, and outside `least` to `most`."""
    if not (text.isascii() and text.isalnum() if base == 16 else text.isascii() and text.isdigit()):
        return None
    digits = text.lstrip("0")
    if len(digits) > _DIGITS:
        return None
    try:
        number = int(digits or "0", base)
    except ValueError:
        return None
    return number if least <= number <= most else None


def parse_port(text: str) -> int | None:
    """Read the number of a TCP port, 1 to 65535; None for anything else."""
    return parse_integer(text, least=1, most=65535)


def parse_seconds(value: object, *, most: float) -> float | None:
    """Read a wait: a number of JSON, or digits. None for anything else; a longer wait than `most` is `most`."""
    if isinstance(value, str):
        text = value.strip()
        if not (text.isascii() and text.isdigit()):
            return None
        value = parse_integer(text) if len(text) < _DIGITS else most
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != value:  # noqa: PLR0124  nan
        return None
    return float(min(value, most))


def series_of(version: str) -> str:
    """Return ``3.11`` of ``3.11`` and ``3.11.7``."""
    return ".".join(version.split(".")[:2])


def parse_url(text: str) -> SplitResult | None:
    """Split a URL; None if its host, its port or a character in it makes it unusable."""
    try:
        parts = urlsplit(text)
        valid = parts.port is None or parts.port > 0
    except ValueError:
        return None
    return parts if valid else None


def join_url(base: str, target: str) -> str | None:
    """Return the absolute form of a link on the page `base`; None if it is not a usable URL."""
    try:
        joined = urljoin(base, target)
    except ValueError:
        return None
    return joined if parse_url(joined) else None


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port: what a login belongs to. All are empty for what is not a URL."""
    parts = parse_url(url)
    if parts is None:
        return "", "", 0
    return parts.scheme, (parts.hostname or "").lower(), parts.port or PORTS.get(parts.scheme, 0)


def parse_json(raw: bytes | str) -> Any:
    """Parse JSON (RFC 8259); raises ValueError for anything else.

    It also refuses deep nesting, numbers out of bounds and text that `has_unusable_text` finds.
    """
    try:
        text = raw if isinstance(raw, str) else raw.decode(json.detect_encoding(raw))
        value = _decoder().decode(text)
    except RecursionError:
        raise ValueError("it nests too deep") from None
    if has_unusable_text(text, value):
        raise ValueError("a text has a character that no text can have")
    return value


def parse_object(raw: bytes | str) -> dict[str, Any]:
    """Parse a JSON object; empty for anything else."""
    try:
        value = parse_json(raw)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def objects_in(value: object) -> list[dict[str, Any]]:
    """Return the objects in a list of JSON; none if it is not a list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def has_unusable_text(text: str, value: object) -> bool:
    """Return True if `value`, parsed from the JSON or TOML `text`, has a text with NUL or half a surrogate pair.

    No path, variable or URL can have them: the functions that take one raise ValueError.
    """
    return bool(_ESCAPED.search(text)) and any(isinstance(one, str) and _UNUSABLE.search(one) for one in walk(value))


def walk(value: object) -> Iterator[object]:
    """Yield a value of JSON or TOML, and all keys and values in it, however deep they are."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        yield one
        if isinstance(one, dict):
            waiting += [*one, *one.values()]
        elif isinstance(one, list):
            waiting += one


def _decoder() -> json.JSONDecoder:
    global _made  # noqa: PLW0603  to make it takes as long as to parse a small document
    if _made is None:
        _made = json.JSONDecoder(parse_int=_integer, parse_float=_float, parse_constant=_refuse)
    return _made


_made: json.JSONDecoder | None = None


def _integer(text: str) -> int:
    if len(text) > _DIGITS:
        raise ValueError("a number has too many digits")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is not JSON")


def parse_version(text: str) -> Version | None:
    """Parse a version (PEP 440); None for anything else."""
    from packaging.version import Version

    if len(text) > _VERSION_LENGTH:
        return None
    try:
        return Version(text)
    except ValueError:
        return None


def parse_requirement(text: str) -> Requirement | None:
    """Parse a requirement (PEP 508); None for anything else, and for markers that nest too deep."""
    from packaging.requirements import Requirement

    if len(text) > _REQUIREMENT_LENGTH:
        return None
    try:
        return Requirement(text)
    except (RecursionError, ValueError):
        return None


def allows_version(specifier: str, version: str) -> bool | None:
    """Tell whether a specifier (PEP 440) allows a version, previews included; None for what cannot be read."""
    from packaging.specifiers import SpecifierSet

    if len(specifier) > _VERSION_LENGTH:
        return None
    try:
        return SpecifierSet(specifier).contains(version, prereleases=True)
    except ValueError:
        return None


def open_regular(path: Path | str, *, follow: bool = True) -> BufferedReader:
    """Open a regular file for reading, without waiting.

    Raises OSError if it is something else, such as a pipe, whose opening may wait for ever, or a device, whose opening
    may do something. Without `follow` a link is something else, too.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  pathlib takes long to import
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    followed = 0 if follow else os.O_NOFOLLOW
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | followed)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # somebody put it in the file's place just now
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return os.fdopen(descriptor, "rb")
