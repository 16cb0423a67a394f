from __future__ import annotations

from pathlib import Path

import pytest

from buildpack.oci.entry import Inline
from buildpack.stacks.host_files import HostFiles, merged
from tests.support.elf import make_elf


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/bin/sh", "usr/bin/sh"),
        ("/lib64/ld.so", "usr/lib64/ld.so"),
        ("/usr/bin/env", "usr/bin/env"),
        ("/etc/x", "etc/x"),
    ],
)
def test_merged(path: str, place: str) -> None:
    assert merged(path) == place


def test_modes_do_not_depend_on_the_machines(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(make_elf())
    program.chmod(0o4711)
    gathered = HostFiles()
    gathered.take_elf("usr/bin/program", program, executable=True)
    gathered.take_file("etc/program", program)
    assert gathered.entries["usr/bin/program"].mode == 0o755
    assert gathered.entries["etc/program"].mode == 0o644
    assert gathered.programs == [program]


def test_a_program_that_is_a_link_is_taken_once(tmp_path: Path) -> None:
    (tmp_path / "busybox").write_bytes(make_elf())
    gathered = HostFiles()
    for name in ("ls", "cp"):
        (tmp_path / name).symlink_to("busybox")
        gathered.take_program(str(tmp_path / name))
    home = str(tmp_path / "busybox").lstrip("/")
    assert {path: entry.kind for path, entry in gathered.entries.items()} == {
        home: "file",
        merged(str(tmp_path / "ls")): "symlink",
        merged(str(tmp_path / "cp")): "symlink",
    }
    assert gathered.entries[merged(str(tmp_path / "ls"))].target == f"/{home}"


def test_links_that_leave_a_folder_are_this_machines_own(tmp_path: Path) -> None:
    zones = tmp_path / "zoneinfo"
    (zones / "Europe").mkdir(parents=True)
    (zones / "Europe/Paris").write_bytes(b"TZif")
    (zones / "Europe/Monaco").symlink_to("Paris")
    (zones / "here").symlink_to("/etc/localtime")
    (zones / "skipped").write_bytes(b"")
    gathered = HostFiles()
    gathered.take_tree(zones, "usr/share/zoneinfo", skip=frozenset({"skipped"}))
    assert sorted(gathered.entries) == ["usr/share/zoneinfo/Europe/Monaco", "usr/share/zoneinfo/Europe/Paris"]
    assert gathered.witnesses == {str(zones), str(zones / "Europe")}


def test_build_folders_are_replaced_in_programs(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(make_elf(runpath="/home/me/py/3.12/lib", extra=b"/home/me/py/3.12\0"))
    gathered = HostFiles(prefixes=("/home/me/py/3.12",))
    gathered.take_elf("usr/bin/program", program)
    content = gathered.entries["usr/bin/program"].content
    assert isinstance(content, Inline)
    assert b"/home/me" not in content.body
    assert program.stat().st_size == content.size
