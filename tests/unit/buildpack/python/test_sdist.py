from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from buildpack.app.lockfile import LockedPackage
from buildpack.python import sdist


@pytest.mark.parametrize("umask", [0, 0o777])
def test_modes_of_wheels_that_are_built_here_do_not_depend_on_the_umask(umask: int, tmp_path: Path) -> None:
    (tmp_path / "new.whl").write_bytes(b"built")
    (tmp_path / "wheels").mkdir()
    previous = os.umask(umask)
    try:
        with (tmp_path / "new.whl").open("rb") as built:
            package = LockedPackage(name="alpha", version="1.0")
            sdist._stored(package, "alpha-1.0-py3-none-any.whl", built, tmp_path / "wheels")
    finally:
        os.umask(previous)
    (path,) = (tmp_path / "wheels").glob("*/*")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
