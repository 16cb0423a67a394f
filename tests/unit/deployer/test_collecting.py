"""Reports of tests: copied out of where the tests ran, and nothing that leads elsewhere."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from buildpack.errors import UsageError
from deployer.ci.collecting import Collect, collect_archive, collect_local, parse_collect


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    (folder / "reports" / "html").mkdir(parents=True)
    (folder / "reports" / "junit.xml").write_text("<ok/>")
    (folder / "reports" / "html" / "index.html").write_text("<p>")
    return folder


def copied(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir()}


def test_a_file_or_a_whole_folder_is_copied(app, out):
    said: list[str] = []
    collect_local(Collect(path="reports/junit.xml", folder=out), app, tell=said.append)
    assert copied(out) == {"junit.xml"}
    collect_local(Collect(path="reports", folder=out), app, tell=said.append)
    assert copied(out) == {"junit.xml", "reports/junit.xml", "reports/html/index.html"}
    assert said == [
        f"collected reports/junit.xml into {out}: 1 file, 5 B",
        f"collected reports into {out}: 2 files, 8 B",
    ]


def test_links_and_devices_of_the_tests_are_left_out(app, out, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (app / "reports" / "link").symlink_to(secret)
    (app / "link").symlink_to(secret)
    (app / "away").symlink_to(tmp_path)
    os.mkfifo(app / "reports" / "pipe")
    said: list[str] = []
    for path in ("reports", "link", "away", "away/secret", "nowhere"):
        collect_local(Collect(path=path, folder=out), app, tell=said.append)
    assert copied(out) == {"reports/junit.xml", "reports/html/index.html"}
    assert said[1:] == [
        f"nothing to collect at {path}: the tests wrote no file there"
        for path in ("link", "away", "away/secret", "nowhere")
    ]


def test_names_and_links_in_an_engine_s_archive_lead_nowhere_else(out, tmp_path):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name in ("../above", "/absolute", "reports/../../above", "reports/good"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"text"))
        link = tarfile.TarInfo("reports/link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
        through = tarfile.TarInfo("reports/link/through")
        through.size = 4
        tar.addfile(through, io.BytesIO(b"text"))
    said: list[str] = []
    collect_archive(Collect(path="reports", folder=out), [made.getvalue()], tell=said.append)
    assert copied(out) == {"reports/good", "reports/link/through"}
    assert not (out / "reports" / "link").is_symlink()
    assert copied(tmp_path) == {"out/reports/good", "out/reports/link/through"}
    collect_archive(Collect(path="reports", folder=out), None, tell=said.append)
    assert said[-1] == "nothing to collect at reports: the tests wrote no file there"


def test_operands():
    assert parse_collect(["a/b.xml=../out"]) == (Collect(path="a/b.xml", folder=Path("../out")),)


@pytest.mark.parametrize("text", ["", "a", "a=", "=out", "/etc/passwd=out", "../a=out", "a/../../b=out", ".=out"])
def test_operands_that_lead_elsewhere_are_wrong_usage(text):
    with pytest.raises(UsageError, match="--collect"):
        parse_collect([text])
