"""`deploy check`: finds everything that is wrong with an app's folder, without a download."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.cli import options
from deployer.cli.hints import repeated_text
from deployer.cli.messages import print_error, print_json, print_warning
from deployer.text import folder_text, operand_text, plural

if TYPE_CHECKING:
    from buildpack.app.findings import Brought
    from buildpack.app.read import App
    from buildpack.steps.check import Report

SCHEMA = 1

EXAMPLES = """\b
Examples:
  deploy check                   check the current folder
  deploy check blasto --strict   fail if there are warnings
"""


@click.command("check", cls=options.Command, epilog=EXAMPLES)
@options.app
@options.strict
@options.stack
@options.platform
@options.build_env
@options.build_env_file
@options.category
@options.as_json
@click.pass_context
def command(ctx: click.Context, /, app: Path, **given: Any) -> int:
    """Check an app, and report everything that is wrong with it at once.

    APP is a folder (default: the current one). Nothing is downloaded. `build`, `run`, `local` and `ci` make the same
    checks before they start, and fail if there are errors. With --strict they also fail if there are warnings.
    """
    from buildpack.options import OwnPython
    from buildpack.steps.check import check_app
    from deployer.settings.environment import today

    report = check_app(
        app,
        options.read_options(given, app),
        environ=os.environ,
        today=today(),
        own_python=OwnPython(),
        recall=_recall,
    )
    if given["as_json"]:
        print_json(report_of(report, app=str(app)))
    else:
        _show(report, app=str(app), strict=given["strict"], again=repeated_text(ctx))
    return report.exit_code or (10 if given["strict"] and report.warnings else 0)


def _recall(app: App) -> Brought | None:
    """Return what the app's wheels contain, if earlier builds read all of them."""
    import platform

    from buildpack.oci.store import Store
    from buildpack.oci.store_path import locate_store
    from buildpack.steps.install_target import recall_brought

    place = locate_store(os.environ)
    if place is None or not os.path.isdir(place):
        return None
    sums = [[entry.removeprefix("sha256:") for entry in package.hashes] for package in app.lock.packages]
    return recall_brought(sums, Store(Path(place)), machine=platform.machine())


def report_of(report: Report, *, app: str) -> dict[str, Any]:
    """Return what `--json` prints, schema 1; `app` is the folder as it was typed."""
    from buildpack.errors import split_place

    def found(one: Any) -> dict[str, Any]:
        path, line = split_place(_text(one.place))
        return {"what": one.what, "why": one.why, "hint": one.hint, "path": path, "line": line}

    return {
        "schema": SCHEMA,
        "app": _text(app),
        "errors": [{**found(error), "exit_code": error.exit_code} for error in report.errors],
        "warnings": [found(notice) for notice in report.warnings],
        "python": report.python,
        "processes": {process.name: process.command for process in report.processes},
    }


def _text(path: str) -> str:
    """Return a path as valid UTF-8, which JSON requires."""
    return path.encode(errors="surrogateescape").decode(errors="replace")


def _show(report: Report, *, app: str, strict: bool, again: str) -> None:
    """Print all errors, all warnings, the verdict, and the next command; `again` are the options to repeat in it."""
    for error in report.errors:
        print_error(error)
        print(file=sys.stderr)
    for notice in report.warnings:
        print_warning(str(notice))
    if report.warnings:
        print(file=sys.stderr)
    name = folder_text(app)
    counts = f"{plural(len(report.errors), 'error')}, {plural(len(report.warnings), 'warning')}"
    operand = operand_text(app)
    if report.errors:
        print(f"{name} cannot be built: {counts}", file=sys.stderr)
        print(f"\nNext: fix the errors, then deploy check{operand}{again}", file=sys.stderr)
    elif report.warnings and strict:
        print(f"{name} can be built, but not with --strict: {counts}", file=sys.stderr)
        print(f"\nNext: fix what the warnings name, then deploy check{operand}{again} --strict", file=sys.stderr)
    else:
        print(f"{name} can be built: {counts}", file=sys.stderr)
        print(f"\nNext: deploy build{operand}{again}", file=sys.stderr)
