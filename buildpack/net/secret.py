"""Texts that may be sent but never shown."""

from __future__ import annotations


class Secret:
    """A text that prints as ``[redacted]``; `reveal` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself, to send it."""
        return self._text

    def __repr__(self) -> str:
        return "[redacted]"

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)
