"""The wheel and the sdist: complete, and the same to the last bit in every build."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.command import EXAMPLES, ROOT, deploy
from tests.support.tiny import with_stack

pytestmark = pytest.mark.slow

LEFT_OUT = shutil.ignore_patterns(".venv", ".git", "__pycache__", ".*_cache", "tests", "benchmarks")


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist of this tree, and the wheel that was built from it."""
    return make(Path(shutil.copytree(ROOT, tmp_path_factory.mktemp("first") / "tree", ignore=LEFT_OUT)))


def make(tree: Path, *options: str) -> Path:
    subprocess.run([sys.executable, "-m", "build", *options, tree], check=True, capture_output=True)
    return tree / "dist"


def test_a_wheel_from_another_copy_is_the_same(dist, tmp_path):
    tree = Path(shutil.copytree(ROOT, tmp_path / "elsewhere", ignore=LEFT_OUT))
    for path in tree.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000), follow_symlinks=False)
    [wheel] = dist.glob("*.whl")
    [other] = make(tree, "--wheel").glob("*.whl")
    assert wheel.name.startswith("procdeploy-")
    assert other.read_bytes() == wheel.read_bytes()


def test_the_installed_wheel_builds_the_example(dist, seed, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = tmp_path / "venv/bin/python"
    [wheel] = dist.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", wheel]
    subprocess.run(pip, check=True, capture_output=True)
    # Its dependencies come from the environment of the tests, without this tree.
    [site] = (tmp_path / "venv").glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    home = with_stack(seed, tmp_path / "home")
    env = {**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, "DEPLOY_HOME": str(home)}
    command = [tmp_path / "venv/bin/deploy", "build", "-q", EXAMPLES / "blasto"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    code = "import buildpack, deployer; print(buildpack.__file__, deployer.__file__)"
    paths = subprocess.run([python, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    assert all(path.startswith(str(tmp_path)) for path in paths.stdout.split())
    assert done.stdout == deploy("build", "-q", EXAMPLES / "blasto", home=home).out


def test_nothing_says_to_install_what_belongs_to_others():
    """On PyPI, `deploy` is somebody else's."""
    told = re.compile(r"(pip|pipx|uv tool|uvx)( install)?( -\S+)* ['\"]?deploy(?![\w./-])")
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "action.yml", ROOT / "Dockerfile"]
    sources = [path for top in ("buildpack", "deployer") for path in (ROOT / top).rglob("*.py")]
    assert [path for path in (*pages, *sources) if told.search(path.read_text())] == []
