"""Temporary folders, beside other processes that sweep up what killed ones left."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from buildpack.system.temporary import temporary_folder
from tests.support.command import ROOT
from tests.support.endurance import SCALE

SWEEPING = """
import sys
from pathlib import Path
from buildpack.system.temporary import sweep
print("begun", flush=True)
while True:
    sweep(Path(sys.argv[1]))
"""


@pytest.mark.endurance
def test_a_sweep_takes_nothing_from_a_process_that_lives(tmp_path: Path) -> None:
    with ExitStack() as stack:
        for _ in range(3):
            sweeping = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", SWEEPING, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
                )
            )
            stack.callback(sweeping.kill)
            assert sweeping.stdout is not None
            assert sweeping.stdout.readline() == "begun\n"
        for _ in range(max(400, int(2000 * SCALE))):
            with temporary_folder(tmp_path) as folder:
                (folder / "file").touch()
    assert list(tmp_path.iterdir()) == []
