"""The house's own rules: lint, format, types and the direction of imports, each by its own tool."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def test_lint():
    run("ruff", "check", "--no-cache", ".")


def test_format():
    run("ruff", "format", "--no-cache", "--check", ".")


@pytest.mark.slow
def test_types():
    run("mypy")


def test_imports_point_one_way():
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "data", "info", "manager"])
def test_no_module_has_a_name_that_says_nothing(name):
    assert not [path for top in ("buildpack", "deployer") for path in (ROOT / top).rglob(f"{name}.py")]


def test_deployer_s_package_file_is_empty():
    assert (ROOT / "deployer" / "__init__.py").read_bytes() == b""


def test_the_quick_path_imports_nothing_heavy():
    script = "import sys, deployer.cli.command, deployer.cli.build, buildpack.pipeline; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"requests", "docker", "rich", "packaging", "zipfile", "installer", "asyncio", "ssl", "urllib3"}
    assert heavy.isdisjoint(done.stdout.split())
