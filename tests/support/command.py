"""Run the `deploy` command as a user does: a process, its exit code, its two streams."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployer.cli.progress import TITLES
from tests.support.warm import run_warm

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
ENTERING = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
"""The tests' own interpreter may be in root's home, which nobody else may enter."""
_PROGRESS = re.compile(rf"^(?:{'|'.join(map(re.escape, TITLES.values()))}) \.\.\.\n", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        assert self.code == 0, self.err
        return json.loads(self.out)


def deploy(
    *arguments: str | Path,
    home: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    prefix: tuple[str, ...] = (),
    stdin: bytes | None = None,
    timeout: float = 300,
) -> Done:
    """Run `deploy` with its store at `home`; `env` is added to this process's, `prefix` goes before the command."""
    environ = {**os.environ, "DEPLOY_HOME": str(home), "PYTHONPATH": str(ROOT), **(env or {})}
    words = list(map(str, arguments))
    if not prefix and _of_interpreter(environ) == _OWN:
        code, out, err = run_warm(words, cwd=cwd or ROOT, env=environ, stdin=stdin, timeout=timeout)
    else:
        command = [*prefix, sys.executable, "-m", "deployer", *words]
        done = subprocess.run(
            command, cwd=cwd or ROOT, env=environ, input=stdin, capture_output=True, timeout=timeout, check=False
        )
        code, out, err = done.returncode, done.stdout, done.stderr
    return Done(code=code, out=out.decode(), err=without_progress(err.decode()))


def _of_interpreter(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that only a fresh interpreter obeys."""
    names = ("LANG", "LC_", "LD_", "MALLOC_", "PYTHON")
    return {name: value for name, value in environ.items() if name.startswith(names)}


_OWN = {**_of_interpreter(os.environ), "PYTHONPATH": str(ROOT)}


def without_progress(text: str) -> str:
    """Take out the lines that are printed only if work takes long: a busy machine would change what tests see."""
    return _PROGRESS.sub("", text)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the content of every file in a folder, by its path there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
