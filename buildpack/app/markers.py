"""Say whether a marker or a version is well-formed, without importing `packaging` for the ordinary ones.

Evaluating markers needs the stack and happens elsewhere.
"""

from __future__ import annotations

import re

from buildpack.bounded import parse_version

MARKER_NAMES = (
    "os_name",
    "sys_platform",
    "platform_machine",
    "platform_python_implementation",
    "platform_release",
    "platform_system",
    "platform_version",
    "python_version",
    "python_full_version",
    "implementation_name",
    "implementation_version",
)
"""The environment markers of PEP 508, but for ``extra``, which no lock has a use for."""

_OPERAND = rf"(?:{'|'.join(MARKER_NAMES)}|extra|'[^'\"]*'|\"[^'\"]*\")"
_COMPARISON = re.compile(rf"{_OPERAND}\s*(?:===|[=!<>~]=|[<>]|\bnot\s+in\b|\bin\b)\s*{_OPERAND}")
_JOINED = re.compile(r"\(\s*@\s*\)|@\s+(?:and|or)\s+@")
_VERSION = re.compile(r"\d{1,9}(?:\.\d{1,9}){0,9}(?:(?:a|b|rc)\d{1,9})?(?:\.post\d{1,9})?(?:\.dev\d{1,9})?")
_LIMIT = 4096


def is_marker(text: str) -> bool:
    """Say whether `text` is an environment marker as PEP 508 has it."""
    if len(text) > _LIMIT:
        return False
    rest = _COMPARISON.sub("@", text) if "@" not in text else ""
    changed = True
    while changed and rest.strip() != "@":
        rest, count = _JOINED.subn("@", rest)
        changed = bool(count)
    if rest.strip() == "@":
        return True
    from packaging.markers import InvalidMarker, Marker

    try:
        Marker(text)
    except (InvalidMarker, RecursionError):
        return False
    return True


def is_version(text: str) -> bool:
    """Say whether `text` is a version as PEP 440 has it."""
    if _VERSION.fullmatch(text):
        return True
    return parse_version(text) is not None
