"""The house's own rules: lint, format, types and the direction of imports, each by its own tool."""

from __future__ import annotations

import ast
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


def test_functions_and_modules_are_short():
    long = []
    for path in (path for top in ("buildpack", "deployer") for path in (ROOT / top).rglob("*.py")):
        text = path.read_text()
        if text.count("\n") > 350:
            long.append(f"{path}: more than 350 lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                given = node.args
                if node.end_lineno is not None and node.end_lineno - node.lineno >= 60:
                    long.append(f"{path}:{node.lineno}: {node.name} has more than 60 lines")
                if len(given.posonlyargs + given.args + given.kwonlyargs) > 8:
                    long.append(f"{path}:{node.lineno}: {node.name} has more than 8 parameters")
    assert not long


@pytest.mark.parametrize("top", ["buildpack", "deployer"])
def test_few_modules_are_at_the_top(top):
    assert len([*(ROOT / top).glob("*.py")]) <= 8


def test_deployer_s_package_file_is_empty():
    assert (ROOT / "deployer" / "__init__.py").read_bytes() == b""


def test_the_quick_path_imports_nothing_heavy():
    script = "import sys, deployer.cli.command, deployer.cli.build, buildpack.pipeline; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"requests", "docker", "rich", "packaging", "zipfile", "installer", "asyncio", "ssl", "urllib3"}
    assert heavy.isdisjoint(done.stdout.split())
