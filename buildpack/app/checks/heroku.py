"""Files that Heroku obeys and deploy does not, and files that nothing locked reads, each with what to do instead."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from buildpack.app.python_version import DEFAULT
from buildpack.app.textfile import read_text
from buildpack.errors import Notice
from buildpack.errors import checks as errors

_DEBIAN = re.compile(r"[a-z0-9][a-z0-9+.-]{1,100}(?::[a-z0-9]{1,20})?(?:=[A-Za-z0-9.+:~-]{1,100})?", re.ASCII)
"""A line of an Aptfile that is a package; others are addresses of packages and repositories."""


def check_heroku(
    folder: Path, *, names: Collection[str], stack: str | None, python: str | None, packages: Collection[str]
) -> Iterator[Notice]:
    """Yield a notice for each file in `folder` that deploy, or what is locked, does not obey.

    `names` are the folder's files, `stack` and `python` (``3.12`` or ``3.12.4``) what the app asks for, and `packages`
    the locked ones. Raises as `read_text` does.
    """
    if "Aptfile" in names:
        wanted, others = _parse_aptfile(read_text(folder, "Aptfile") or "")
        if wanted or others:
            yield errors.aptfile(_base(stack, python), wanted, others)
    if ".buildpacks" in names:
        yield errors.buildpacks()
    if "heroku.yml" in names:
        yield errors.not_read("heroku.yml", "the image follows from Procfile and Pipfile.lock")
    if "Procfile.windows" in names:
        yield errors.not_read("Procfile.windows", "processes are those of Procfile")
    if "nltk.txt" in names and "nltk" not in packages:
        yield errors.reader_not_locked(
            "nltk.txt", "nltk", what="deploy does not obey this file", purpose="download the data"
        )
    if ".flaskenv" in names and "flask" in packages and "python-dotenv" not in packages:
        yield errors.reader_not_locked(
            ".flaskenv", "python-dotenv", what="Flask does not read this file", purpose="read it"
        )


def _parse_aptfile(text: str) -> tuple[list[str], list[str]]:
    """Return the packages that an Aptfile names, and its other entries."""
    lines = [line.strip() for line in text.splitlines()]
    entries = list(dict.fromkeys(word for line in lines if line and not line.startswith("#") for word in _words(line)))
    packages = [entry for entry in entries if _DEBIAN.fullmatch(entry)]
    return packages, [entry for entry in entries if entry not in packages]


def _words(line: str) -> list[str]:
    return [line] if line.startswith(":") else line.split()


def _base(stack: str | None, python: str | None) -> str:
    """Return the image that the base begins with."""
    if stack and stack != "host" and not stack.startswith(("oci:", "archive:")):
        return stack
    return f"python:{'.'.join((python or DEFAULT).split('.')[:2])}-slim"
