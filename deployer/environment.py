"""The environment of processes: command line over this process's environment over `.env` files over defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from deployer.errors import bad_assignment, env_file_missing, env_file_undecodable

__all__ = ["merge_environment", "parse_assignments", "read_env_file"]


def read_env_file(path: Path, *, environ: Mapping[str, str]) -> dict[str, str]:
    """Read a `.env` file with python-dotenv, ``${VAR}`` expanded from the file and `environ`.

    A name without a value (``A`` alone) is left out, ``A=`` is the empty string. Raises UsageError where
    the file does not exist and AppError where it is not UTF-8.
    """
    from io import StringIO

    from dotenv.main import DotEnv

    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise env_file_missing(path) from None
    except UnicodeDecodeError as error:
        raise env_file_undecodable(path, error.start) from None
    values: dict[str, str] = {}
    for name, value in DotEnv(dotenv_path=None, stream=StringIO(text), interpolate=False).dict().items():
        if value is not None:
            values[name] = _expand(value, {**values, **environ})
    return values


def _expand(value: str, environ: Mapping[str, str]) -> str:
    from dotenv.variables import parse_variables

    return "".join(atom.resolve(environ) for atom in parse_variables(value))


def parse_assignments(assignments: Iterable[str]) -> dict[str, str]:
    """Read ``K=V`` operands of `-e`; raises UsageError for one without a name or an equals sign."""
    values: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name.strip() or "\0" in assignment:
            raise bad_assignment(assignment)
        values[name] = value
    return values


def merge_environment(
    *,
    given: Mapping[str, str],
    environ: Mapping[str, str],
    files: Iterable[Mapping[str, str]],
    defaults: Mapping[str, str],
) -> dict[str, str]:
    """Merge by precedence: `given` (command line), `environ`, `files` (a later one wins over an earlier), defaults."""
    merged = dict(defaults)
    for values in files:
        merged.update(values)
    merged.update(environ)
    merged.update(given)
    return merged
