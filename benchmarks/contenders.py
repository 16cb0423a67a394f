"""The contenders: Dockerfiles in the engine's BuildKit, and `deploy build`. Each can forget everything and build."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import measure

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
EXAMPLE = ROOT / "examples" / "bookshelf"
PREFIX = "deploy-bench-"
# A small wheel in the middle of the graph, and its previous release as the lock would name it.
SMALL = "idna"
SMALL_BEFORE = {
    "hashes": [
        "sha256:12f65c9b470abda6dc35cf8e63cc574b1c52b11df2c86030af0ac09b01b13ea9",
        "sha256:946d195a0d259cbba61165e88e65941f16e9b36ea6ddb97f00452bae8b1287d3",
    ],
    "markers": "python_version >= '3.6'",
    "version": "==3.10",
}


@dataclass(kw_only=True, slots=True)
class App:
    """A copy of the example that can be changed; the peers' has the lock as requirements.txt as well."""

    folder: Path
    export: bool
    changes: int = 0

    def restore(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(EXAMPLE, self.folder, ignore=shutil.ignore_patterns("__pycache__", ".*_cache", ".env"))
        (self.folder / ".python-version").write_text("3.11\n")
        self._export()

    def change_line(self) -> None:
        self.changes += 1
        with (self.folder / "bookshelf" / "web.py").open("a") as file:
            file.write(f"# change {self.changes} of {os.getpid()}\n")

    def change_dependency(self) -> None:
        path = self.folder / "Pipfile.lock"
        lock = json.loads(path.read_text())
        if lock["default"][SMALL]["version"] == SMALL_BEFORE["version"]:
            raise SystemExit(f"{EXAMPLE / path.name} pins {SMALL} as the changed lock would; choose another package")
        lock["default"][SMALL] |= SMALL_BEFORE
        path.write_text(json.dumps(lock, indent=4) + "\n")
        self._export()

    def _export(self) -> None:
        if self.export:
            lock = json.loads((self.folder / "Pipfile.lock").read_text())
            (self.folder / "requirements.txt").write_text(render_requirements(lock))


def render_requirements(lock: dict[str, dict[str, dict[str, object]]]) -> str:
    """Render a lock's default section as `pipenv requirements --hash` does."""
    lines = []
    for name, entry in lock["default"].items():
        marker = f" ; {entry['markers']}" if "markers" in entry else ""
        hashes = entry["hashes"]
        assert isinstance(hashes, list)
        lines.append(" ".join([f"{name}{entry['version']}{marker}", *(f"--hash={digest}" for digest in hashes)]))
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Docker:
    """The engine's command line, with BuildKit."""

    program: str

    def run(self, *arguments: str, check: bool = True) -> str:
        environ = {**os.environ, "DOCKER_BUILDKIT": "1"}
        done = subprocess.run([self.program, *arguments], capture_output=True, text=True, check=False, env=environ)
        if check and done.returncode:
            command = [self.program, *arguments]
            raise measure.CommandFailedError(measure.describe_failure(command, done.returncode, done.stderr))
        return done.stdout.strip()

    def remove(self, images: Sequence[str]) -> None:
        for image in images:
            self.run("image", "rm", "--force", image, check=False)

    def remove_ours(self) -> None:
        """Remove every container and image that bears the benchmark's prefix, from this run or a killed one."""
        names = self.run("ps", "--all", "--filter", f"name=^/?{PREFIX}", "--format", "{{.Names}}").split()
        if names:
            self.run("rm", "--force", "--volumes", *names, check=False)
        self.remove(
            self.run("images", "--filter", f"reference={PREFIX}*", "--format", "{{.Repository}}:{{.Tag}}").split()
        )

    def prune(self) -> None:
        """Empty the build cache; all of it, since BuildKit cannot tell whose is whose."""
        self.run("builder", "prune", "--all", "--force")


def find_docker(environ: dict[str, str]) -> Docker:
    """Return the first client on PATH that can drive BuildKit: by itself before 23, by its buildx plug-in since."""
    for folder in environ.get("PATH", "").split(os.pathsep):
        program = shutil.which("docker", path=folder)
        if program is None:
            continue
        docker = Docker(program=program)
        version = docker.run("version", "--format", "{{.Client.Version}}", check=False)
        if version and (int(version.partition(".")[0]) < 23 or docker.run("buildx", "version", check=False)):
            return docker
    raise SystemExit("no docker client on PATH can build with BuildKit; install docker.io, or the buildx plug-in")


class Contender(Protocol):
    """One column of the table."""

    @property
    def name(self) -> str: ...
    @property
    def image(self) -> str: ...
    @property
    def app(self) -> App: ...
    @property
    def has_store(self) -> bool:
        """Tell whether an image can be finished outside the engine."""
        ...

    def forget(self) -> None:
        """Empty every cache of this contender and remove its images."""
        ...

    def command(self, *, load: bool, cold: bool) -> list[str]: ...
    def environ(self) -> dict[str, str]: ...
    def note_image(self) -> None:
        """Remember the image just made, so that it can be removed when its name has moved on."""
        ...


@dataclass(kw_only=True, slots=True)
class Peer:
    """A Dockerfile of benchmarks/peers."""

    name: str
    app: App
    docker: Docker
    made: set[str] = field(default_factory=set)
    has_store: bool = False

    @property
    def image(self) -> str:
        return f"{PREFIX}{self.name}"

    def forget(self) -> None:
        self.docker.remove([self.image, *self.made])
        self.made.clear()
        self.docker.prune()

    def command(self, *, load: bool, cold: bool) -> list[str]:
        assert load, "BuildKit in the engine has no other place for an image"
        return [
            *(self.docker.program, "build", "--quiet", "--network", "host", *(["--no-cache"] if cold else [])),
            *("--build-arg", f"TOOLS={PREFIX}tools", "--file", str(HERE / "peers" / f"Dockerfile.{self.name}")),
            *("--tag", self.image, str(self.app.folder)),
        ]

    def environ(self) -> dict[str, str]:
        return {**os.environ, "DOCKER_BUILDKIT": "1"}

    def note_image(self) -> None:
        self.made.add(self.docker.run("image", "inspect", "--format", "{{.Id}}", self.image))


@dataclass(kw_only=True, slots=True)
class Ours:
    """`deploy build` of this checkout, on one stack."""

    name: str
    stack: str
    app: App
    docker: Docker
    home: Path
    made: set[str] = field(default_factory=set)
    has_store: bool = True

    @property
    def image(self) -> str:
        return f"{PREFIX}{self.name}"

    def forget(self) -> None:
        self.docker.remove([self.image, *self.made])
        self.made.clear()
        shutil.rmtree(self.home, ignore_errors=True)

    def command(self, *, load: bool, cold: bool) -> list[str]:
        del cold  # forgetting made it so
        return [
            *(sys.executable, "-m", "deployer", "build", str(self.app.folder), "-t", self.image),
            *("--stack", self.stack, "-q", "--json", *(["--to", "docker"] if load else [])),
        ]

    def environ(self) -> dict[str, str]:
        return {**os.environ, "DEPLOY_HOME": str(self.home)}

    def note_image(self) -> None:
        if image := self.docker.run("image", "inspect", "--format", "{{.Id}}", self.image, check=False):
            self.made.add(image)
