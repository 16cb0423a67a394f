"""Local projects that strangers may have filled: copied without what is not theirs, and bounded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildpack.app.links import OutsideError
from buildpack.errors import DependencyError
from buildpack.python.local_sources import MOST_BYTES, copy_sources, digest_sources


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project/inner").mkdir(parents=True)
    (tmp_path / "project/code.py").write_text("x = 1\n")
    (tmp_path / "secret").write_text("hunter2")
    return tmp_path / "project"


@pytest.mark.parametrize("target", ["../../secret", "/etc/passwd", "{tmp}/secret"])
def test_a_link_that_leaves_the_project_is_refused(project: Path, tmp_path: Path, target: str) -> None:
    (project / "inner/data.txt").symlink_to(target.format(tmp=tmp_path))
    for read in (digest_sources, lambda source: copy_sources(source, tmp_path / "copy")):
        with pytest.raises(OutsideError):
            read(project)
    assert not (tmp_path / "copy/inner/data.txt").exists()


def test_links_inside_are_files_and_pipes_are_left_out(project: Path, tmp_path: Path) -> None:
    (project / "inner/data.py").symlink_to("../code.py")
    os.mkfifo(project / "pipe")
    (project / "zero").symlink_to("/dev/zero")

    copy_sources(project, tmp_path / "copy")

    copied = [path.relative_to(tmp_path / "copy").as_posix() for path in (tmp_path / "copy").rglob("*")]
    assert sorted(copied) == ["code.py", "inner", "inner/data.py"]
    assert not (tmp_path / "copy/inner/data.py").is_symlink()


def test_a_project_beyond_the_bound_is_refused(project: Path) -> None:
    with (project / "data").open("wb") as out:
        out.truncate(MOST_BYTES)
    with pytest.raises(DependencyError) as caught:
        digest_sources(project)
    assert str(caught.value) == (
        f"{project} is too large for a local package\n\n"
        "At most 1,073,741,824 bytes in 100,000 files are read.\n\n"
        "hint: check which folder the path in Pipfile names; data belongs outside the package."
    )
