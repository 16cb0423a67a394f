"""`deploy lock`: refresh Pipfile.lock with pipenv, and pin the stack."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from buildpack.errors import StackError
from deployer.cli import options
from deployer.cli.messages import print_warning
from deployer.errors.locking import stack_not_pinned
from deployer.text import harmless, operand_text, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from deployer.locking.changes import Change
    from deployer.locking.lock import Locked, Order

EXAMPLES = """\b
Examples:
  deploy lock                      the current folder
  deploy lock blasto -P gunicorn   another one, with the newest gunicorn
"""


@click.command("lock", epilog=EXAMPLES)
@options.app
@click.option("-U", "--upgrade", is_flag=True, help="Move every package to the newest version that Pipfile allows.")
@click.option(
    "-P", "--upgrade-package", "packages", multiple=True, metavar="PKG", help="Move this package; repeatable."
)
@click.option("--no-pin", is_flag=True, help="Leave the stack in deploy.toml as it is.")
@options.build_env
@options.build_env_file
@options.pipenv_verbose
def command(
    app: Path,
    upgrade: bool,
    packages: tuple[str, ...],
    no_pin: bool,
    build_env: tuple[str, ...],
    build_env_files: tuple[str, ...],
    verbose: bool,
) -> int:
    """Refresh Pipfile.lock with pipenv, and pin the stack's digest in deploy.toml.

    Packages keep their locked versions, unless Pipfile or another package asks for something else.
    """
    from deployer.locking.lock import Order
    from deployer.settings.config import parse_build_env

    begin = time.monotonic()
    given = parse_build_env(build_env, os.environ, files=build_env_files, folder=app)
    order = Order(move=None if upgrade else frozenset(packages), variables=given)
    locked = lock_app(app, order, verbose=verbose)
    show_changes(locked.changes, begin)
    written = list(locked.written)
    if not no_pin:
        try:
            written += ["deploy.toml"] if _pin(app) else []
        except StackError as error:
            raise stack_not_pinned(error) from error
    _say_next(app, written)
    return 0


def _say_next(app: Path, written: Sequence[str]) -> None:
    commit = f"commit {' and '.join(written)}, then " if written else ""
    print(f"\nNext: {commit}deploy build{operand_text(str(app))}", file=sys.stderr)


def show_changes(changes: Sequence[Change], begin: float) -> None:
    """Print what changed in Pipfile.lock; `begin` is when the work began, as `time.monotonic` has it."""
    for change in changes:
        print(f"  {harmless(str(change))}", file=sys.stderr)
    seconds = time.monotonic() - begin
    print(f"Pipfile.lock: {plural(len(changes), 'package')} changed, in {seconds:.1f} s", file=sys.stderr)


def edit_app(
    app: Path,
    edit: Callable[[str], str],
    *,
    build_env: tuple[str, ...],
    build_env_files: tuple[str, ...],
    verbose: bool,
) -> int:
    """Change the text of the app's Pipfile with `edit`, lock the result, and write both files or neither."""
    from buildpack.app.textfile import read_text
    from deployer.errors.locking import no_pipfile
    from deployer.locking.lock import Order
    from deployer.settings.config import parse_build_env

    given = parse_build_env(build_env, os.environ, files=build_env_files, folder=app)
    begin = time.monotonic()
    text = read_text(app, "Pipfile")
    if text is None:
        raise no_pipfile(app)
    locked = lock_app(app, Order(pipfile=edit(text), variables=given), verbose=verbose)
    show_changes(locked.changes, begin)
    _say_next(app, locked.written)
    return 0


def lock_app(app: Path, order: Order | None = None, *, verbose: bool = False) -> Locked:
    """Lock the app for its Python, keeping what is locked without an order; raises as `run_pipenv` does.

    Builds of packages get the variables of the order, and the app's own ones for its build.
    """
    from buildpack.errors.app import no_such_folder, not_a_folder
    from deployer.locking.lock import Order, run_pipenv
    from deployer.session import open_store

    if not os.path.isdir(app):
        raise not_a_folder(str(app)) if os.path.exists(app) else no_such_folder(str(app))
    order = order or Order()
    given = order.variables
    return run_pipenv(
        app,
        replace(order, variables={**_build_env(app), **given}, given=frozenset(given)),
        python=_interpreter(app),
        place=open_store(os.environ, warn=print_warning).folder("locking"),
        environ=os.environ,
        pipenv=sys.executable,
        verbose=verbose,
        tell=_tell,
    )


def _build_env(app: Path) -> Mapping[str, str]:
    """Return the variables that the app gives its build; an app.json that is not JSON gives none, as for a build."""
    from buildpack.app.app_json import AppJson, read_app_json
    from buildpack.app.settings import read_build_env
    from buildpack.errors import AppError

    try:
        app_json = read_app_json(app)
    except AppError:
        app_json = AppJson()
    return read_build_env(app, app_json)


def _tell(seconds: float) -> None:
    """Say that pipenv begins, and on a terminal now and then that it is still at work."""
    if not seconds:
        print("Locking with pipenv, which takes some seconds ...", file=sys.stderr)
    elif sys.stderr.isatty():
        print(f"  still locking, after {seconds:.0f} s ...", file=sys.stderr)


def _interpreter(app: Path) -> str:
    """Return an interpreter of the app's Python on this machine, else the one that runs this."""
    from buildpack.app.python_version import read_python_version
    from buildpack.stacks.find_python import choose, find_candidates

    asked, _warnings = read_python_version(app, None, today=date.today())  # noqa: DTZ011  a date of no time zone
    if asked is None:
        return sys.executable
    found = choose(asked.version, find_candidates(asked.version, environ=os.environ, own=sys.executable), os.environ)
    return str(found.executable) if found else sys.executable


def _pin(app: Path) -> bool:
    """Write the digest of the app's stack into deploy.toml; tell whether that changed it."""
    from buildpack.app.read import examine_app
    from buildpack.oci.transport import Transport
    from buildpack.stacks.platforms import native_platform
    from buildpack.stacks.resolve import resolve_stack
    from buildpack.stacks.stack import StackRequest
    from deployer.interrupts import ending_promptly
    from deployer.locking.pin import pin_stack
    from deployer.session import open_store

    # Whatever else is wrong with the app, a Procfile say, is for `deploy check` to tell.
    read = examine_app(
        app,
        environ=os.environ,
        today=date.today(),  # noqa: DTZ011  end-of-life dates have no time zone
        own_python=f"{sys.version_info[0]}.{sys.version_info[1]}",
    )
    if read.settings is None:
        raise read.problems[0]
    asked = read.settings.stack
    name = asked.value if asked else f"python:{read.python.version if read.python else '3.13'}-slim"
    if name == "host" or name.startswith(("oci:", "archive:")):
        return False
    if asked and not asked.origin.startswith("deploy.toml"):
        print_warning(f"the stack comes from {asked.origin}; deploy.toml was left alone.")
        return False
    tag = name.partition("@")[0]
    with ending_promptly(), Transport(os.environ) as transport:
        stack = resolve_stack(
            StackRequest(name=tag, python=None, platform=native_platform(), pull=True),
            store=open_store(os.environ, warn=print_warning),
            environ=os.environ,
            transport=transport,
        )
    pinned = f"{tag}@{stack.reference.rpartition('@')[2]}"
    changed = pin_stack(app, pinned)
    if changed:
        print(harmless(f"deploy.toml: stack = {pinned}"), file=sys.stderr)
    return changed
