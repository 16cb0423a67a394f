"""RECORD: the list of a distribution's installed files (recording installed projects, "The RECORD file")."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Iterable

Row = tuple[str, str, str]
"""Path, hash (``sha256=...``) and size; the last two may be empty."""


def parse_record(text: str) -> dict[str, Row]:
    """Read the rows of a RECORD, by path; raises ValueError where a line has not three fields."""
    from installer.records import InvalidRecordEntry, parse_record_file

    try:
        return {row[0]: row for row in parse_record_file(text.splitlines())}
    except (InvalidRecordEntry, csv.Error) as error:
        raise ValueError(str(error)) from error


def record_row(path: str, body: bytes) -> Row:
    """Make the row of a file that was not in the wheel, or not with these bytes."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode().rstrip("=")
    return path, f"sha256={digest}", str(len(body))


def render_record(rows: Iterable[Row]) -> bytes:
    """Write the rows sorted by path, so that equal contents have equal bytes."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(sorted(rows))
    return text.getvalue().encode()
