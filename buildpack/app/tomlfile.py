"""Parse TOML that people edit, with errors that show the place."""

from __future__ import annotations

import re
from typing import Any

from buildpack.bounded import has_unusable_text
from buildpack.errors import app as errors

_MOST_PARTS = 100
_PART = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]++|\\.)*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![A-Za-z0-9_\\-])(?:{_PART}[ \t]*+\.[ \t]*+){{{_MOST_PARTS - 1}}}")
_MOST_BITS = 4096
"""TOML's own integers have 64."""
_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """Parse `text`, the content of the file `name`; raises AppError with line, column and a caret."""
    import tomllib

    if found := _LONG_KEY.search(text):  # of which `tomllib` makes n tables with n tuples
        line = text.count("\n", 0, found.start()) + 1
        raise errors.bad_toml(name, line, 1, found[0][:60], f"a key has {_MOST_PARTS} parts or more")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        place = _PLACE.search(message)
        reason = _PLACE.sub("", message)
        reason = reason[:1].lower() + reason[1:]
        if place and place[1]:
            number, column = int(place[1]), int(place[2])
            raise errors.bad_toml(name, number, column, text.split("\n")[number - 1], reason) from None
        lines = text.rstrip("\n").split("\n")
        raise errors.bad_toml(name, len(lines), len(lines[-1]) + 1, lines[-1], reason) from None
    except RecursionError:
        raise errors.bad_toml(name, 0, 0, "", f"{name} nests deeper than any real one") from None
    except ValueError:  # int() refuses more than 4300 digits
        raise errors.bad_toml(name, 0, 0, "", f"{name}: a number has thousands of digits") from None
    # In hexadecimal digits they are read, and are refused only where somebody wants to show them.
    if _holds_huge(document):
        raise errors.bad_toml(name, 0, 0, "", f"{name}: a number has thousands of digits")
    if has_unusable_text(text, document):
        raise errors.bad_toml(name, 0, 0, "", f"{name}: {errors.UNUSABLE_TEXT}")
    return document


def _holds_huge(document: dict[str, Any]) -> bool:
    waiting: list[Any] = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, int):
            if value.bit_length() > _MOST_BITS:
                return True
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return False
