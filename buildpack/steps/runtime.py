"""The layer between the stack and the dependencies: launcher, empty environment, and the app's user.

The launcher, under ``/opt/deploy``, is the runner of `deploy`, and honcho. Their text is read as data. Nothing of them
is imported, so the library does not depend on the command.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from buildpack.dataclass import dataclass
from buildpack.oci.entry import Entry, Inline, file
from buildpack.options import Launcher
from buildpack.plan import RUNTIME_ROOT, USER
from buildpack.stacks.stack import Stack
from buildpack.steps.assembly import app_folder
from buildpack.steps.install_target import layout_for
from buildpack.steps.stack_compiler import StackCompiler

HONCHO = ("__init__.py", "_version.py", "colour.py", "compat.py", "environ.py", "printer.py")
"""The modules of honcho that the runner uses. Its command line, its exporters and its own loop are left out."""

MAIN = b"""\
import sys

from deployer.runner.launcher import main

sys.exit(main(sys.argv[1:]))
"""


def read_launcher() -> Launcher:
    """Read the runner and honcho from their installed packages."""
    runner = _folder("deployer") / "runner"
    honcho = _folder("honcho")
    files = {"__main__.py": MAIN, "deployer/__init__.py": b""}
    for path in sorted(runner.glob("*.py")):
        files[f"deployer/runner/{path.name}"] = path.read_bytes()
    for name in HONCHO:
        files[f"honcho/{name}"] = (honcho / name).read_bytes()
    return Launcher(files=files)


def _folder(package: str) -> Path:
    # Finding a package does not import it: a build needs only the text, and honcho's modules are slow to import.
    spec = find_spec(package)
    assert spec is not None, package
    assert spec.submodule_search_locations, package
    return Path(spec.submodule_search_locations[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The entries of the layer. `modules` are the launcher's, which every process starts through."""

    entries: tuple[Entry, ...]
    modules: tuple[Entry, ...]

    def listed(self) -> dict[str, str]:
        """Return every path with its content's SHA-256 or link target, for the key."""
        return _listed(self.entries)

    def written(self, compiler: StackCompiler | None) -> Iterator[Entry]:
        """Yield the layer; a `compiler` compiles the launcher."""
        yield from self.entries
        yield app_folder()
        if compiler is not None:
            identity = hashlib.sha256(repr(_listed(self.modules)).encode()).hexdigest()
            yield from compiler.entries(identity, self.modules)


def _listed(entries: Sequence[Entry]) -> dict[str, str]:
    return {
        entry.path: hashlib.sha256(entry.content.body).hexdigest()
        if isinstance(entry.content, Inline)
        else entry.target
        for entry in entries
    }


def make_runtime(launcher: Launcher, stack: Stack) -> Runtime:
    """Return the layer's content on this stack."""
    from buildpack.python.venv import venv_entries

    files = [file(f"{RUNTIME_ROOT}/{path}", body) for path, body in launcher.files.items()]
    user = ("app", "x", str(USER), str(USER), "", "/app", "/bin/sh")
    accounts = {
        "etc/passwd": _with_user(stack.facts.passwd, user),
        "etc/group": _with_user(stack.facts.group, (*user[:3], "")),
    }
    made = (file(path, body) for path, body in accounts.items() if body is not None)
    return Runtime(
        entries=(*files, *venv_entries(layout_for(stack)), *made),
        modules=tuple(entry for entry in files if entry.path.endswith(".py")),
    )


def _with_user(existing: str | None, row: tuple[str, ...]) -> bytes | None:
    """Return passwd or group with a row for the app's user; None if a row has its ID already."""
    lines = (existing or "").splitlines()
    if any(line.split(":")[2:3] == [row[2]] for line in lines):
        return None
    taken = {line.partition(":")[0] for line in lines}
    name = row[0] if row[0] not in taken else f"{row[0]}{row[2]}"
    return "".join(f"{line}\n" for line in (*lines, ":".join((name, *row[1:])))).encode()
