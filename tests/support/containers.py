"""An engine as tests see it, through the `docker` command, and an app made for being run on it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.command import EXAMPLES

APP = "deploytestrun" + os.environ.get("PYTEST_XDIST_WORKER", "")
"""Two workers at once must not take each other's containers for what they left."""

PROCFILE = """\
web: eval "${WEB:-exec gunicorn blasto:APP}"
any: eval "$ANY"
worker: echo working; exec sleep 1000
stubborn: trap '' TERM; echo deaf; while true; do sleep 0.1; done
release: echo released
"""

SLOW = """\
import time

def app(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        print("begun", flush=True)
        time.sleep(2)
    start_response("200 OK", [("Content-Length", "4")])
    return [b"done"]
"""


def make_app(folder: Path) -> Path:
    """Make the app at `folder`/APP: blasto with process types that do what a test tells them."""
    app = Path(shutil.copytree(EXAMPLES / "blasto", folder / APP))
    (app / "Procfile").write_text(PROCFILE)
    (app / "slow.py").write_text(SLOW)
    return app


@dataclass(frozen=True, kw_only=True)
class Host:
    """An engine at an address, under the name that `deploy` calls it."""

    address: str
    product: str
    kind: str = "classic"

    @property
    def network(self) -> tuple[str, ...]:
        """Return the prefix of a command that has to reach the ports that the engine publishes.

        tests/support/engines/start.sh gives an engine a network of its own.
        """
        pid = Path(self.address.removeprefix("unix://")).with_name("pid")
        return ("nsenter", "--net", "--target", pid.read_text().strip()) if pid.exists() else ()

    def docker(self, *arguments: str, check: bool = True) -> str:
        """Run the `docker` command; its standard output."""
        done = subprocess.run(
            ["docker", *arguments],
            env={**os.environ, "DOCKER_HOST": self.address},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def containers(self, app: str = APP) -> list[str]:
        """Return the names of the app's containers, running or not."""
        listed = self.docker("ps", "-a", "--filter", f"label=dev.deploy.app={app}", "--format", "{{.Names}}")
        return sorted(listed.split())

    def everything(self, app: str) -> set[str]:
        """Return the names of the app's containers, and of the images that `ci` tries out."""
        images = self.docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"deploy-ci/{app}-*")
        return {*self.containers(app), *images.split()}

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what the engine knows of a container."""
        found: dict[str, Any] = json.loads(self.docker("inspect", name))[0]
        return found

    def wait_for_containers(self, count: int, seconds: float = 120) -> list[str]:
        """Wait until the app has so many containers."""
        end = time.monotonic() + seconds
        while len(found := self.containers()) != count:
            assert time.monotonic() < end, f"{found} are there, not {count}"
            time.sleep(0.05)
        return found
