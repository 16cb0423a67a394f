"""Reads the small print of a registry's answers: its errors, its waits."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["ATTEMPTS", "codes_in", "digests_in", "is_busy", "pause", "retry_after", "said_by"]

ATTEMPTS = 5
_LONGEST_PAUSE = 60.0
_LONGEST_WORDS = 300
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def is_busy(status: int) -> bool:
    """Tell whether an answer may be another one in a while."""
    return status in {408, 425, 429} or (status >= 500 and status not in {501, 505})


def pause(attempt: int) -> float:
    """Return how long to wait after this many failures in a row, in seconds."""
    return float(min(0.25 * 2**attempt, _LONGEST_PAUSE))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that Retry-After (RFC 9110, 10.2.3) asks for, within reason."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return min(float(value), _LONGEST_PAUSE)
    if not value:
        return None
    from email.utils import parsedate_to_datetime

    try:
        wait = parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return None
    return min(max(wait, 0.0), _LONGEST_PAUSE)


def said_by(raw: bytes) -> str:
    """Return codes and messages of an error's body (distribution specification, "Error Codes") as a printable line."""
    parts = []
    for entry in _entries(raw):
        code, message = str(entry.get("code") or ""), str(entry.get("message") or "")
        detail = entry.get("detail")
        parts.append(": ".join(filter(None, (code, message, detail if isinstance(detail, str) else ""))))
    text = "; ".join(filter(None, parts))
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return line if len(line) <= _LONGEST_WORDS else line[: _LONGEST_WORDS - 1] + "…"


def codes_in(raw: bytes) -> frozenset[str]:
    """Return the codes of an error's body, in capitals."""
    return frozenset(str(entry.get("code") or "").upper() for entry in _entries(raw))


def digests_in(raw: bytes) -> tuple[str, ...]:
    """Return every digest that an error's details name, wherever it stands there: registries differ."""
    found = [match for entry in _entries(raw) for match in _DIGEST.findall(json.dumps(entry))]
    return tuple(dict.fromkeys(found))


def _entries(raw: bytes) -> list[dict[str, Any]]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return []
    if not isinstance(body, dict):
        return []
    listed = body.get("errors")
    if isinstance(listed, list):
        return [entry for entry in listed if isinstance(entry, dict)]
    # Token servers answer in OAuth2's form (RFC 6749, 5.2), or with one error and no list.
    code, message = body.get("error") or body.get("code"), body.get("error_description") or body.get("message")
    return [{"code": code, "message": message or body.get("details")}] if code or message or body.get("details") else []
