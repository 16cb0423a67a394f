"""`.dockerignore` leaves out the same files as in `docker build`."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from buildpack.app.source import read_source

TREE = [
    *("a/b/f", "a/g.py", "a/b/h.py", "src/foo.py", "src/x/bar.py", "src/x/deep/er.md", "top.py", "read.me", "Makefile"),
    *("docs/index.md", "docs/api/x.md", "docs/api/y.txt", ".hidden", "we ird/name.py", "ab", "a.b", "[x]"),
]
# The classic builder looks into an ignored folder only where a `!` begins with its name, letter for letter, which
# Docker's documentation does not say and BuildKit does not do. So `!**/...` is left to the property tests.
FILES = {
    "comments_and_spaces": "# top.py\n  read.me  \n\n\ta\t\n",
    "stars_stay_in_a_folder": "*.py\n*/*.md\n",
    "two_stars_do_not": "**/*.md\n**/b\n",
    "a_folder_and_what_comes_back": "docs\n!docs/api\ndocs/api/*.txt\n",
    "all_but": "*\n!src\n!top.py\nsrc/x/deep\n",
    "brought_back_from_inside": "src\n!src/x/bar.py\n",
    "a_parent_brought_back_later": "a/b\n!a\n",
    "a_parent_out_and_back": "*\na/b\n!a\n",
    "slashes": "/src/\n./docs/./api/../index.md\n//top.py\n",
    "classes": "[a-c].b\na[b]\n\\[x\\]\n[^.]*.me\n",
    "below_only": "docs/**\nwe*/**\n!docs/api/**\n",
    "question_marks": "a?\n???.py\n?hidden\n",
}


@pytest.fixture
def context(tmp_path: Path) -> Path:
    for path in TREE:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    return tmp_path


def docker(engine: str, *arguments: str, stdin: bytes = b"") -> bytes:
    environ = {**os.environ, "DOCKER_HOST": engine, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True, env=environ, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def shipped_by_docker(engine: str, context: Path, tag: str) -> set[str]:
    """Build an image from `context` and list the files in it."""
    dockerfile = context.parent / f"{context.name}.Dockerfile"
    dockerfile.write_text("FROM scratch\nCOPY . /\n")
    # Its cache looks at all images, and fails if another test removes one meanwhile.
    docker(engine, "build", "--no-cache", "-q", "-t", tag, "-f", str(dockerfile), str(context))
    try:
        with tarfile.open(fileobj=io.BytesIO(docker(engine, "save", tag))) as saved:
            manifest = saved.extractfile("manifest.json")
            assert manifest is not None
            layer = saved.extractfile(json.load(manifest)[0]["Layers"][0])
            assert layer is not None
            with tarfile.open(fileobj=layer) as files:
                return {member.name for member in files if member.isfile()}
    finally:
        docker(engine, "rmi", tag)


@pytest.mark.engine
@pytest.mark.parametrize("name", FILES)
def test_the_same_files_as_docker_build(engine: str, context: Path, name: str) -> None:
    if shutil.which("docker") is None:
        pytest.skip("the docker command is not installed; install it to run this test")
    (context / ".dockerignore").write_text(FILES[name])
    ours = {file.path for file in read_source(context, environ=os.environ).files}
    assert ours == shipped_by_docker(engine, context, f"deploy-test-ignore:{name}")
