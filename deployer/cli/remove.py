"""`deploy remove`: change Pipfile and Pipfile.lock together."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from deployer.cli import options

EXAMPLES = """\b
Examples:
  deploy remove six                  one of the current folder
  deploy remove --dev pytest --app blasto
"""


@click.command("remove", epilog=EXAMPLES)
@click.argument("packages", nargs=-1, required=True, metavar="PKG...")
@click.option("--dev", is_flag=True, help="Remove from [dev-packages], not [packages].")
@options.app_option
@options.build_env
@options.build_env_file
@options.pipenv_verbose
def command(
    packages: tuple[str, ...],
    dev: bool,
    app: Path,
    build_env: tuple[str, ...],
    build_env_files: tuple[str, ...],
    verbose: bool,
) -> int:
    """Remove packages: change Pipfile and Pipfile.lock together, or neither.

    Other packages keep their locked versions.
    """
    from deployer.cli.lock import edit_app
    from deployer.locking.pipfile import remove_packages

    edit = partial(remove_packages, packages=packages, dev=dev)
    return edit_app(app, edit, build_env=build_env, build_env_files=build_env_files, verbose=verbose)
