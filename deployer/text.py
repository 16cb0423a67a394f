"""Makes text for people from plain values. It imports nothing slow, because an unchanged build prints such text too."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # as typing's, whose import is slow
if TYPE_CHECKING:
    from buildpack.oci.image import Image
    from buildpack.oci.index import ImageIndex
    from buildpack.oci.push import Pushed
    from buildpack.steps.built import Built

_COLOURS = {"red": 31, "yellow": 33, "cyan": 36}
"""ECMA-48's numbers (8.3.117, SGR)."""


def styled(text: str, colour: str) -> str:
    """Colour text for standard error, unless that is not a terminal or ``NO_COLOR`` is set."""
    if os.environ.get("NO_COLOR") or not sys.stderr.isatty():
        return text
    return f"\x1b[{_COLOURS[colour]};1m{text}\x1b[0m"


BIDI = (0x61C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Characters that turn the direction of writing (UAX 9), so that a line reads as another, and separators of lines."""
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0))
"""C0, DEL and C1 (ECMA-48, 5.2 and 5.3)."""
_ESCAPED = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in (*_CONTROLS, *BIDI)}
_ESCAPED_IN_TEXT = {code: text for code, text in _ESCAPED.items() if chr(code) not in "\n\t"}
_ESCAPED_IN_JSON = {code: f"\\u{code:04x}" for code in (*_CONTROLS, *BIDI) if chr(code) not in "\n\t\r"}


def harmless(text: str) -> str:
    """Escape the characters that control a terminal: messages quote servers, compilers and packages."""
    return text if text.isprintable() else text.translate(_ESCAPED_IN_TEXT)


def harmless_json(document: str) -> str:
    """Escape the same characters in a JSON document, where only strings have them, so that its value stays the same."""
    return document if document.isprintable() else document.translate(_ESCAPED_IN_JSON)


def size_text(size: int) -> str:
    """Write a number of bytes for people: ``512 B``, ``51 KB``, ``9.3 MB`` (powers of 1000)."""
    amount = float(size)
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 999.5 or unit == "GB":
            return f"{amount:.0f} {unit}" if amount >= 10 or unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("unreachable")


def operand_text(app: str) -> str:
    """Return an app's folder as an operand of another command, after a space; empty for the current folder."""
    if app == ".":
        return ""
    from shlex import quote

    return harmless(f" {quote(f'./{app}' if app.startswith('-') else app)}")


def folder_text(app: str) -> str:
    """Return the name of an app's folder in a sentence."""
    return "this folder" if app == "." else harmless(app)


def short_name(reference: str) -> str:
    """Shorten a full name to what people type: ``docker.io/library/blasto:latest`` to ``blasto:latest``."""
    return reference.removeprefix("docker.io/").removeprefix("library/")


def plural(count: int, noun: str) -> str:
    """Write a count with its noun: ``1 layer``, ``3 layers``."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


# Deliveries of an image


def sent_texts(built: Built) -> list[str]:
    """Return a text for each destination that the image was delivered to."""
    texts = []
    for each in built.delivered:
        if each.destination.kind == "docker":
            texts.append(loaded_text(each.layers, each.size, each.reason))
        elif each.pushed is not None:
            texts.append(pushed_text(each.pushed, built.image))
        elif each.destination.kind == "oci":
            texts.append(f"to the layout {each.destination.path}")
        else:
            texts.append(f"to the archive {each.destination.path}, {size_text(each.size)}")
    return texts


def loaded_text(layers: int, size: int, reason: str) -> str:
    """Return how much was sent to the engine, and why so much."""
    return f"to the engine: {plural(layers, 'layer')}, {size_text(size)} ({reason})"


def pushed_text(pushed: Pushed, image: Image | ImageIndex) -> str:
    """Return what was sent to registries, and what they had already."""
    sizes = {layer.digest: layer.size for layer in image.layers}
    sent = [digest for digest in pushed.sent if digest in sizes]
    size = sum(sizes[digest] for digest in sent)
    names = ", ".join(f"{each.name}:{each.tag}" if each.tag else str(each) for each in pushed.references)
    parts = [f"{plural(len(sent), 'layer')}, {size_text(size)}" if sent else "no layer"]
    for word, digests in (("mounted", pushed.mounted), ("there already", pushed.present)):
        if count := sum(digest in sizes for digest in digests):
            parts.append(f"{count} {word}")
    return f"to {names}: {'; '.join(parts)}"
