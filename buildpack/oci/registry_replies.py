"""Reads the errors in a registry's answers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from buildpack.bounded import objects_in, parse_object

_LONGEST = 300
"""Characters."""
_ASKED = frozenset({"UNAUTHORIZED", "DENIED", "NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN"})
"""Codes whose details repeat the request, which our message names already."""
_DEPTH = 4
"""How many levels of a detail are shown."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def said_by(raw: bytes, hide: Callable[[str], str]) -> str:
    """Return the errors in a body (distribution specification, "Error Codes") as one printable line.

    `hide` removes secrets from a text, before the text is cut or quoted.
    """
    parts = []
    for entry in _entries(raw):
        detail = entry.get("detail")
        known = str(entry.get("code")).upper() in _ASKED and not isinstance(detail, str)
        shown = (entry.get("code"), entry.get("message"), None if known else detail)
        parts.append(": ".join(dict.fromkeys(filter(None, (_plain(each, hide) for each in shown)))))
    text = "; ".join(filter(None, parts))
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split()).rstrip(".")
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def _plain(value: object, hide: Callable[[str], str]) -> str:
    """Return a text as it is, and a list or object, as many details are, as JSON."""
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
    """Return every digest anywhere in the errors, because registries put them in different places."""
    found = [match for entry in _entries(raw) for match in _DIGEST.findall(json.dumps(entry))]
    return tuple(dict.fromkeys(found))


def _entries(raw: bytes) -> list[dict[str, Any]]:
    body = parse_object(raw)
    if isinstance(body.get("errors"), list):
        return objects_in(body["errors"])
    # Token servers answer in OAuth2's form (RFC 6749, 5.2), or with one error instead of a list.
    code, message = body.get("error") or body.get("code"), body.get("error_description") or body.get("message")
    return [{"code": code, "message": message or body.get("details")}] if code or message or body.get("details") else []
