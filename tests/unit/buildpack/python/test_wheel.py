from __future__ import annotations

import base64
import hashlib
import random
import stat
import zipfile
from pathlib import Path

import pytest

from buildpack.errors import DependencyError
from buildpack.oci.entry import Deflated, FileSlice, Inline
from buildpack.python import wheel_zip
from buildpack.python.about import About
from buildpack.python.venv import VenvLayout
from buildpack.python.wheel import WheelContents, read_wheel
from buildpack.python.wheel_scan import NAMESPACE, Summary, summarise
from tests.support.elf import make_library
from tests.support.wheels import LAYOUT, SITE, Packed, by_path, content_bytes, write_wheel

INFO = "demo-1.0.dist-info"
HINT = (
    "hint: the file has the hash of Pipfile.lock, so it was published this way: "
    "ask for another version of demo in Pipfile, run `deploy lock`, and build again."
)


def refused(path: Path) -> str:
    with pytest.raises(DependencyError) as caught:
        read_wheel(path, layout=LAYOUT)
    assert caught.value.exit_code == 20
    message = str(caught.value)
    assert message.endswith(HINT)
    return message.removesuffix(f"\n\n{HINT}")


def scan(path: Path, *, machine: str = "") -> Summary:
    return summarise(read_wheel(path, layout=LAYOUT), size=path.stat().st_size, machine=machine, layout=LAYOUT)


def urlsafe_sha256(body: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode().rstrip("=")


def text_of(contents: WheelContents, path: str) -> str:
    return content_bytes(by_path(contents.entries)[path].content).decode()


class TestPlaces:
    def test_every_scheme_has_its_folder(self, tmp_path: Path) -> None:
        path = write_wheel(
            tmp_path,
            {
                "demo/__init__.py": b"",
                "demo.data/purelib/pure.py": b"",
                "demo-1.0.data/platlib/plat.so": b"",
                "demo-1.0.data/scripts/tool": b"#!/bin/sh\n",
                "demo-1.0.data/headers/demo.h": b"",
                "demo-1.0.data/data/share/man/demo.1": b"",
                "demo-1.0.data/data/lib64/demo.txt": b"",
            },
        )
        contents = read_wheel(path, layout=LAYOUT)
        assert [entry.path for entry in contents.entries] == [
            "opt/venv/bin/tool",
            "opt/venv/include/site/python3.11/demo/demo.h",
            "opt/venv/lib/demo.txt",
            f"{SITE}/{INFO}/INSTALLER",
            f"{SITE}/{INFO}/METADATA",
            f"{SITE}/{INFO}/RECORD",
            f"{SITE}/{INFO}/WHEEL",
            f"{SITE}/demo/__init__.py",
            f"{SITE}/plat.so",
            f"{SITE}/pure.py",
            "opt/venv/share/man/demo.1",
        ]

    def test_contents_stay_in_the_wheel(self, tmp_path: Path) -> None:
        stored, deflated = bytes(range(256)) * 9, b"text\n" * 999
        path = write_wheel(
            tmp_path,
            {"demo/stored.bin": Packed(stored, method=zipfile.ZIP_STORED), "demo/deflated.txt": deflated},
        )
        entries = by_path(read_wheel(path, layout=LAYOUT).entries)
        first, second = entries[f"{SITE}/demo/stored.bin"].content, entries[f"{SITE}/demo/deflated.txt"].content
        assert isinstance(first, FileSlice)
        assert isinstance(second, Deflated)
        assert first.path == second.path == path
        assert content_bytes(first) == stored
        assert content_bytes(second) == deflated

    def test_modes_are_the_zips_x_bit_or_none(self, tmp_path: Path) -> None:
        path = write_wheel(
            tmp_path,
            {
                "demo/run": Packed(mode=stat.S_IFREG | 0o711),
                "demo/private": Packed(mode=stat.S_IFREG | 0o600),
                "demo/untyped": Packed(mode=0o755),
                "demo/windows": Packed(mode=0),
                "demo-1.0.data/scripts/from-windows": Packed(b"@echo", mode=0),
            },
        )
        modes = {entry.path.rpartition("/")[2]: entry.mode for entry in read_wheel(path, layout=LAYOUT).entries}
        assert modes["run"] == modes["from-windows"] == 0o755
        assert modes["private"] == modes["untyped"] == modes["windows"] == 0o644

    def test_metadata(self, tmp_path: Path) -> None:
        metadata = (
            b"Metadata-Version: 2.1\nName: De.Mo\nVersion: 1.0\n"
            b"License-Expression: MIT\nAuthor: Ann\n"
            b"Requires-Dist: click (>=8)\nRequires-Dist: rich ; extra == 'x'\n\nRequires-Dist: no\n"
        )
        path = write_wheel(tmp_path, {"de_mo-1.0.dist-info/METADATA": metadata}, name="de_mo")
        contents = read_wheel(path, layout=LAYOUT)
        assert (contents.name, contents.version) == ("de-mo", "1.0")
        assert contents.requires_dist == ("click (>=8)", "rich ; extra == 'x'")
        assert contents.about == About(expression="MIT", suppliers=(("Ann", ""),))

    def test_of_two_files_for_one_place_that_of_data_counts(self, tmp_path: Path) -> None:
        path = write_wheel(tmp_path, {"demo-1.0.data/purelib/demo.py": b"data", "demo.py": b"root"})
        assert text_of(read_wheel(path, layout=LAYOUT), f"{SITE}/demo.py") == "data"

    def test_the_order_in_the_zip_does_not_matter(self, tmp_path: Path) -> None:
        files: dict[str, bytes | Packed] = {f"demo/{name}.py": name.encode() for name in "abcdefgh"}
        files[f"{INFO}/entry_points.txt"] = b"[console_scripts]\nb=demo:b\na=demo:a\n"
        orders = [list(files.items()), random.Random(1).sample(list(files.items()), len(files))]
        seen = []
        for number, order in enumerate(orders):
            (tmp_path / str(number)).mkdir()
            contents = read_wheel(write_wheel(tmp_path / str(number), dict(order)), layout=LAYOUT)
            seen.append([(each.path, each.mode, content_bytes(each.content)) for each in contents.entries])
        assert seen[0] == seen[1]


class TestScripts:
    def test_entry_points_become_scripts(self, tmp_path: Path) -> None:
        points = (
            b"[console_scripts]\ndemo = demo.cli:App.main [extra]\n[gui_scripts]\ndemo-gui = demo:gui\n[other]\nx = y\n"
        )
        contents = read_wheel(write_wheel(tmp_path, {f"{INFO}/entry_points.txt": points}), layout=LAYOUT)
        commands = [entry.path for entry in contents.entries if entry.path.startswith("opt/venv/bin/")]
        assert commands == ["opt/venv/bin/demo", "opt/venv/bin/demo-gui"]
        assert text_of(contents, "opt/venv/bin/demo") == (
            "#!/opt/venv/bin/python\n"
            "# -*- coding: utf-8 -*-\n"
            "import re\n"
            "import sys\n"
            "from demo.cli import App\n"
            'if __name__ == "__main__":\n'
            '    sys.argv[0] = re.sub(r"(-script\\.pyw|\\.exe)?$", "", sys.argv[0])\n'
            "    sys.exit(App.main())\n"
        )
        assert by_path(contents.entries)["opt/venv/bin/demo-gui"].mode == 0o755

    @pytest.mark.parametrize("first", [b"#!python", b"#!pythonw", b"#!python -E\r"])
    def test_shipped_scripts_get_the_images_interpreter(self, tmp_path: Path, first: bytes) -> None:
        path = write_wheel(tmp_path, {"demo-1.0.data/scripts/tool": first + b"\nprint()\n"})
        assert text_of(read_wheel(path, layout=LAYOUT), "opt/venv/bin/tool") == "#!/opt/venv/bin/python\nprint()\n"

    def test_other_scripts_and_files_beside_them_stay_as_they_are(self, tmp_path: Path) -> None:
        path = write_wheel(
            tmp_path,
            {"demo-1.0.data/scripts/tool": b"#!/usr/bin/env perl\n", "demo-1.0.data/data/bin/other": b"#!python\n"},
        )
        contents = read_wheel(path, layout=LAYOUT)
        assert text_of(contents, "opt/venv/bin/tool") == "#!/usr/bin/env perl\n"
        assert text_of(contents, "opt/venv/bin/other") == "#!python\n"

    @pytest.mark.parametrize("root", ["home/a person/venv", "home/" + "long/" * 30 + "venv"])
    def test_an_interpreter_that_no_first_line_can_name(self, tmp_path: Path, root: str) -> None:
        layout = VenvLayout(root=root, python_version="3.11.7", stack_python="/usr/bin/python3")
        files = {f"{INFO}/entry_points.txt": b"[console_scripts]\na=demo:a\n", "demo-1.0.data/scripts/b": b"#!python\n"}
        contents = read_wheel(write_wheel(tmp_path, files), layout=layout)
        quoted = f"'/{root}/bin/python'" if " " in root else f"/{root}/bin/python"
        for name in "ab":
            assert text_of(contents, f"{root}/bin/{name}").startswith(
                f"#!/bin/sh\n'''exec' {quoted} \"$0\" \"$@\"\n' '''\n"
            )

    def test_an_entry_point_takes_the_place_of_a_shipped_script(self, tmp_path: Path) -> None:
        files = {
            f"{INFO}/entry_points.txt": b"[console_scripts]\na=demo:a\n",
            "demo-1.0.data/scripts/a": b"#!python\nold",
        }
        assert "from demo import a" in text_of(
            read_wheel(write_wheel(tmp_path, files), layout=LAYOUT), "opt/venv/bin/a"
        )


class TestRecord:
    def test_describes_what_is_installed(self, tmp_path: Path) -> None:
        path = write_wheel(
            tmp_path,
            {
                "demo/a,b.py": b"x",
                "demo-1.0.data/scripts/tool": b"#!python\n",
                "demo-1.0.data/data/share/d": b"",
                f"{INFO}/entry_points.txt": b"[console_scripts]\nmain=demo:a\n",
                f"{INFO}/INSTALLER": b"other",
                f"{INFO}/REQUESTED": b"",
            },
        )
        contents = read_wheel(path, layout=LAYOUT)
        record = text_of(contents, f"{SITE}/{INFO}/RECORD").splitlines()
        assert [line.rsplit(",", 2)[0] for line in record] == [
            "../../../bin/main",
            "../../../bin/tool",
            "../../../share/d",
            f"{INFO}/INSTALLER",
            f"{INFO}/METADATA",
            f"{INFO}/RECORD",
            f"{INFO}/WHEEL",
            f"{INFO}/entry_points.txt",
            '"demo/a,b.py"',
        ]
        assert record[1] == f"../../../bin/tool,sha256={urlsafe_sha256(b'#!/opt/venv/bin/python' + bytes([10]))},23"
        assert record[5] == f"{INFO}/RECORD,,"
        assert record[8] == f'"demo/a,b.py",sha256={urlsafe_sha256(b"x")},1'
        assert text_of(contents, f"{SITE}/{INFO}/INSTALLER") == "deploy\n"
        assert f"{SITE}/{INFO}/REQUESTED" not in {entry.path for entry in contents.entries}
        assert contents.warnings == ()

    def test_differences_are_warnings(self, tmp_path: Path) -> None:
        path = write_wheel(tmp_path, {"demo.py": b"", f"{INFO}/RECORD": f"gone.py,,\n{INFO}/RECORD,,\n".encode()})
        contents = read_wheel(path, layout=LAYOUT)
        assert contents.warnings == (
            f"demo-1.0-py3-none-any.whl: RECORD does not list {INFO}/METADATA and 2 more",
            "demo-1.0-py3-none-any.whl: RECORD lists gone.py, which the wheel lacks",
        )
        assert "demo.py,,\n" in text_of(contents, f"{SITE}/{INFO}/RECORD")

    def test_a_signature_need_not_be_listed(self, tmp_path: Path) -> None:
        path = write_wheel(tmp_path, {})
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(f"{INFO}/RECORD.jws", b"{}")
        assert read_wheel(path, layout=LAYOUT).warnings == ()


class TestSources:
    def test_modules_but_not_those_of_tests(self, tmp_path: Path) -> None:
        path = write_wheel(
            tmp_path,
            {
                "demo/__init__.py": b"",
                "demo/tests/test_a.py": b"",
                "demo/test/b.py": b"",
                "tests/c.py": b"",
                "demo/test.py": b"",
                "demo/testing/d.py": b"",
                "demo/readme.txt": b"",
                "demo/stub.pyi": b"",
                "demo-1.0.data/purelib/e.py": b"",
                "demo-1.0.data/scripts/f.py": b"",
                "demo-1.0.data/data/g.py": b"",
            },
        )
        assert [source.path for source in read_wheel(path, layout=LAYOUT).sources] == [
            f"{SITE}/demo/__init__.py",
            f"{SITE}/demo/test.py",
            f"{SITE}/demo/testing/d.py",
            f"{SITE}/e.py",
        ]

    def test_shipped_byte_code_beside_its_source_stays_out(self, tmp_path: Path) -> None:
        path = write_wheel(tmp_path, {"demo/__pycache__/a.cpython-311.pyc": b"", "demo/old.pyc": b""})
        paths = {entry.path for entry in read_wheel(path, layout=LAYOUT).entries}
        assert f"{SITE}/demo/old.pyc" in paths
        assert not any("__pycache__" in path for path in paths)


class TestRefused:
    @pytest.mark.parametrize(
        "name",
        [
            "../evil.py",
            "demo/../../evil.py",
            "/etc/passwd",
            "demo//a.py",
            "demo/./a.py",
            "C:/a.py",
            "demo\\a.py",
            "demo/.wh.a",
            ".wh..wh..opq",
            "demo/..",
            "demo/a\nb.py",
        ],
    )
    def test_unsafe_names(self, tmp_path: Path, name: str) -> None:
        assert refused(write_wheel(tmp_path, {name: b""})) == (
            "demo-1.0-py3-none-any.whl holds a file that cannot go into an image\n\n"
            f"The file {name!r} has an unsafe name."
        )

    @pytest.mark.parametrize(
        ("packed", "reason"),
        [
            (Packed(b"/etc", mode=stat.S_IFLNK | 0o777), "is a symbolic link"),
            (Packed(mode=stat.S_IFIFO | 0o644), "is neither a file nor a directory"),
            (
                Packed(method=zipfile.ZIP_BZIP2),
                "is compressed by method 12; wheels use 0 (stored) or 8 (deflated)",
            ),
        ],
    )
    def test_other_than_plain_files(self, tmp_path: Path, packed: Packed, reason: str) -> None:
        assert refused(write_wheel(tmp_path, {"demo/it": packed})).endswith(f"\n\nThe file 'demo/it' {reason}.")

    def test_a_name_that_is_too_long(self, tmp_path: Path) -> None:
        assert refused(write_wheel(tmp_path, {"é" * 128: b""})).endswith("has a name of more than 255 bytes.")

    def test_an_encrypted_file(self, tmp_path: Path) -> None:
        path = write_wheel(tmp_path, {"demo/it": b""})
        body = bytearray(path.read_bytes())
        body[body.index(b"PK\1\2") + 8] |= 1
        path.write_bytes(body)
        assert refused(path).endswith("The file 'demo/it' is encrypted.")

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_a_file_that_is_there_twice(self, tmp_path: Path) -> None:
        path = write_wheel(tmp_path, {"demo/it": b""})
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("demo/it", b"other")
        assert refused(path).endswith("The file 'demo/it' is there twice.")

    def test_a_file_that_is_also_a_folder(self, tmp_path: Path) -> None:
        path = write_wheel(tmp_path, {"demo": b"", "demo/a/it": b""})
        assert refused(path).endswith("The file 'demo' is a file and a directory.")

    def test_a_local_header_with_another_name(self, tmp_path: Path) -> None:
        path = write_wheel(tmp_path, {"demo/it": b""})
        path.write_bytes(path.read_bytes().replace(b"demo/it", b"demo/up", 1))
        assert refused(path) == (
            "demo-1.0-py3-none-any.whl is not a readable wheel\n\n"
            "A wheel is a zip archive, and in this one the header of 'demo/it' is not where the directory says."
        )

    def test_streams_that_overlap(self, tmp_path: Path) -> None:
        path = write_wheel(tmp_path, {"demo/it": Packed(b"x" * 50, method=zipfile.ZIP_STORED), "demo/other": b""})
        body = bytearray(path.read_bytes())
        central = body.index(b"PK\1\2")
        body[central + 20 : central + 28] = (80).to_bytes(4, "little") * 2
        path.write_bytes(body)
        assert refused(path).endswith("in this one 'demo/other' overlaps another file.")

    def test_no_zip_at_all(self, tmp_path: Path) -> None:
        path = tmp_path / "demo-1.0-py3-none-any.whl"
        path.write_bytes(b"<html>")
        assert refused(path).endswith("in this one the directory cannot be read (File is not a zip file).")

    def test_a_bomb(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wheel_zip, "RATIO_FROM", 1 << 20)
        path = write_wheel(tmp_path, {"demo/zeros": bytes(2 << 20)})
        assert refused(path) == (
            "demo-1.0-py3-none-any.whl cannot be installed\n\n"
            f"Its {path.stat().st_size:,} bytes unpack to 2,097,546, as only a zip bomb does."
        )

    def test_more_than_the_limits(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write_wheel(tmp_path, {"demo/it": bytes(1000)})
        monkeypatch.setattr(wheel_zip, "MAX_TOTAL", 1200)
        assert refused(path).endswith("It unpacks to 1,388 bytes, and the limit is 1,200.")
        monkeypatch.setattr(wheel_zip, "MAX_MEMBERS", 3)
        assert refused(path).endswith("It holds 4 files, and the limit is 3.")

    @pytest.mark.parametrize("missing", ["WHEEL", "METADATA", "RECORD"])
    def test_metadata_that_is_missing(self, tmp_path: Path, missing: str) -> None:
        path = write_wheel(tmp_path, {}, without=(f"{INFO}/{missing}",))
        assert refused(path) == f"demo-1.0-py3-none-any.whl cannot be installed\n\nIt lacks {INFO}/{missing}."

    @pytest.mark.parametrize(
        ("files", "why"),
        [
            ({f"{INFO}/WHEEL": b"Wheel-Version: 2.0\n"}, "Its Wheel-Version is 2.0, and only 1.x is known."),
            ({f"{INFO}/WHEEL": b""}, "Its Wheel-Version is missing, and only 1.x is known."),
            ({f"{INFO}/METADATA": b"Name: demo\n"}, f"Its {INFO}/METADATA lacks a name or a version."),
            ({f"{INFO}/METADATA": b"Name: other\nVersion: 1\n"}, f"Its {INFO}/METADATA belongs to other."),
            (
                {"other-1.dist-info/METADATA": b""},
                f"It must hold one .dist-info folder, and there are these: {INFO}, other-1.dist-info.",
            ),
            ({f"{INFO}/entry_points.txt": b"[console_scripts]\na = demo\n"}, "Its entry_points.txt does not parse."),
            ({f"{INFO}/entry_points.txt": b"[console_scripts\n"}, "Its entry_points.txt does not parse."),
            (
                {f"{INFO}/entry_points.txt": b"[console_scripts]\n../a = demo:a\n"},
                "Its entry point '../a' is not a plain file name.",
            ),
            (
                {f"{INFO}/entry_points.txt": b"[console_scripts]\npython = demo:a\n"},
                "It would replace /opt/venv/bin/python.",
            ),
            ({"demo-1.0.data/data/pyvenv.cfg": b""}, "It would replace /opt/venv/pyvenv.cfg."),
            ({"demo-1.0.data/scripts/python/a": b""}, "Its /opt/venv/bin/python would be a file and a directory."),
            (
                {f"{INFO}/RECORD": b"a,b\n"},
                f"Its {INFO}/RECORD does not parse: Row Index 0: expected 3 elements, got 2.",
            ),
        ],
    )
    def test_metadata_that_contradicts_itself(self, tmp_path: Path, files: dict[str, bytes], why: str) -> None:
        assert refused(write_wheel(tmp_path, files)) == f"demo-1.0-py3-none-any.whl cannot be installed\n\n{why}"

    def test_a_file_name_that_is_none(self, tmp_path: Path) -> None:
        path = write_wheel(tmp_path, {}, filename="demo-1.0.whl")
        assert refused(path).endswith("Its name is not that of a wheel, name-version-python-abi-platform.whl.")

    def test_a_wheel_of_another_distribution(self, tmp_path: Path) -> None:
        path = write_wheel(tmp_path, {}, name="other", filename="demo-1.0-py3-none-any.whl")
        assert refused(path).endswith("Its folder other-1.0.dist-info belongs to another distribution.")

    def test_an_unknown_scheme(self, tmp_path: Path) -> None:
        path = write_wheel(tmp_path, {"demo-1.0.data/etc/passwd": b""})
        assert refused(path).endswith("The file 'demo-1.0.data/etc/passwd' is in no known scheme of .data.")

    def test_metadata_that_is_damaged_or_no_text(self, tmp_path: Path) -> None:
        path = write_wheel(tmp_path, {f"{INFO}/METADATA": b"Name: \xff"})
        assert refused(path).endswith(f"The file '{INFO}/METADATA' is not UTF-8 text.")
        path = write_wheel(tmp_path, {f"{INFO}/METADATA": b"Name: demo"})
        body = bytearray(path.read_bytes())
        body[body.index(b"PK\1\2") + 16] ^= 1
        path.write_bytes(body)
        assert refused(path).endswith(f"'{INFO}/METADATA' cannot be read: the stream at byte 57 fails its checksum.")


class TestScan:
    def test_a_forgotten_import_of_pkg_resources(self, tmp_path: Path) -> None:
        def found(**files: bytes) -> bool:
            named = {name.replace("__", "/") + ".py": body for name, body in files.items()}
            return scan(write_wheel(tmp_path, named)).pkg_resources

        assert found(a=b"import os\nimport pkg_resources\n")
        assert found(a=b"from pkg_resources import parse_version\n")
        assert found(a=b"import os, pkg_resources as p\n")
        assert found(a=b"__import__('pkg_resources').declare_namespace(__name__)\n")
        assert not found(a=b"try:\n    import pkg_resources\nexcept ImportError:\n    pass\n")
        assert not found(a=b"import pkg_resources2\n# import pkg_resources\n")
        assert not found(a__tests__b=b"import pkg_resources\n")
        assert not found(a=b"import pkg_resources\n", pkg_resources__x=b"")

    def test_modules_that_only_declare_a_namespace(self, tmp_path: Path) -> None:
        def declares(body: bytes) -> bool:
            found = scan(write_wheel(tmp_path, {"acme/__init__.py": body}))
            marked = [path for path, mark in zip(found.paths, found.contents, strict=True) if mark.endswith(NAMESPACE)]
            assert marked in ([], [f"{SITE}/acme/__init__.py"])
            return bool(marked)

        assert declares(b"__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n")
        assert declares(
            b'# Copyright\n"""Words."""\nfrom pkgutil import extend_path\n__path__ = extend_path(__path__, __name__)\n'
        )
        assert declares(
            b"try:\n    import pkg_resources\n    pkg_resources.declare_namespace(__name__)\n"
            b"except ImportError:\n    import pkgutil\n\n    __path__ = pkgutil.extend_path(__path__, __name__)\n"
        )
        assert declares(b"__import__('pkg_resources').declare_namespace(__name__)\n")
        assert declares(b"__path__ = __import__('pkgutil').extend_path(__path__, __name__)  # type: ignore\n")
        assert not declares(b"# Copyright\nfrom .api import encode\n")
        assert not declares(b'"""Words."""\nfrom .api import encode\n"""More."""\n')
        assert not declares(b"")
        assert not declares(b"__path__ = __import__('pkgutil').extend_path(__path__, __name__)\nVERSION = 1\n")
        assert not declares(b"__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n" * 100)


def test_inline_only_where_bytes_change(tmp_path: Path) -> None:
    contents = read_wheel(write_wheel(tmp_path, {"demo.py": b"x = 1\n"}), layout=LAYOUT)
    inline = [entry.path for entry in contents.entries if isinstance(entry.content, Inline)]
    assert inline == [f"{SITE}/{INFO}/INSTALLER", f"{SITE}/{INFO}/RECORD"]


def test_a_wheel_needs_what_it_does_not_bring(tmp_path: Path) -> None:
    path = write_wheel(
        tmp_path,
        {
            "demo/ext.cpython-311-x86_64-linux-gnu.so": make_library(("libblas-1a2b.so.3", "libstdc++.so.6")),
            "demo.libs/libblas-1a2b.so.3": make_library(("libgfortran.so.5", "libc.so.6"), soname="libblas.so.3"),
            "demo.libs/libgfortran.so.5": make_library(("libc.so.6",)),
            "demo/arm.so": make_library(("libarm.so",), machine=183),
            "demo/notes.so.txt": b"\x7fELF",
            "demo-1.0.data/scripts/tool": make_library(("libz.so.1",)),
        },
    )
    found = scan(path, machine="x86_64")
    assert found.needed == ("libc.so.6", "libstdc++.so.6", "libz.so.1")
    assert found.provided == (
        "ext.cpython-311-x86_64-linux-gnu.so",
        "libblas-1a2b.so.3",
        "libblas.so.3",
        "libgfortran.so.5",
        "tool",
    )
    assert scan(path, machine="aarch64").needed == ("libarm.so",)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_library_whose_tables_are_beyond_any_file_needs_nothing(tmp_path: Path, method: int) -> None:
    body = bytearray(make_library(("libc.so.6",)))
    body[32:40] = b"\xff" * 8
    path = write_wheel(tmp_path, {"demo/ext.so": Packed(bytes(body), method=method)})
    assert scan(path, machine="x86_64").needed == ()
