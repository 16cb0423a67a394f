"""Which programs an app wants to run before it is shipped, decided from its files and lock alone.

The order is Heroku's: ``bin/pre_compile``, Django's collectstatic, ``bin/post_compile``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from buildpack.app.read import App

__all__ = ["DISABLING", "Step", "select_steps"]

DISABLING = "DISABLE_COLLECTSTATIC"
"""Set to anything but ``0``, as on Heroku, it leaves out collectstatic."""

_PRE, _POST = "bin/pre_compile", "bin/post_compile"
_DEEPEST = 3
"""Parts of a path to ``manage.py``, as Heroku looks for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One program to run; `path` is the app's file that it is."""

    kind: Literal["hook", "collectstatic"]
    path: str

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.path if self.kind == "hook" else f"{self.path} collectstatic"


def select_steps(app: App, variables: Mapping[str, str]) -> tuple[Step, ...]:
    """Return what to run, in order; `variables` are those that the steps would see."""
    paths = {file.path for file in app.source.files}
    hooks = {path: Step(kind="hook", path=path) for path in (_PRE, _POST) if path in paths}
    manage = _find_manage(paths)
    static = []
    if manage and app.lock.has("django") and variables.get(DISABLING, "") in ("", "0"):
        static.append(Step(kind="collectstatic", path=manage))
    return (
        *([hooks[_PRE]] if _PRE in hooks else []),
        *static,
        *([hooks[_POST]] if _POST in hooks else []),
    )


def _find_manage(paths: set[str]) -> str | None:
    """Find the ``manage.py`` that lies nearest to the top."""
    found = [path for path in paths if path.rpartition("/")[2] == "manage.py" and path.count("/") < _DEEPEST]
    return min(found, key=lambda path: (path.count("/"), path), default=None)
