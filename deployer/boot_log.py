"""Which lines of a failed process's log to show: the last ones, but gunicorn's own traceback says nothing."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["KEPT", "relevant_lines"]

KEPT = 400
"""Lines worth keeping of a process that has not answered yet: gunicorn writes 150 about one mistake of the app."""

_SHOWN = 20
_BEGIN = "[ERROR] Exception in worker process"
_END = "[INFO] Worker exiting"


def relevant_lines(lines: Sequence[str], most: int = _SHOWN) -> list[str]:
    """Return the last lines; where a gunicorn worker told why it could not load the app, the end of that instead."""
    begins = [at for at, line in enumerate(lines) if line.endswith(_BEGIN)]
    if not begins:
        return list(lines[-most:])
    told = list(lines[begins[-1] :])
    end = next((at for at, line in enumerate(told) if _END in line), len(told))
    return [told[0], *told[1:end][1 - most :]]
