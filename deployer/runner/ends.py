"""Words for how a process ended, and for what that means for the others."""

from __future__ import annotations

import contextlib
import signal

__all__ = ["end_text", "others_stop"]


def end_text(code: int) -> str:
    """Say how a process ended, from its exit code; 128 and a signal's number mean that signal."""
    if code > 128:
        with contextlib.suppress(ValueError):
            return f"was ended by {signal.Signals(code - 128).name}"
    return f"exited with {code}"


def others_stop(process: str, told: str) -> str:
    """Say that the end of a process stops the others; `told` says how it ended."""
    return f"{process} ended ({told}), so the others are stopped"
