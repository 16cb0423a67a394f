"""`deploy lock`, `deploy add` and `deploy remove`: change Pipfile and Pipfile.lock with pipenv."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from buildpack.errors import StackError
from deployer.cli import options
from deployer.cli.messages import print_line, print_warning
from deployer.errors.files import stack_not_pinned
from deployer.text import operand_text, plural

if TYPE_CHECKING:
    from deployer.locking.lock import Locked, Order

EXAMPLES = """\b
Examples:
  deploy lock                      lock the current folder
  deploy lock blasto -P gunicorn   also upgrade gunicorn
"""

ADD_EXAMPLES = """\b
Examples:
  deploy add flask 'gunicorn>=22'        two packages
  deploy add --dev pytest --app blasto   for development, to the app in blasto
"""

REMOVE_EXAMPLES = """\b
Examples:
  deploy remove six                         a package that the app runs with
  deploy remove --dev pytest --app blasto   one for development
"""


_pipenv_options = options.together(options.build_env, options.build_env_file, options.pipenv_verbose)
_packages = options.together(
    click.argument("packages", nargs=-1, required=True, metavar="PKG..."),
    options.option("--dev", is_flag=True, help="Change [dev-packages], not [packages]."),
    options.app_option,
    _pipenv_options,
)


@click.command("add", cls=options.Command, epilog=ADD_EXAMPLES)
@_packages
def add(packages: tuple[str, ...], dev: bool, app: Path, **given: Any) -> int:
    """Add packages to Pipfile and Pipfile.lock, or change neither file if that fails.

    PKG is a requirement, such as 'flask[async]>=3'. Other packages keep their locked versions.
    """
    from deployer.locking.pipfile import add_packages

    return _edit(app, partial(add_packages, packages=packages, dev=dev), given)


@click.command("remove", cls=options.Command, epilog=REMOVE_EXAMPLES)
@_packages
def remove(packages: tuple[str, ...], dev: bool, app: Path, **given: Any) -> int:
    """Remove packages from Pipfile and Pipfile.lock, or change neither file if that fails.

    Other packages keep their locked versions.
    """
    from deployer.locking.pipfile import remove_packages

    return _edit(app, partial(remove_packages, packages=packages, dev=dev), given)


@click.command("lock", cls=options.Command, epilog=EXAMPLES)
@options.app
@options.option("-U", "--upgrade", is_flag=True, help="Upgrade every package as far as Pipfile allows.")
@options.option(
    "-P", "--upgrade-package", "packages", multiple=True, metavar="PKG", help="Upgrade this package (repeatable)."
)
@options.option("--no-pin", is_flag=True, help="Do not pin the stack in deploy.toml.")
@_pipenv_options
def command(app: Path, upgrade: bool, packages: tuple[str, ...], no_pin: bool, **given: Any) -> int:
    """Update Pipfile.lock with pipenv, and pin the stack's digest in deploy.toml.

    APP is a folder (default: the current one). Packages keep their locked versions, unless Pipfile or another package
    requires a different one.
    """
    from deployer.locking.lock import Order

    order = Order(move=None if upgrade else frozenset(packages), variables=_variables(app, given))
    written = list(_lock_and_show(app, order, given).written)
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


def _variables(app: Path, given: Mapping[str, Any]) -> dict[str, str]:
    from deployer.settings.environment import parse_build_env

    return parse_build_env(given["build_env"], os.environ, files=given["build_env_files"], folder=app)


def _lock_and_show(app: Path, order: Order, given: Mapping[str, Any]) -> Locked:
    """Lock the app, and print what changed in Pipfile.lock."""
    begin = time.monotonic()
    locked = lock_app(app, order, verbose=given["verbose"])
    for change in locked.changes:
        print_line(f"  {change}")
    seconds = time.monotonic() - begin
    print_line(f"Pipfile.lock: {plural(len(locked.changes), 'package')} changed, in {seconds:.1f} s")
    return locked


def _edit(app: Path, edit: Callable[[str], str], given: Mapping[str, Any]) -> int:
    """Change the text of the app's Pipfile with `edit`, lock the result, and write both files or neither."""
    from buildpack.app.textfile import read_text
    from deployer.errors.files import no_pipfile
    from deployer.locking.lock import Order

    variables = _variables(app, given)
    text = read_text(app, "Pipfile")
    if text is None:
        raise no_pipfile(app)
    locked = _lock_and_show(app, Order(pipfile=edit(text), variables=variables), given)
    _say_next(app, locked.written)
    return 0


def lock_app(app: Path, order: Order | None = None, *, verbose: bool = False) -> Locked:
    """Lock the app for its Python; without an `order` keep all locked versions. Raises as `run_pipenv` does.

    Builds of packages get the variables of the order, and those that the app sets for its build.
    """
    from buildpack.errors.app import no_such_folder, not_a_folder
    from buildpack.session import open_store
    from deployer.locking.lock import Order, run_pipenv

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
    """Return the variables that the app sets for its build; as in a build, an app.json that is not JSON sets none."""
    from buildpack.app.app_json import AppJson, read_app_json
    from buildpack.app.settings import read_build_env
    from buildpack.errors import AppError

    try:
        app_json = read_app_json(app)
    except AppError:
        app_json = AppJson()
    return read_build_env(app, app_json)


def _tell(seconds: float) -> None:
    """Say that pipenv starts, and on a terminal from time to time that it is still running."""
    if not seconds:
        print("Locking with pipenv, which takes some seconds ...", file=sys.stderr)
    elif sys.stderr.isatty():
        print(f"  still locking, after {seconds:.0f} s ...", file=sys.stderr)


def _interpreter(app: Path) -> str:
    """Return an interpreter of the app's Python on this machine, or the one that runs deploy."""
    from buildpack.app.python_version import read_python_version
    from buildpack.stacks.find_python import find_python
    from deployer.settings.environment import today

    asked, _warnings = read_python_version(app, None, today=today())
    if asked is None:
        return sys.executable
    found = find_python(asked.version, environ=os.environ, own=sys.executable)
    return str(found.executable) if found else sys.executable


def _pin(app: Path) -> bool:
    """Write the digest of the app's stack into deploy.toml; return True if that changed the file."""
    from buildpack.app.read import examine_app
    from buildpack.oci.transport import Transport
    from buildpack.options import OwnPython
    from buildpack.session import open_store
    from buildpack.stacks.platforms import native_platform
    from buildpack.stacks.resolve import resolve_stack
    from buildpack.stacks.stack import StackRequest
    from deployer.interrupts import ending_promptly
    from deployer.locking.lock import pin_stack
    from deployer.settings.environment import today

    # `deploy check` reports any other error, in a Procfile for example.
    read = examine_app(
        app,
        environ=os.environ,
        today=today(),
        own_python=OwnPython().version,
    )
    if read.settings is None:
        raise read.problems[0]
    asked = read.settings.stack
    name = asked.value if asked else f"python:{read.python.version if read.python else '3.13'}-slim"
    if name == "host" or name.startswith(("oci:", "archive:")):
        return False
    if asked and not asked.origin.startswith("deploy.toml"):
        print_warning(f"the stack is set by {asked.origin}; deploy.toml did not change.")
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
        print_line(f"deploy.toml: stack = {pinned}")
    return changed
