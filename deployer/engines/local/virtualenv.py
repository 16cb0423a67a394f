"""Find and check an existing virtual environment, for `--venv`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from deployer.errors import engines as errors


def find_virtual_environment(asked: str, *, folder: Path, environ: Mapping[str, str]) -> Path:
    """Return the virtual environment at `asked`; if that is empty, the active one, else ``.venv`` in `folder`.

    Raises UsageError if there is none, MachineError if its interpreter does not start.
    """
    path, origin = _choose(asked, folder, environ)
    if not os.path.isfile(path / "pyvenv.cfg"):
        raise errors.not_a_virtual_environment(path, origin)
    _check(path, environ)
    return path


def _choose(asked: str, folder: Path, environ: Mapping[str, str]) -> tuple[Path, str]:
    if asked:
        return Path(asked).absolute(), "--venv"
    if environ.get("VIRTUAL_ENV"):
        return Path(environ["VIRTUAL_ENV"]).absolute(), "VIRTUAL_ENV"
    own = folder.absolute() / ".venv"
    if not os.path.lexists(own):
        raise errors.no_virtual_environment(folder)
    return own, "--venv"


def _check(path: Path, environ: Mapping[str, str]) -> None:
    """Check that its interpreter starts: a changed system may leave a dangling link, or worse."""
    import subprocess

    from buildpack.system.processes import library_path

    python = path / "bin" / "python"
    if not os.path.exists(python):
        target = f"{python} points at {os.readlink(python)}, which is gone." if os.path.islink(python) else ""  # noqa: PTH115
        raise errors.virtual_environment_broken(path, target or f"{python} is missing.")
    try:
        subprocess.run(
            [python, "-I", "-S", "-c", ""],
            check=True,
            capture_output=True,
            timeout=20,
            stdin=subprocess.DEVNULL,
            env=library_path(environ),
        )
    except (OSError, subprocess.SubprocessError):
        raise errors.virtual_environment_broken(path, f"{python} does not start.") from None


def python_version(path: Path) -> str:
    """Return the version that pyvenv.cfg names (``3.11.2``); empty if it names none."""
    text = (path / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace")
    settings = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in text.splitlines())}
    return settings.get("version") or ".".join(settings.get("version_info", "").split(".")[:3])
