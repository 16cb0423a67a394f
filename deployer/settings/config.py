"""Values of the command line and the environment, parsed and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path

from buildpack.app.app_json import is_name
from buildpack.bounded import parse_integer
from buildpack.errors.hooks import bad_build_env, unset_build_env
from deployer.errors.settings import bad_epoch, bad_health_host, bad_label, reserved_label, undecodable_label

_OURS = "dev.deploy."
"""The prefix of labels that say from what an image was built; their readers rely on them."""


def parse_labels(texts: Iterable[str]) -> dict[str, str]:
    """Read ``K=V`` operands of `--label`; raises UsageError."""
    labels = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise bad_label(text)
        if name.startswith(_OURS):
            raise reserved_label(name)
        try:
            text.encode()
        except UnicodeEncodeError:
            raise undecodable_label(text) from None
        labels[name] = value
    return labels


def parse_build_env(
    texts: Iterable[str], environ: Mapping[str, str], *, folder: Path, files: Sequence[str] = ()
) -> dict[str, str]:
    """Read ``K=V`` operands of `--build-env`, and ``K`` for the value that `environ` has; raises UsageError.

    They override variables of `files`, and a later file overrides an earlier one. Raises as `read_env_files` does.
    `folder` is the app's.
    """
    from deployer.settings.environment import read_env_files

    variables: dict[str, str] = {}
    for found in read_env_files(files, app=folder, own=False, environ={}) if files else ():
        if bad := next((name for name in found if not is_name(name)), None):
            raise bad_build_env(bad)
        variables |= found
    for text in texts:
        name, equals, value = text.partition("=")
        if not is_name(name):
            raise bad_build_env(name)
        if not equals and name not in environ:
            raise unset_build_env(name)
        variables[name] = value if equals else environ[name]
    return variables


def parse_health_host(text: str | None) -> str:
    """Read the operand of `--health-host`; empty if it is not given. Raises UsageError."""
    from buildpack.app.health_host import is_host

    if text is not None and not is_host(text):
        raise bad_health_host(text)
    return text or ""


def parse_epoch(environ: Mapping[str, str]) -> int | None:
    """Read SOURCE_DATE_EPOCH, in seconds since 1970; None if it is unset. Raises UsageError for anything else."""
    text = environ.get("SOURCE_DATE_EPOCH", "").strip()
    if not text:
        return None
    # The limit of tar headers.
    epoch = parse_integer(text, most=(1 << 33) - 1)
    if epoch is None:
        raise bad_epoch(text)
    return epoch


def today() -> date:
    """Return the date with which end-of-life dates are compared."""
    return date.today()  # noqa: DTZ011  they have no time zone
