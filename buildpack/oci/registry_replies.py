"""Reads the errors in a registry's answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from buildpack.bounded import parse_json

_LONGEST_WORDS = 300
_ASKED = frozenset({"UNAUTHORIZED", "DENIED", "NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"})
"""Codes whose details name in parts what was asked for, which our message does already."""
_DEPTH = 4
"""How far down what has parts is shown."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def said_by(raw: bytes, hide: Callable[[str], str]) -> str:
    """Return what an error's body says (distribution specification, "Error Codes") as a printable line.

    `hide` takes secrets out of a text, before anything is cut off or written otherwise.
    """
    parts = []
    for entry in _entries(raw):
        detail = entry.get("detail")
        known = str(entry.get("code")).upper() in _ASKED and not isinstance(detail, str)
        told = (entry.get("code"), entry.get("message"), None if known else detail)
        parts.append(": ".join(dict.fromkeys(filter(None, (_plain(each, hide) for each in told)))))
    text = "; ".join(filter(None, parts))
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split()).rstrip(".")
    return line if len(line) <= _LONGEST_WORDS else line[: _LONGEST_WORDS - 1] + "…"


def _plain(value: object, hide: Callable[[str], str]) -> str:
    """Write a text as it is, and what has parts, as many details have, as JSON."""
    if isinstance(value, str) or not value:
        return hide(str(value or ""))
    return json.dumps(_hidden(value, hide, _DEPTH), ensure_ascii=False)


def _hidden(value: object, hide: Callable[[str], str], depth: int) -> object:
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, dict | list) and not depth:
        return "…"
    if isinstance(value, dict):
        return {hide(str(name)): _hidden(each, hide, depth - 1) for name, each in value.items()}
    return [_hidden(each, hide, depth - 1) for each in value] if isinstance(value, list) else value


def codes_in(raw: bytes) -> frozenset[str]:
    """Return the codes of an error's body, in capitals."""
    return frozenset(str(entry.get("code") or "").upper() for entry in _entries(raw))


def digests_in(raw: bytes) -> tuple[str, ...]:
    """Return every digest that an error's details name, wherever it stands there: registries differ."""
    found = [match for entry in _entries(raw) for match in _DIGEST.findall(json.dumps(entry))]
    return tuple(dict.fromkeys(found))


def _entries(raw: bytes) -> list[dict[str, Any]]:
    try:
        body = parse_json(raw)
    except ValueError:
        return []
    if not isinstance(body, dict):
        return []
    listed = body.get("errors")
    if isinstance(listed, list):
        return [entry for entry in listed if isinstance(entry, dict)]
    # Token servers answer in OAuth2's form (RFC 6749, 5.2), or with one error and no list.
    code, message = body.get("error") or body.get("code"), body.get("error_description") or body.get("message")
    return [{"code": code, "message": message or body.get("details")}] if code or message or body.get("details") else []
