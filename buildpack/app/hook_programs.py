"""Find the programs that a build runs on an app's files before it ships them.

The order is Heroku's: ``bin/pre_compile``, NLTK's data, Django's collectstatic, ``bin/post_compile``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

from buildpack.app.checks.files import DISABLING
from buildpack.app.checks.image_files import HOOKS
from buildpack.app.read import App
from buildpack.dataclass import dataclass, field

HOOKS_FORMAT = 2
"""A part of the key of the app's layer. Raise it when deploy runs the same hooks in another way."""

_NLTK = "nltk.txt"
_ROUNDS = 100_000
"""Rounds of the hash of values from the command line: keys are public, and a short secret is easy to guess."""
_DEEPEST = 3
"""Parts of a path to ``manage.py``, as Heroku looks for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One program to run; `path` is its file in the app."""

    kind: Literal["hook", "nltk", "collectstatic"]
    path: str

    @property
    def name(self) -> str:
        """The step's name in messages."""
        return f"{self.path} collectstatic" if self.kind == "collectstatic" else self.path


@dataclass(frozen=True, kw_only=True, slots=True)
class Hooks:
    """The steps to run, in order, and their `variables`; `given` are those of them that the command line gives."""

    steps: tuple[Step, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)
    hidden: str = ""
    """A hash of `given`, for keys."""

    def __bool__(self) -> bool:
        return bool(self.steps)

    def key(self, *, stack: str, wheels: Sequence[str]) -> str:
        """Return a hash of all inputs of the steps, except the app's files; empty if there are no steps."""
        if not self.steps:
            return ""
        steps = [(step.kind, step.path) for step in self.steps]
        plain = sorted((name, value) for name, value in self.variables.items() if name not in self.given)
        return hashlib.sha256(repr((HOOKS_FORMAT, steps, plain, self.hidden, stack, list(wheels))).encode()).hexdigest()


def plan_hooks(app: App, *, given: Mapping[str, str], environ: Mapping[str, str]) -> Hooks:
    """Choose the steps to run; `given` are variables from the command line, which win over those of the app."""
    variables = {**app.build_env, **given}
    asked = {DISABLING: environ[DISABLING]} if DISABLING in environ else {}
    steps = _select_steps(app, {**asked, **variables})
    if not steps:
        return Hooks()
    hidden = ""
    if given:
        body = repr(sorted(given.items())).encode()
        hidden = hashlib.pbkdf2_hmac("sha256", body, b"deploy hooks", _ROUNDS).hex()
    return Hooks(steps=steps, variables=variables, given=given, hidden=hidden)


def _select_steps(app: App, variables: Mapping[str, str]) -> tuple[Step, ...]:
    paths = {file.path for file in app.source.files}
    manage = _find_manage(paths)
    collects = manage is not None and app.lock.has("django") and variables.get(DISABLING, "") in ("", "0")
    before, after = HOOKS
    steps = (
        (Step(kind="hook", path=before), before in paths),
        (Step(kind="nltk", path=_NLTK), _NLTK in paths and app.lock.has("nltk")),
        (Step(kind="collectstatic", path=manage or ""), collects),
        (Step(kind="hook", path=after), after in paths),
    )
    return tuple(step for step, wanted in steps if wanted)


def _find_manage(paths: set[str]) -> str | None:
    """Find the ``manage.py`` that is nearest to the top."""
    found = [path for path in paths if path.rpartition("/")[2] == "manage.py" and path.count("/") < _DEEPEST]
    return min(found, key=lambda path: (path.count("/"), path), default=None)
