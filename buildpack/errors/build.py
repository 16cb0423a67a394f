"""The wording of what a build as a whole has to say."""

from __future__ import annotations

__all__ = ["no_bytecode"]


def no_bytecode(stack: str, reason: str) -> str:
    """Word the warning that processes will start more slowly."""
    return f"no byte code for {stack}: {reason}. Processes will start more slowly; everything else is the same."
