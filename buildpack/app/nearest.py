"""Find the word, or the name of an app's file, that somebody mistyped."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from buildpack.errors import BuildpackError
from buildpack.errors import app as errors

_LONGEST = 40
_PREFIX = 3
OTHER_LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "pylock.toml")
OTHER_LISTS = ("requirements.txt", "environment.yml", "pyproject.toml", "setup.py")
_MISSPELT = {
    "Procfile": ("procfile", "PROCFILE", "ProcFile", "Procfile.txt", "Procfile.web"),
    "Pipfile": ("pipfile", "PIPFILE", "PipFile", "Pipfile.toml"),
    "Pipfile.lock": ("pipfile.lock", "Pipfile.Lock", "PipFile.lock", "Pipfile.lock.json"),
    ".python-version": (
        *(".python_version", "python-version", ".pythonversion", ".python-version.txt", ".Python-Version"),
    ),
    "deploy.toml": (".deploy.toml", "Deploy.toml", "deploy.tml"),
}

_ONE_SLIP = ("Procfile", "Pipfile.lock", ".python-version", "requirements.txt")
_READ = frozenset(("Pipfile", "deploy.toml", "app.json", "runtime.txt", *OTHER_LOCKS, *OTHER_LISTS))


def find_nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that is most like `word`; None if all are too different.

    One slip of the keyboard may happen in every three letters: a letter too many, missing, wrong, or swapped with the
    next one. A beginning of at least three letters counts too. Case and leading dashes make no difference.
    """
    plain = word.lstrip("-").lower()
    if not plain or len(plain) > _LONGEST:
        return None
    best: tuple[int, str] | None = None
    for each in known:
        other = each.lstrip("-").lower()
        distance = 0 if len(plain) >= _PREFIX and other.startswith(plain) else _distance(plain, other)
        if (
            distance <= max(1, len(plain) // 3)
            and distance < min(len(plain), len(other))
            and (best is None or distance < best[0])
        ):
            best = distance, each
    return best[1] if best else None


def _distance(word: str, other: str) -> int:
    """Count the slips between two words (optimal string alignment)."""
    if abs(len(word) - len(other)) > len(word) // 3 + 1:
        return len(word) + len(other)
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, letter in enumerate(word, start=1):
        before, last, row = row, before, [at]
        for to, wanted in enumerate(other, start=1):
            cost = min(before[to] + 1, row[-1] + 1, before[to - 1] + (letter != wanted))
            if at > 1 and to > 1 and letter == other[to - 2] and word[at - 2] == wanted:
                cost = min(cost, last[to - 2] + 1)
            row.append(cost)
    return row[-1]


def find_misspelt(names: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield each file whose name is a usual misspelling of a missing file's name, and that name."""
    for meant, misspelt in _MISSPELT.items():
        if meant not in names:
            yield from ((name, meant) for name in misspelt if name in names)


def find_almost_named(folder: Path, names: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Yield each file whose name is one slip away from the name of a missing file, and that name."""
    known = {name for misspelt in _MISSPELT.values() for name in misspelt}
    locked = "Pipfile.lock" in names
    wanted = [name for name in _ONE_SLIP if name not in names and not (locked and name == "requirements.txt")]
    for name in sorted(names - known - _READ):
        near = next((one for one in wanted if abs(len(name) - len(one)) < 2 and _distance(name, one) == 1), None)
        if near is not None and os.path.isfile(folder / name):
            yield name, near


def missing_file(folder: Path, names: frozenset[str], meant: str, otherwise: BuildpackError) -> BuildpackError:
    """Return the error for a missing file: it names a file with almost that name, else it is `otherwise`."""
    found = next((name for name, near in find_almost_named(folder, names) if near == meant), None)
    return errors.misspelt_file(found, meant) if found else otherwise
