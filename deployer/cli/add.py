"""`deploy add`: change Pipfile and Pipfile.lock together."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from deployer.cli import options

EXAMPLES = """\b
Examples:
  deploy add flask 'gunicorn>=22'    two packages of the current folder
  deploy add --dev pytest --app blasto
"""


@click.command("add", epilog=EXAMPLES)
@click.argument("packages", nargs=-1, required=True, metavar="PKG...")
@click.option("--dev", is_flag=True, help="Add to [dev-packages], not [packages].")
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
    """Add packages: change Pipfile and Pipfile.lock together, or neither.

    PKG is a requirement, as in 'flask[async]>=3'. Other packages keep their locked versions.
    """
    from deployer.cli.lock import edit_app
    from deployer.locking.pipfile import add_packages

    edit = partial(add_packages, packages=packages, dev=dev)
    return edit_app(app, edit, build_env=build_env, build_env_files=build_env_files, verbose=verbose)
