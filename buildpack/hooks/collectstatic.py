"""Read the output of Django's collectstatic, and make the files that it leaves the same on every machine."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from buildpack.bounded import parse_json
from buildpack.errors import hooks as errors
from buildpack.system.processes import Outcome

_VARIABLE = re.compile(
    r"KeyError: '([A-Z][A-Z0-9_]*)'"
    r"|Set the ([A-Z][A-Z0-9_]*) environment variable"  # django-environ
    r"|UndefinedValueError: ([A-Z][A-Z0-9_]*) not found"  # python-decouple
)
_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
_LARGEST = 64 << 20
_MANIFEST = {"paths", "version", "hash"}


def why_unknown(outcome: Outcome) -> str:
    """Return why the project has no such command; empty if it has."""
    if outcome.code == 0 or not any(line.startswith("Unknown command: 'collectstatic'") for line in outcome.lines):
        return ""
    if "No Django settings specified." in outcome.lines:
        return "DJANGO_SETTINGS_MODULE is not set; set it in manage.py, or for the build with --build-env"
    return "django.contrib.staticfiles is not among the installed apps"


def find_remedies(lines: Sequence[str]) -> list[str]:
    """Return the remedies that the output suggests, the most specific one only."""
    text = "\n".join(lines)
    if "STATIC_ROOT" in text:
        return [errors.remedy_static_root()]
    if found := _VARIABLE.search(text):
        return [errors.remedy_variable(next(filter(None, found.groups())))]
    if "SECRET_KEY" in text:
        return [errors.remedy_variable("SECRET_KEY")]
    if found := _MODULE.search(text):
        return [errors.remedy_module(found[1].partition(".")[0])]
    if "could not be found with" in text:
        return [errors.remedy_missing_file()]
    return []


def settle_manifests(folder: Path, before: Mapping[str, str]) -> None:
    """Sort the paths in the manifests that ManifestStaticFilesStorage wrote.

    Django writes them in the order in which the file system lists folders, which differs between machines; it reads
    them in any order. `before` has the hash of each file of the app.
    """
    for path in _manifests(folder):
        raw = path.read_bytes()
        if before.get(path.relative_to(folder).as_posix()) == hashlib.sha256(raw).hexdigest():
            continue  # the app's own
        try:
            manifest = parse_json(raw)
        except ValueError:
            continue
        if not isinstance(manifest, dict) or not manifest.keys() <= _MANIFEST or "version" not in manifest:
            continue
        if isinstance(manifest.get("paths"), dict):
            settled = json.dumps({**manifest, "paths": dict(sorted(manifest["paths"].items()))})
            _replace(path, settled)


def _replace(path: Path, text: str) -> None:
    """Replace a file, without writing through a link."""
    path.unlink()
    with path.open("x") as out:
        out.write(text)
        os.fchmod(out.fileno(), 0o644)


def _manifests(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if name.endswith(".json") and not path.is_symlink() and path.is_file() and _may_be_one(path):
                yield path


def _may_be_one(path: Path) -> bool:
    if path.stat().st_size > _LARGEST:
        return False
    with path.open("rb") as file:
        return file.read(10).startswith(b'{"paths": ')
