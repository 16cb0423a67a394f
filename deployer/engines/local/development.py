"""Development servers: what `--dev` starts in the place of the web process's own command."""

from __future__ import annotations

import os

from buildpack.app.read import App
from deployer.errors import local as errors


def development_command(app: App, *, python: str, port: str) -> list[str]:
    """Return the server with reloader and debugger that fits the app, on 127.0.0.1 alone.

    Raises AppError where no app object was found, or no server for it is locked.
    """
    locked = {package.name for package in (*app.lock.packages, *app.lock.develop)}
    if "django" in locked and os.path.isfile(app.folder / "manage.py"):
        return [python, "manage.py", "runserver", f"127.0.0.1:{port}"]
    served = app.app_object
    if served is None:
        raise errors.dev_without_app()
    address = ["--host", "127.0.0.1", "--port", port]
    if served.interface == "asgi":
        if "uvicorn" not in locked:
            raise errors.dev_without_server(served.target, served.interface)
        factory = ["--factory"] if served.target.endswith("()") else []
        search = ["--app-dir", served.search] if served.search else []
        target = served.target.removesuffix("()")
        return [python, "-m", "uvicorn", target, *factory, *search, "--reload", *address]
    if "flask" not in locked:
        raise errors.dev_without_server(served.target, served.interface)
    return [python, "-m", "flask", "--app", f"{_prefix(served.search)}{served.target}", "run", "--debug", *address]


def _prefix(search: str) -> str:
    # A path before the module's name is where Flask imports it from.
    return f"{search}/" if search else ""
