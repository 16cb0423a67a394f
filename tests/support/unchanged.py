"""A small app without dependencies, built again and again: was it answered from the record, and what was the answer?"""

from __future__ import annotations

import atexit
import compileall
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from buildpack.app.pipfile import parse_pipfile, pipfile_hashes
from tests.support.command import ROOT, without_progress

PIPFILE = "[packages]\n"

SETTLE = 0.12
"""Seconds after which what was changed counts as past: `recording` wants a tenth."""


def make_app(folder: Path) -> Path:
    """Write an app that needs nothing but the stack `host`.

    It names its Python. Otherwise every folder of PATH would decide which one a build takes, and any installation on
    this machine during a test (pyenv writes its folder of shims when a shell starts) would change the answer.
    """
    meta = {"pipfile-spec": 6, "hash": {"sha256": pipfile_hashes(parse_pipfile(PIPFILE))[0]}, "sources": []}
    lock = {"_meta": meta, "default": {}, "develop": {}}
    folder.mkdir(parents=True)
    (folder / "Pipfile").write_text(PIPFILE)
    (folder / "Pipfile.lock").write_text(json.dumps(lock))
    (folder / ".python-version").write_text(f"{sys.version_info[0]}.{sys.version_info[1]}\n")
    (folder / "Procfile").write_text("web: python -m http.server $PORT\n")
    (folder / "deploy.toml").write_text('stack = "host"\n')
    (folder / "server.py").write_text("GREETING = 'hello'\n")
    (folder / "pages").mkdir()
    (folder / "pages" / "index.html").write_text("<h1>hello</h1>\n")
    return folder


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The output of a build, the modules that it imported, and whether it answered from its record."""

    digest: str
    recorded: bool
    imported: frozenset[str] = field(default=frozenset(), compare=False, repr=False)
    err: str
    out: str


def copy_tool(folder: Path) -> Path:
    """Copy the tool, so that a test can edit it, and compile it, since its processes write no byte code."""
    for name in ("buildpack", "deployer"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(folder, quiet=1)
    return folder


@cache
def own_tool() -> Path:
    """A copy that nobody edits while the tests run, since then every record would be worthless."""
    folder = Path(tempfile.mkdtemp(prefix="deploy-tool-"))
    atexit.register(shutil.rmtree, folder)
    return copy_tool(folder)


def environment(home: Path, tool: Path) -> dict[str, str]:
    """Return what `build` sets; pytest's word on which test is at work would make each call another question."""
    own = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    # Byte code that a first run writes beside the tool's modules would make the next one build.
    return {**own, "DEPLOY_HOME": str(home), "PYTHONPATH": str(tool), "PYTHONDONTWRITEBYTECODE": "1"}


def build(
    app: Path | str,
    *arguments: str,
    home: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    python: str = sys.executable,
    tool: Path | None = None,
) -> Answer:
    """Run `deploy build`, once what was just changed is past; the record is used where click is not even imported."""
    time.sleep(SETTLE)
    tool = tool or own_tool()
    environ = {**environment(home, tool), **(env or {})}
    command = [python, "-X", "importtime", "-m", "deployer", "build", str(app), *arguments]
    done = subprocess.run(command, cwd=cwd or tool, env=environ, capture_output=True, text=True, check=False)
    # A thread that imports may write its line before the end of another line.
    imports = re.compile(r"import time:.*\n")
    err = without_progress(imports.sub("", done.stderr))
    assert done.returncode == 0, err
    imported = frozenset(line.rpartition("|")[2].strip() for line in imports.findall(done.stderr))
    recorded = "click" not in imported
    return Answer(digest=done.stdout.strip(), recorded=recorded, imported=imported, err=err, out=done.stdout)
