"""Whether Django's static files can be collected, as far as the settings tell: the build runs ``collectstatic``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from buildpack.app.lockfile import Lock
from buildpack.app.source import SourceTree
from buildpack.app.textfile import open_inside
from buildpack.errors import checks as errors
from buildpack.errors.notice import Notice

_DISABLING = "DISABLE_COLLECTSTATIC"
_STATICFILES = b"django.contrib.staticfiles"
_SET = re.compile(
    rb"STATIC_ROOT|STORAGES|STATICFILES_STORAGE|django_heroku|\b(?:exec|locals|globals|vars|import_module|include)\("
    rb"|^[ \t]*+from[ \t]++[^.\s]\S*+[ \t]++import[ \t]*+\*",
    re.MULTILINE,
)
"""What sets where they go, or may: settings that are taken from elsewhere."""
_LARGEST = 256 * 1024
_MOST = 50


def check_static(tree: SourceTree, lock: Lock | None, variables: Mapping[str, str]) -> Iterator[Notice]:
    """Check that settings with staticfiles say where to collect them; `variables` are those of the build."""
    if lock is None or not lock.has("django") or variables.get(_DISABLING, "") not in ("", "0"):
        return
    if not any(file.path.rpartition("/")[2] == "manage.py" for file in tree.files):
        return
    settings = [file for file in tree.files if file.path.endswith(".py") and "settings" in file.path]
    asking = ""
    for file in settings[:_MOST]:
        try:
            with open_inside(tree.folder, file.path) as opened:
                content = opened.read(_LARGEST)
        except OSError:
            return
        if _SET.search(content):
            return
        if not asking and _STATICFILES in content:
            asking = file.path
    if asking:
        yield errors.no_static_root(asking)
