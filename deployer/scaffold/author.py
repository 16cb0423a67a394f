"""Who writes the app, as a licence names them."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["author_name"]


def author_name(environ: Mapping[str, str]) -> str:
    """Return the name that git has for whoever works here, else one that holds for everybody."""
    import subprocess

    if name := environ.get("GIT_AUTHOR_NAME"):
        return name
    try:
        done = subprocess.run(["git", "config", "user.name"], env=dict(environ), capture_output=True, check=False)
    except OSError:
        return "the authors"
    return done.stdout.decode(errors="replace").strip() or "the authors"
