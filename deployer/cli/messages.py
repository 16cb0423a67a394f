"""What errors, warnings and hints look like on a terminal. Imports nothing slow: an unchanged build warns too."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as typing's, whose import is slow
if TYPE_CHECKING:
    from buildpack.errors import BuildpackError

_COLOURS = {"red": 31, "yellow": 33, "cyan": 36}
"""ECMA-48's numbers (8.3.117, SGR)."""


def styled(text: str, colour: str) -> str:
    """Colour text for standard error, unless it is no terminal or ``NO_COLOR`` is set."""
    if os.environ.get("NO_COLOR") or not sys.stderr.isatty():
        return text
    return f"\x1b[{_COLOURS[colour]};1m{text}\x1b[0m"


_BIDI = (0x61C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Characters that turn the direction of writing (UAX 9), so that a line reads as another, and separators of lines."""
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
"""C0, DEL and C1 (ECMA-48, 5.2 and 5.3)."""
_ESCAPED = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in (*_CONTROLS, *_BIDI)}
_ESCAPED_IN_TEXT = {code: text for code, text in _ESCAPED.items() if chr(code) not in "\n\t"}
_ESCAPED_IN_JSON = {code: f"\\u{code:04x}" for code in (*_CONTROLS, *_BIDI) if chr(code) not in "\n\t\r"}


def harmless(text: str) -> str:
    """Escape what a terminal would obey: messages quote servers, compilers and packages, which may say anything."""
    return text if text.isprintable() else text.translate(_ESCAPED_IN_TEXT)


def harmless_json(document: str) -> str:
    """Escape the same in a JSON document, which stays the same value: such characters are inside strings only."""
    return document if document.isprintable() else document.translate(_ESCAPED_IN_JSON)


def print_json(value: object) -> None:
    """Print a value as one line of JSON on standard output."""
    import json

    print(harmless_json(json.dumps(value, ensure_ascii=False)))


def print_error(error: BuildpackError) -> None:
    """Print what happened, why, and what to do, on standard error."""
    from buildpack.errors import Problems

    problems = error.problems if isinstance(error, Problems) else (error,)
    for number, problem in enumerate(problems):
        if number:
            print(file=sys.stderr)
        parts = [f"{styled('error:', 'red')} {harmless(problem.what)}"]
        if problem.why:
            parts.append(harmless(problem.why))
        if problem.hint:
            parts.append(f"{styled('hint:', 'cyan')} {harmless(problem.hint)}")
        print("\n\n".join(parts), file=sys.stderr)


def print_warning(text: str) -> None:
    """Print a warning on standard error."""
    if (
        "`deploy " in text or " -" in text or "`-" in text
    ) and "click" in sys.modules:  # a recorded answer has warnings that are fitted already
        from deployer.cli.hints import fit_warning

        text = fit_warning(text)
    print(f"{styled('warning:', 'yellow')} {harmless(text)}", file=sys.stderr)


def report_bug(error: BaseException) -> None:
    """Print a traceback and say that this is a bug of ours."""
    import traceback

    traceback.print_exception(error, file=sys.stderr)
    print(f"\n{styled('error:', 'red')} this is a bug in deploy, not in your app", file=sys.stderr)
    print("\nhint: please report it with the lines above; nothing of yours was changed.", file=sys.stderr)


def size_text(size: int) -> str:
    """Write a number of bytes for people: ``512 B``, ``51 KB``, ``9.3 MB`` (powers of 1000)."""
    amount = float(size)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 999.5 or unit == "GB":
            return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("unreachable")


def operand_text(app: str) -> str:
    """Return how the next command names an app, a space before it; empty for the current folder."""
    if app == ".":
        return ""
    from shlex import quote

    return harmless(f" {quote(f'./{app}' if app.startswith('-') else app)}")


def plural(count: int, noun: str) -> str:
    """Write a count with its noun: ``1 layer``, ``3 layers``."""
    return f"{count} {noun}" + ("" if count == 1 else "s")
