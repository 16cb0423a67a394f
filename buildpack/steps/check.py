"""Find every mistake in an app's folder, and in its stack as far as this machine can check it.

Nothing is fetched, and none of the app's code runs. `build` calls the same `examine_app`. It checks the stack later,
when it resolves it, which may need a network.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import date
from functools import partial
from pathlib import Path

from buildpack.app.checks.files import check_heroku
from buildpack.app.findings import Brought, settle
from buildpack.app.procfile import Process
from buildpack.app.read import App, examine_app
from buildpack.dataclass import dataclass
from buildpack.errors import AppError, BuildpackError, Notice, parse_notice
from buildpack.errors import stacks as errors
from buildpack.options import Options, OwnPython
from buildpack.stacks.find_python import choose_host, usable_versions
from buildpack.stacks.platforms import parse_platforms

_ORDER = (2, AppError.exit_code)
"""If errors have several exit codes, the first of these counts; without these, the first error's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result of a check: `errors`, with which a build would fail, and `warnings`.

    `app`, `python` (``3.12`` or ``3.12.4``) and `processes` are the parts that could be read. `python` is None if the
    stack decides.
    """

    errors: tuple[BuildpackError, ...]
    warnings: tuple[Notice, ...]
    app: App | None
    python: str | None
    processes: tuple[Process, ...]

    @property
    def exit_code(self) -> int:
        """The exit code of the errors; 0 if there are none."""
        codes = [error.exit_code for error in self.errors]
        return next((code for code in _ORDER if code in codes), codes[0] if codes else 0)


def check_app(
    folder: Path,
    options: Options,
    *,
    environ: Mapping[str, str],
    today: date,
    own_python: OwnPython,
    system: str = sys.platform,
    recall: Callable[[App], Brought | None] = lambda _: None,
) -> Report:
    """Check the app in `folder`.

    `recall` returns what the app's wheels bring if an earlier build read them. Raises UsageError if `folder` is not a
    folder.
    """
    own = own_python.executable
    found = examine_app(
        folder,
        options,
        environ=environ,
        today=today,
        own_python=own_python.version,
        installed=partial(usable_versions, environ=environ, own=own),
    )
    problems, notices = list(found.problems), list(found.notices)
    if found.doubts:
        more, settled = settle(found.doubts, recall(found.app) if found.app else None)
        problems += more
        notices += settled
    settings = found.settings
    stack = settings.stack.value if settings is not None and settings.stack is not None else None
    python = found.python.version if found.python else None
    if settings is not None and stack is not None:
        platform = settings.platform.value if settings.platform else None
        try:
            warnings = _check_stack(stack, python=python, platform=platform, environ=environ, own=own, system=system)
        except BuildpackError as error:
            problems.append(error)
        else:
            notices += [parse_notice(text) for text in warnings]
    try:
        notices += check_heroku(
            folder,
            names={entry.name for entry in folder.iterdir()},
            stack=stack,
            python=python,
            packages={package.name for package in found.app.lock.packages} if found.app else {"nltk"},
        )
    except BuildpackError as error:
        problems.append(error)
    return Report(
        errors=tuple(problems),
        warnings=tuple(notices),
        app=None if problems else found.app,
        python=python,
        processes=found.processes,
    )


def _check_stack(
    stack: str, *, python: str | None, platform: str | None, environ: Mapping[str, str], own: str, system: str
) -> list[str]:
    """Check a stack as far as possible without a network; returns warnings, and raises as resolving it would."""
    if stack == "host":
        platforms = parse_platforms(platform) if platform else ()
        found = choose_host(python, platforms, system=system, environ=environ, own=own)
        other = python not in (None, found.series, found.version)
        return [errors.other_patch_level(str(python), found.version)] if other else []
    if stack.startswith(("oci:", "archive:")):
        from buildpack.oci.layout import check_image, split_name

        path, _ = split_name(stack.partition(":")[2])
        check_image(path, stack)
        return []
    from buildpack.oci.reference import parse_reference

    reference = parse_reference(stack)
    promised = _python_of(reference.repository, reference.tag)
    if python and promised and not f"{python}.".startswith(f"{promised}."):
        raise errors.wrong_python(stack, python, promised)
    return []


def _python_of(repository: str, tag: str | None) -> str | None:
    """Return the minor version of Python that an official image's tag promises; None for any other image."""
    if not repository.endswith("library/python") or tag is None:
        return None
    parts = tag.partition("-")[0].split(".")
    return ".".join(parts[:2]) if len(parts) > 1 and all(part.isdigit() for part in parts[:2]) else None
