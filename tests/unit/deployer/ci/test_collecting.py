"""Reports of tests: copied out of where the tests ran, and nothing that leads elsewhere."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from buildpack.errors import UsageError
from buildpack.system.processes import User
from deployer.ci.collecting import Collect, collect, parse_collect
from deployer.engines.local.trial import read_folder
from tests.conftest import missing


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


def asked(path: str, folder: Path) -> Collect:
    return parse_collect([f"{path}={folder}"])[0]


def collect_local(asked: Collect, app: Path, say: Callable[[str], object], *, user: User | None = None) -> None:
    collect(asked, lambda path: read_folder(app, path, user=user), say=say)


def copied(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*") if not path.is_dir()}


def test_a_file_or_a_whole_folder_is_copied(app, out):
    said: list[str] = []
    collect_local(asked("reports/junit.xml", out), app, said.append)
    assert copied(out) == {"junit.xml"}
    collect_local(asked("reports", out), app, said.append)
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
        collect_local(asked(path, out), app, said.append)
    assert copied(out) == {"reports/junit.xml", "reports/html/index.html"}
    assert said[1:] == [
        f"nothing to collect at {path}: the tests wrote no file there"
        for path in ("link", "away", "away/secret", "nowhere")
    ]


def test_links_of_a_checkout_are_replaced_and_not_written_through(app, out, tmp_path):
    above = tmp_path / "above"
    (above / "html").mkdir(parents=True)
    (above / "junit.xml").write_text("mine")
    (out / "reports").mkdir(parents=True)
    (out / "reports" / "junit.xml").symlink_to(above / "junit.xml")
    (out / "reports" / "html").symlink_to(above / "html")
    collect_local(asked("reports", out), app, print)
    assert (above / "junit.xml").read_text() == "mine"
    assert copied(above) == {"junit.xml"}
    assert (out / "reports" / "html" / "index.html").read_text() == "<p>"


def test_a_folder_that_a_checkout_leads_elsewhere_is_wrong_usage(tmp_path, monkeypatch):
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout" / "reports").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path / "checkout")
    with pytest.raises(UsageError, match="--collect"):
        parse_collect(["junit.xml=reports/new"])


def test_a_folder_that_the_tests_lead_elsewhere_gets_nothing(app, out, tmp_path):
    wanted = asked("reports", out)
    (tmp_path / "mine").mkdir()
    out.symlink_to(tmp_path / "mine")
    said: list[str] = []
    collect_local(wanted, app, said.append)
    assert copied(tmp_path / "mine") == set()
    assert said == [f"reports is not collected: {out} led to {out} until the tests ran"]


def test_what_is_too_large_is_refused_before_it_is_copied(app, out):
    with (app / "reports" / "sparse").open("wb") as file:
        file.truncate(2 << 30)
    said: list[str] = []
    collect_local(asked("reports", out), app, said.append)
    assert said == ["reports is not collected: it has more than 1.1 GB"]
    assert not out.exists()


def test_root_copies_only_what_the_tests_could_read(app, out, anyones):
    if os.geteuid() != 0:
        missing("only root may reach files as another user")
    tests = anyones / "app"
    tests.mkdir()
    (tests / "secret").write_text("secret")
    (tests / "secret").chmod(0o600)
    (tests / "report").write_text("report")
    said: list[str] = []
    for name in ("secret", "report"):
        collect_local(asked(name, out), tests, said.append, user=User(uid=65534, gid=65534))
    assert copied(out) == {"report"}


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
    collect(asked("reports", out), lambda _path: [made.getvalue()], say=said.append)
    assert copied(out) == {"reports/good", "reports/link/through"}
    assert not (out / "reports" / "link").is_symlink()
    assert copied(tmp_path) == {"out/reports/good", "out/reports/link/through"}
    collect(asked("reports", out), lambda _path: None, say=said.append)
    assert said[-1] == "nothing to collect at reports: the tests wrote no file there"


def test_operands():
    real = Path("../out").resolve()
    assert parse_collect(["a/b.xml=../out"]) == (Collect(path="a/b.xml", folder=Path("../out"), real=real),)


@pytest.mark.parametrize("text", ["", "a", "a=", "=out", "/etc/passwd=out", "../a=out", "a/../../b=out", ".=out"])
def test_operands_that_lead_elsewhere_are_wrong_usage(text):
    with pytest.raises(UsageError, match="--collect"):
        parse_collect([text])
