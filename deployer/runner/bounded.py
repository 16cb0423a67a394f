"""Read the numbers that a container gets. Images carry this package alone, so it needs its own reader."""

from __future__ import annotations

_DIGITS = 18


def parse_integer(text: str, *, least: int, most: int) -> int | None:
    """Read ASCII digits; None for anything else, and outside `least` to `most`."""
    if not (text.isascii() and text.isdigit()) or len(text) > _DIGITS:
        return None
    return number if least <= (number := int(text)) <= most else None


def parse_port(text: str) -> int | None:
    """Read the number of a TCP port; None for anything else."""
    return parse_integer(text, least=1, most=65535)
