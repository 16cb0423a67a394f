"""What an image's processes find in their environment where nobody set it.

On the way of a container's only process, so it imports next to nothing.
"""

from __future__ import annotations

import os

from deployer.runner.concurrency import web_concurrency

TYPE_CHECKING = False  # of `typing`, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["PORT", "app_environment", "runtime_folder", "temporary_folder"]

PORT = "8000"

_TEMPORARY = ("/tmp", "/dev/shm")  # noqa: S108
"""The second one can be written in a container whose root file system cannot."""


def app_environment(
    environ: Mapping[str, str], app_object: str | None, *, app: str = "/app", root: str = "/"
) -> dict[str, str]:
    """Return the environment of an image's processes: `environ`, completed.

    `app` is the app's folder, `root` where /proc and /sys are. A user without an entry in /etc/passwd
    (``docker run --user 12345``) has ``/`` for a HOME, where nothing can be written, and no name, for
    which `getpass.getuser` would raise.
    """
    env = dict(environ)
    env.setdefault("PORT", PORT)
    env.setdefault("PYTHONPATH", app)
    if app_object:
        env.setdefault("FLASK_APP", app_object)
    if env.get("HOME", "/") == "/":
        env["HOME"] = app
    if not env.get("USER"):
        env["USER"] = env.get("LOGNAME") or _user_name()
    if "WEB_CONCURRENCY" not in env:
        env["WEB_CONCURRENCY"] = str(web_concurrency(root))
    return env


def _user_name() -> str:
    uid = os.geteuid()
    try:
        import pwd

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError):
        return f"u{uid}"


def temporary_folder(environ: Mapping[str, str], places: Sequence[str] = _TEMPORARY) -> dict[str, str]:
    """Return a TMPDIR that can be written where the first of `places` cannot; nothing where there is no need.

    Without one gunicorn does not start under ``docker run --read-only``.
    """
    if environ.get("TMPDIR") or os.access(places[0], os.W_OK):
        return {}
    return next(({"TMPDIR": place} for place in places[1:] if os.access(place, os.W_OK)), {})


def runtime_folder(environ: Mapping[str, str], places: Sequence[str] = _TEMPORARY) -> dict[str, str]:
    """Make a fresh XDG_RUNTIME_DIR for one process; returns nothing where it is set, or nothing can be written.

    Two gunicorns with one folder would unlink each other's control sockets.
    """
    if environ.get("XDG_RUNTIME_DIR"):
        return {}
    for place in places:
        folder = f"{place}/deploy-{os.getpid()}-{os.urandom(4).hex()}"  # tempfile costs a start 8 ms
        try:
            os.mkdir(folder, 0o700)  # noqa: PTH102
        except OSError:
            continue
        return {"XDG_RUNTIME_DIR": folder}
    return {}
