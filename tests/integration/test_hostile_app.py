"""Apps whose folder holds what no app should, or changes under a build: an image of what is fit for it, or an error."""

from __future__ import annotations

import io
import os
import random
import shutil
import socket
import stat
import tarfile
import threading
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Self

import pytest

from buildpack.errors import BuildpackError
from buildpack.oci.compression import gunzip
from buildpack.oci.store import Store
from buildpack.steps.built import BuiltImage
from tests.support.endurance import SCALE, chosen_seed
from tests.support.tiny import build_here, with_stack, write_app


def shipped(home: Path, built: BuiltImage) -> dict[str, tarfile.TarInfo]:
    """Return the content of the app's layer."""
    made = next(made for made, _ in built.layers if made.planned.kind == "app")
    with Store(home).open(made.layer.digest) as blob:
        unpacked = io.BytesIO(b"".join(gunzip(blob)))
    with tarfile.open(fileobj=unpacked) as archive:
        return {member.name: member for member in archive}


def test_only_files_folders_and_links_are_shipped(seed, tmp_path):
    app, home = write_app(tmp_path / "app", {}), with_stack(seed, tmp_path / "home")
    odd = app / "odd"
    odd.mkdir()
    os.mkfifo(odd / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(odd / "socket"))
    left_out = ["pipe", "socket"]
    if os.geteuid() == 0:
        os.mknod(odd / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        os.mknod(odd / "disk", stat.S_IFBLK | 0o666, os.makedev(7, 255))
        left_out += ["zero", "disk"]
    (odd / "self").symlink_to("self")
    (odd / "one").symlink_to("two")
    (odd / "two").symlink_to("one")
    (odd / "nowhere").symlink_to("nothing/here")
    (odd / "up").symlink_to("../tiny")
    kept = ["new\nline", "tab\t", "Case", "case", "ü" * 127, " ", "-rf", "$(reboot)", "a" * 255, "back\\slash"]
    kept += ["\u202etxt"]
    for name in kept:
        (odd / name).write_text(name)
    deep = odd.joinpath(*["d" * 100] * 20)
    deep.mkdir(parents=True)
    (deep / "file").write_text("deep")
    (odd / "setuid").write_text("#!/bin/sh\n")
    (odd / "setuid").chmod(0o6755)

    built = build_here(app, home, os.environ)

    found = shipped(home, built)
    assert {f"app/odd/{name}" for name in (*kept, "self", "one", "two", "nowhere", "up")} <= found.keys()
    assert not {f"app/odd/{name}" for name in left_out} & found.keys()
    assert f"app/{(deep / 'file').relative_to(app)}" in found
    assert {member.type for member in found.values()} == {tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE}
    assert stat.S_IMODE(found["app/odd/setuid"].mode) == 0o775
    told = [warning for warning in built.warnings if "is left out: it is neither" in warning]
    assert sorted(warning.split()[0] for warning in told) == sorted(f"odd/{name}" for name in left_out)
    assert all(warning.isprintable() for warning in built.warnings)


class Churn:
    """Changes an app's folder without end: files come, go, grow, shrink, and become folders, links and pipes."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._chance = random.Random(seed)
        self._stop = threading.Event()
        self.held = threading.Lock()
        """Whoever has it keeps the folder as it is."""
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            with self.held, suppress(OSError):
                self._change(self._folder / f"churn{self._chance.randrange(12)}")

    def _change(self, path: Path) -> None:
        kind = self._chance.randrange(7)
        if kind < 4:
            # Without waiting for a reader, if it is a pipe.
            how = os.O_TRUNC if kind < 3 else os.O_APPEND
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK | how, 0o644), "wb") as out:
                out.write(self._chance.randbytes(self._chance.choice((0, 10, 70_000, 300_000))))
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
            if kind == 4:
                path.mkdir()
                (path / "inside").write_text("x")
            elif kind == 5:
                path.symlink_to("churn1")
            else:
                os.mkfifo(path)


@pytest.mark.endurance
def test_a_folder_that_changes_all_the_time(seed, tmp_path):
    """Each build is of something that was there, or says that it was not; no build waits for what never comes."""
    number = chosen_seed()
    app, home = write_app(tmp_path / "app", {}), with_stack(seed, tmp_path / "home")
    outcomes = []
    with Churn(app, number) as churn:
        for turn in range(max(20, int(1000 * SCALE))):
            rests = turn % 10 == 0  # or the folder might never be the same for as long as a build reads it
            try:
                with churn.held if rests else nullcontext():
                    built = build_here(app, home, os.environ)
            except BuildpackError as error:
                outcomes.append((rests, error.exit_code))
            else:
                shipped(home, built)
                outcomes.append((rests, 0))
    assert {code for rests, code in outcomes if rests} == {0}
    assert {code for _, code in outcomes} <= {0, 10, 70}
    assert (
        build_here(app, home, os.environ).image
        == build_here(app, with_stack(seed, tmp_path / "other"), os.environ).image
    )
    assert [path for path in home.rglob("*.part") if "leases" not in path.parts] == []
