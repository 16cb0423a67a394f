"""Where a symbolic link of the app leads, decided from the links alone."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["leads_out"]

_LIMIT = 40
"""Links followed, as Linux does (path_resolution(7)); a loop leads nowhere, so not out either."""


def leads_out(path: str, links: Mapping[str, str]) -> bool:
    """Say whether following the link at `path` leaves the app's folder at any step; `links` has each link's target.

    An absolute target leads out: it means another place in the image than here.
    """
    at = path.split("/")[:-1]
    todo = links[path].split("/")[::-1]
    if links[path].startswith("/"):
        return True
    followed = 1
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not at:
                return True
            at.pop()
            continue
        at.append(part)
        target = links.get("/".join(at))
        if target is not None:
            followed += 1
            if target.startswith("/"):
                return True
            if followed > _LIMIT:
                return False
            at.pop()
            todo.extend(target.split("/")[::-1])
    return False
