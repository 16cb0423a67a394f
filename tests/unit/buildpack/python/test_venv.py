from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from buildpack.oci import content
from buildpack.oci.entry import Deflated, Entry, FileSlice, directory, file, symlink
from buildpack.python.venv import VenvLayout, install_entries, venv_entries
from buildpack.python.wheel import read_wheel
from tests.support.wheels import LAYOUT, by_path, content_bytes, write_wheel

VERSION = ".".join(map(str, sys.version_info[:3]))


def local_layout(folder: Path) -> VenvLayout:
    return VenvLayout(
        root=str(folder).lstrip("/"), python_version=VERSION, stack_python=os.path.realpath(sys.executable)
    )


def test_an_images_environment() -> None:
    entries = by_path(venv_entries(LAYOUT))
    assert content_bytes(entries["opt/venv/pyvenv.cfg"].content).decode() == (
        "home = /usr/local/bin\n"
        "include-system-site-packages = false\n"
        "version = 3.11.7\n"
        "executable = /usr/local/bin/python3.11\n"
    )
    assert {path: entry.target for path, entry in entries.items() if entry.kind == "symlink"} == {
        "opt/venv/bin/python": "/usr/local/bin/python3.11",
        "opt/venv/bin/python3": "python",
        "opt/venv/bin/python3.11": "python",
        "opt/venv/lib64": "lib",
    }


def test_an_interpreter_takes_it_for_its_environment(tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    layout = local_layout(folder)
    points = b"[console_scripts]\nsay=demo:say\n"
    wheel = write_wheel(
        tmp_path,
        {
            "demo.py": b"import json, sys\ndef say(): print(json.dumps([sys.prefix, sys.path, sys.argv]))\n",
            "demo.pth": b"import os; os.environ['FROM_PTH'] = 'yes'\n",
            "demo-1.0.dist-info/entry_points.txt": points,
        },
    )
    install_entries([*venv_entries(layout), *read_wheel(wheel, layout=layout).entries], folder)
    said = subprocess.run([folder / "bin/say", "it"], capture_output=True, check=True, text=True)
    prefix, path, argv = json.loads(said.stdout)
    assert prefix == str(folder)
    assert path[-1] == f"/{layout.site_packages}"
    assert argv == [str(folder / "bin/say"), "it"]
    script = (
        "import os, importlib.metadata as m, sysconfig;"
        "print(os.environ['FROM_PTH'], m.version('demo'), sysconfig.get_path('platlib'))"
    )
    said = subprocess.run([folder / "bin/python3", "-c", script], capture_output=True, check=True, text=True)
    assert said.stdout == f"yes 1.0 /{layout.site_packages}\n"


class TestInstalling:
    @pytest.fixture(params=[0, 1 << 30], autouse=True)
    def whole(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        """Try both ways of inflating: in pieces and at once."""
        monkeypatch.setattr(content, "LARGEST_PIECE", request.param)

    def test_writes_every_kind(self, tmp_path: Path, hostile: None) -> None:
        source = tmp_path / "source"
        squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
        body = b"zeros" + bytes(5 << 20)
        stream = squeezer.compress(body) + squeezer.flush()
        source.write_bytes(b"slice" + stream)
        folder = tmp_path / "deep" / "venv"
        root = str(folder).lstrip("/")
        install_entries(
            [
                file(f"{root}/a/inline", b"first"),
                file(f"{root}/a/inline", b"second"),
                file(f"{root}/a/slice", FileSlice(source, 5), executable=True),
                file(f"{root}/a/b/deflated", Deflated(source, 5, len(stream), len(body), zlib.crc32(body))),
                directory(f"{root}/empty"),
                symlink(f"{root}/link", "a/inline"),
            ],
            folder,
        )
        assert (folder / "link").read_bytes() == b"second"
        assert (folder / "a/slice").read_bytes() == b"slice"
        assert (folder / "a/b/deflated").read_bytes() == body
        assert (folder / "empty").is_dir()
        modes = {path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
        assert modes == {"inline": 0o644, "link": 0o644, "slice": 0o755, "deflated": 0o644}

    @pytest.mark.parametrize(
        ("crc", "size", "compressed", "why"),
        [
            (1, 3, None, "the stream at byte 0 fails its checksum"),
            (None, 4, None, "the stream at byte 0 fails its checksum"),
            (None, 3, 999, "it ends before byte 999"),
        ],
    )
    def test_all_or_nothing(self, tmp_path: Path, crc: int | None, size: int, compressed: int | None, why: str) -> None:
        squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
        stream = squeezer.compress(b"abc") + squeezer.flush()
        source = tmp_path / "source"
        source.write_bytes(stream)
        damaged = Deflated(source, 0, compressed or len(stream), size, crc or zlib.crc32(b"abc"))
        folder = tmp_path / "venv"
        root = str(folder).lstrip("/")
        with pytest.raises(ValueError, match=f"^{root}/b: {why}$"):
            install_entries([file(f"{root}/a", b""), file(f"{root}/b", damaged)], folder)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]

    def test_a_stream_that_is_none(self, tmp_path: Path) -> None:
        source = tmp_path / "source"
        source.write_bytes(b"\xff" * 10)
        folder = tmp_path / "venv"
        root = str(folder).lstrip("/")
        with pytest.raises(ValueError, match=f"^{root}/b: the stream at byte 0 fails its checksum$"):
            install_entries([file(f"{root}/b", Deflated(source, 0, 10, 3, 0))], folder)

    @pytest.mark.parametrize("path", ["etc/passwd", "{root}/../other", "{root}"])
    def test_nothing_outside(self, tmp_path: Path, path: str) -> None:
        folder = tmp_path / "venv"
        root = str(folder).lstrip("/")
        entry = Entry(path=path.format(root=root), kind="symlink", mode=0o777, target="x")
        with pytest.raises(ValueError, match=f"^{entry.path} is outside of /{root}/$"):
            install_entries([entry], folder)
        assert list(tmp_path.iterdir()) == []

    def test_nothing_through_a_link(self, tmp_path: Path) -> None:
        """A wheel can name a file below ``bin/python``, which is a link to the stack's interpreter."""
        layout = VenvLayout(
            python_version="3.11.7", stack_python=str(tmp_path / "python"), root=str(tmp_path / "venv")[1:]
        )
        (tmp_path / "python").touch(mode=0o700)
        below = file(f"{layout.scripts}/python/x", b"")
        with pytest.raises(NotADirectoryError):
            install_entries([*venv_entries(layout), below], tmp_path / "venv")
        assert (tmp_path / "python").stat().st_mode & 0o777 == 0o700

    def test_the_first_environment_stays(self, tmp_path: Path) -> None:
        folder = tmp_path / "venv"
        root = str(folder).lstrip("/")
        install_entries([file(f"{root}/a", b"first")], folder)
        install_entries([file(f"{root}/a", b"second")], folder)
        assert (folder / "a").read_bytes() == b"first"
        assert [path.name for path in tmp_path.iterdir()] == ["venv"]
