"""Parse JSON that people edit, app.json above all, with errors that show the place."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from buildpack.app.textfile import read_text
from buildpack.bounded import has_unusable_text
from buildpack.dataclass import dataclass
from buildpack.errors import app as errors

APP_JSON = "app.json"
_HINT = "fix app.json, or remove it."


@dataclass(frozen=True, kw_only=True, slots=True)
class AppJson:
    """app.json, parsed; `text` is for the lines in messages."""

    text: str
    document: Mapping[str, Any]


def read_app_json(folder: Path) -> AppJson | None:
    """Read app.json in `folder`; None if there is none. Raises as `read_text` and `parse_json` do."""
    text = read_text(folder, APP_JSON)
    return None if text is None else parse_app_json(text)


def parse_app_json(text: str) -> AppJson:
    """Parse app.json; raises as `parse_json` does, and AppError if it does not hold an object."""
    document = parse_json(text, APP_JSON, hint=_HINT)
    if not isinstance(document, dict):
        raise errors.no_object(APP_JSON, hint=_HINT)
    return AppJson(text=text, document=document)


def parse_json(text: str, name: str, *, hint: str) -> Any:
    """Parse `text`, the content of the file `name`.

    Raises AppError with line, column and a caret; also where a key stands twice in one object, since parsers
    differ in which of the two they take.
    """
    twice: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            twice.extend(sorted(key for key, count in Counter(key for key, _ in pairs).items() if count > 1))
        return made

    try:
        value = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        lines = text.split("\n")
        line = lines[error.lineno - 1] if error.lineno <= len(lines) else ""
        raise errors.bad_json(name, error.lineno, error.colno, line, _lower(error.msg), hint=hint) from None
    except RecursionError:
        raise errors.bad_json(name, 0, 0, "", f"{name} nests deeper than any real one", hint=hint) from None
    except ValueError:  # int() refuses more than 4300 digits
        raise errors.bad_json(name, 0, 0, "", f"{name}: a number has thousands of digits", hint=hint) from None
    if has_unusable_text(text, value):
        raise errors.bad_json(name, 0, 0, "", f"{name}: {errors.UNUSABLE_TEXT}", hint=hint)
    if twice:
        told = ", ".join(f"`{errors.show(key)}`" for key in twice[:10])
        raise errors.bad_json(name, 0, 0, "", f"{name}: in one object, a key stands twice: {told}", hint=hint)
    return value


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
